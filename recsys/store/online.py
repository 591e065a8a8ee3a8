"""The online store: what the service reads features from and appends events to. Several processes hold it at once.

A journal (lmdb_journal.py, redis_journal.py, cluster_journal.py) keeps the one durable truth: the event log, in which
items' attributes are records too. Packed state is a function of the log, so it is kept as a snapshot with its position,
and every process catches up from there with the journal's head before each read: an event that was accepted anywhere is
seen by the next read everywhere, and log and state cannot disagree, whatever dies. A checkpoint puts what came since
into the next snapshot, so that a process has little to catch up with, and to hold of its own.
"""

from __future__ import annotations

import functools
import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from recsys.events import ITEM_SCHEMA, whole_items
from recsys.features.catalog import FINGERPRINT
from recsys.features.judged import Judged
from recsys.features.log import EventLog, Items, empty, merged
from recsys.sources.derived import Rules
from recsys.store import told
from recsys.store.ahead import Ahead
from recsys.store.archived import lost, not_in, nothing, of_nobody
from recsys.store.blocked import Blocked, changed
from recsys.store.by_entity import ByEntity
from recsys.store.errors import JournalCut, OffsetMoved, StoreBusy, StoreCorrupt, StoreError, StoreMissing
from recsys.store.hot import LOG, Hot, packed
from recsys.store.intake import NO_RULES, Appended, Event, entries_of, item_entries
from recsys.store.journal import CUT, ITEMS, Journal, Offset, events_of, key_of, records_of
from recsys.store.known import NOTHING, Known
from recsys.store.past import Past, Read, completed

SEARCHABLE: Final = 6  # a shorter id is everywhere as a text: only as a whole value it names its user
TURN_SECONDS: Final = 5.0  # for which a read of the past waits for those before it


class OnlineStore:
    """Features now, over a journal. One object may be used by several threads.

    Args:
        journal: where the log lives
        create: begin with an empty state when the journal has none, or none that can be read
        cache_mb: of state in this process, where the journal keeps it by entity; None for no bound
        fingerprint: of these features: states of several lie side by side during a cut-over

    Raises:
        StoreMissing: the journal holds no state of this code's features.
        StoreCorrupt: it cannot be read back.
    """

    def __init__(
        self,
        journal: Journal,
        *,
        create: bool = False,
        cache_mb: int | None = None,
        fingerprint: str | None = None,
    ) -> None:
        self.fingerprint = fingerprint or FINGERPRINT
        self.journal, self._ahead = journal, Ahead(journal, self.fingerprint, cache_mb)
        self._lock = threading.RLock()
        self._turn = threading.Lock()  # of who reads the past
        self._loaded = self._named = ""  # the snapshot that this process reads from, and the journal's own
        self._hot: Hot | None = None
        self._retired: Hot | None = None  # what it read from before
        self._unchecked = ""  # the snapshot that it was opened from, until its log is asked for
        self._cut = b""  # how far records had left the journal when it was last asked
        self._late: tuple[int, pa.Table] = -1, None  # an empty table would load pandas, .25 s of opening
        if create and not journal.mark(self.fingerprint).snapshot:
            self._begin()
        try:
            self._catch_up()
        except StoreCorrupt:
            if not create:
                raise
            self._begin()  # the log is whole, and a bootstrap follows
            self._catch_up()

    def head(self) -> int:
        """Position of the last accepted record."""
        return self.journal.mark(self.fingerprint).head

    def append(
        self, events: Sequence[Event], received_at: int, rules: Rules = NO_RULES, offsets: Sequence[Offset] = ()
    ) -> Appended:
        """Take a batch of events into the log: durable, and visible to the next read, when this returns.

        Args:
            events: fields of EVENT_SCHEMA; those of an outcome that are None or absent stay unknown
            received_at: our clock, UTC ms
            rules: what events imply: taken behind them in the same step, and not counted in the answer
            offsets: how far the stream was read that they came from, kept in the same step. With them nothing is
                taken where an event is rejected: the caller notes it down first, and sends the others again

        Raises:
            StoreFull, StoreUnavailable, OffsetMoved: nothing was taken, or the batch may be sent again safely.
        """
        while True:
            # ahead of the state asked for what is known: threads share it
            unmoved, hot = Offset(CUT, self._cut, self._cut), self._hot
            try:
                with self._lock:
                    hot = self._catch_up(owing=True)
                    told, implied, rejected = entries_of(hot, events, received_at, rules)
                    if offsets and rejected:
                        return Appended(0, 0, rejected, self.head())
                    entries = told + implied
                    new = (~hot.has([entry.digest for entry in entries])).tolist()
                    n_told = sum(new[: len(told)])
                    entries = [entry for entry, is_new in zip(entries, new, strict=True) if is_new]
                # outside the lock: reads go on while the disk works
                if not (entries or offsets):
                    return Appended(0, len(told), rejected, self.head())
                taken = self.journal.append(entries, hot.floor(received_at), [*offsets, unmoved])
                break
            except OffsetMoved:
                (self._cut,) = self.journal.offsets([CUT])
                if self._cut == unmoved.before:
                    raise  # else ids left the journal: the state as it is from here on knows them
            except StoreCorrupt:
                if self._is_current(hot):
                    raise
        own = [(at, entry.fields) for at, entry in zip(taken.positions, entries, strict=True) if at]
        with self._lock:
            if own and self._hot is not None:
                self._hot.owe(taken.before, own)
        accepted = sum(at > 0 for at in taken.positions[:n_told])
        return Appended(accepted, len(told) - accepted, rejected, self.head())

    def put_items(self, items: pa.Table | Callable[[], pa.Table], received_at: int = 0) -> int:
        """Record the attributes of new or changed items in the log; returns how many records it took.

        Args:
            items: ITEM_SCHEMA; or what makes them of what is known, asked again where others tell of items meanwhile
        """
        while True:
            (before,), hot = self.journal.offsets([ITEMS]), self._catch_up()  # first how far, then what is known
            entries = item_entries(hot, items() if callable(items) else items, received_at)
            if not entries:
                return 0
            try:
                moved = Offset(ITEMS, before, entries[-1].digest)
                self.journal.append(entries, hot.floor(received_at), [moved])
            except OffsetMoved:  # once for each word of others: they get on
                continue
            self._catch_up()
            return len(entries)

    def late_items(self, records: int | None = None) -> tuple[int, pa.Table]:
        """How many records of items the log has, and those items as they are now (ITEM_SCHEMA).

        Args:
            records: as they were when the log had so many; None for now
        """
        if records is not None:
            return records, told.latest(self._words()[1].slice(0, records))
        self._retired = None
        with self._lock:
            hot = self._catch_up()
            number, late, asked = hot.n_item_records, None, list(self._ahead.asked)
            if number != self._late[0]:  # each worker asks every second, and 10,000 items take 30 ms to write down
                late = hot.late()
        if late is not None:
            self._late = number, pa.Table.from_pylist(late, schema=ITEM_SCHEMA)
        self._ahead.look(hot, asked)
        return self._late

    def told_items(self) -> pa.Table:
        """Every word about an item that arrived live (told.TOLD_SCHEMA): what a later day's raw_items reads."""
        hot, words = self._words()
        return told.told_items(words, hot.base)

    def _words(self) -> tuple[Hot, pa.Table]:
        with self._lock:
            hot = self._catch_up()
            return hot, hot.words()

    def known_items(self, item_ids: Sequence[str]) -> dict[str, Mapping[str, Any]]:
        """Rows of ITEM_SCHEMA, as they are known now, of those ids that are here."""
        return self._catch_up().known(item_ids)

    def read(
        self,
        user_id: str | int,
        item_ids: Sequence[str] | np.ndarray,
        as_of: int,
        position: int | None = None,
        *,
        shelf_key: int = 0,
        places: tuple[int, ...] | None = None,
    ) -> Read:
        """Features' aggregates of one user and k items, at the head of the log or at an earlier position.

        Args:
            user_id, item_ids: ids, or key64 (int64[k]): a caller that holds keys saves a fifth of the time
            as_of, position: instant at which windows end, UTC ms; None for now, an earlier one replays the log to it
            shelf_key: key64 of the shelf that is read for; 0 where it is not known
            places: of catalog.FEATURES, all that will be asked of it, at the head; None: any
        """
        user_key = user_id if isinstance(user_id, int) else key_of(user_id)
        while True:
            hot = self._hot
            try:
                with self._lock:
                    self._ahead.asked.append((user_key, item_ids, as_of, shelf_key))
                    hot = self._catch_up()
                    rows, strange = hot.item_rows.of_items(item_ids)
                    if position not in (None, hot.position):
                        keys = np.where(rows > 0, hot.item_rows.matrix[rows, 0], strange)
                        ask = functools.partial(self.past(position).read, user_key, keys, as_of, shelf_key)
                        break
                    fetch = hot.lacking(user_key, rows, strange, shelf_key)
                    if fetch is None:
                        read, inexact = hot.read(rows, strange, user_key, as_of, shelf_key, places)
                        if inexact is None:
                            return read
                        ask = functools.partial(completed, read, *inexact)
                        break
                fetch()
            except StoreCorrupt:  # what left with the snapshot that it was read from
                if self._is_current(hot):
                    raise
        # It asks the log itself, 0.1 s of 1.7 M events: outside the lock, and one at a time.
        if not self._turn.acquire(timeout=TURN_SECONDS):
            raise StoreBusy("reads of the past wait for their turn: try again in a few seconds")
        try:
            return ask()
        finally:
            self._turn.release()

    def position_at(self, instant: int) -> int:
        """The last position before whatever was first received after an instant (UTC ms); 0 when there is none."""
        with self._lock:
            hot, log = self._with_log()
            told = hot.item_records[:, [0, -1]]
            later = (log.position[log.received_at > instant], told[told[:, 1] > instant, 0])
            stops = [int(positions[0]) for positions in later if len(positions)]
            if not stops:
                return hot.position
            stop = min(stops)
            earlier = (log.position[log.position < stop], told[told[:, 0] < stop, 0])
            return max((int(positions[-1]) for positions in earlier if len(positions)), default=0)

    def past(self, position: int | None = None) -> Past:
        """The log and the items at a position (None: now), to be read without this store.

        Raises:
            StoreError: the position is ahead of the log.
        """
        with self._lock:
            hot, log = self._with_log()
            at = hot.position if position is None else position
            if at > hot.position:
                raise StoreError(f"position {at} is ahead of the log's head {hot.position}")
            return Past(log.until(at), hot.items_at(at), at)

    def judged(self, user_id: str) -> Judged:
        """What a user made up their mind about, as it is known in this process: asks nothing that could hang."""
        return Judged.none() if self._hot is None else self._hot.judgements.of(key_of(user_id))

    def imagined(self, events: Sequence[Event], received_at: int, rules: Rules = NO_RULES) -> EventLog:
        """Events as this store would take them, and does not: in `Past.followed_by` they come next.

        Raises:
            StoreError: it would refuse one; the message names its place.
        """
        with self._lock:
            hot = self._catch_up()
            told, implied, rejected = entries_of(hot, events, received_at, rules)
        for place, reason in rejected:
            raise StoreError(f"events.{place}: {reason}")
        return events_of(records_of([0] * len(told + implied), [entry.fields for entry in told + implied]))

    def bootstrap(
        self,
        log: EventLog,
        items: pa.Table,
        position: int,
        *,
        event_keys: Sequence[str] = (),
        known_since: int = 0,
        utc_offset_ms: int = 0,
        heard: pa.Table | None = None,
        judged: Callable[[np.ndarray], np.ndarray] = nothing,
    ) -> int:
        """Begin anew from an archived log up to `position`, keeping every event accepted live that is not in it.

        Args:
            log: cleaned events up to `position`
            items: ITEM_SCHEMA, as they are now. What changed becomes records of the log, so that reads at earlier
                positions see what they saw
            heard: what `items` has heard of what was told (TOLD_SCHEMA): what was told after it stands. None: all of it
            event_keys: of the log's events, so that sending one of them again changes nothing
            known_since: UTC ms; these are of all events received from then on (known.horizon), and of others
            utc_offset_ms: offset of the source's local day
            judged: whether the lake was given the live events of those positions, whatever it made of them: bool[n]
                of int64[n]. What left the journal and is in neither stays

        Returns:
            Events in the state now.
        """
        told_before = heard or told.TOLD_SCHEMA.empty_table()
        heard_until = int(pc.max(told_before["position"]).as_py() or 0)
        self.journal.raise_head(max(position, heard_until))  # whatever is accepted from here on lies after it
        known = Known.of(event_keys, known_since)
        while True:
            with self._lock:
                hot = self._catch_up()
                snapshot, head, words = self._named, hot.position, hot.words()
            before = hot.items_table
            words = told.together(words, told_before)  # a state that had to begin anew lacks those that left
            both = merged(log, not_in(log, known, self.journal, position, head))
            both = merged(both, lost(both, self.journal, lambda: self.past().log, judged))
            here = pc.is_in(items["item_id"], value_set=before["item_id"].combine_chunks())
            base = pa.concat_tables([before, whole_items(items.filter(pc.invert(here)))])
            if self._save(packed(None, both, base, words, head, known, utc_offset_ms), snapshot):
                break
        # What changed of an item becomes a record, so that rows served before still read what they read then.
        self.put_items(lambda: items if heard is None else told.unheard(items, self.told_items(), heard_until))
        return len(both.position) + self._catch_up().applied

    @property
    def since_snapshot(self) -> int:
        """Records that this process applied to its snapshot."""
        return 0 if self._hot is None else self._hot.applied

    def knows(self, digests: Sequence[bytes]) -> np.ndarray:
        """bool[n]: whether the archive that the state began from holds events of those digests."""
        return self._catch_up().has(digests)

    def checkpoint(self, after: int) -> bool:
        """Put what the log took since the snapshot into the next one, once that is more than `after` records.

        It stops nobody. A process that opens the store, and with LMDB each that holds it, goes on from there.

        Returns:
            Whether it was done; False also when another process was first.
        """
        hot = self._catch_up()
        snapshot, head = self._named, hot.position
        if hot.applied <= after:
            return False
        try:
            arrays = self.journal.load(self.fingerprint, snapshot)
            self.journal.check(self.fingerprint, snapshot, tuple(arrays))
            fresh = self._ahead.hot_of(arrays, snapshot)  # beside the one that is read from: every read changes it
            if fresh.position < head:
                fresh.catch_up(self.journal, head)
            if fresh.applied <= after:
                return False  # this process had not changed over
            return self._save(fresh.packed(), snapshot, same=True)
        except StoreCorrupt:
            if self.journal.mark(self.fingerprint).snapshot == snapshot:
                raise
            return False

    def tail(self, after_position: int) -> pa.Table:
        """Events accepted live after a position (RAW_EVENT_SCHEMA): what a later day's raw_events reads."""
        return told.events_after(self.journal, after_position)

    def export(self, position: int | None = None) -> tuple[EventLog, Items]:
        """The log up to a position (None: now) and the items as they were known there: all that a replay needs."""
        past = self.past(position)
        return past.log, past.items

    def items_at(self, position: int) -> Items:
        """The items as they were known at a position."""
        with self._lock:
            return self._catch_up().items_at(position)

    def blocked(self, user_id: str) -> Blocked:
        """What a user never wants to see; nothing for one who is not known."""
        return Blocked.read(self.journal.blocked(key_of(user_id)))

    def block(self, user_id: str, more: Blocked, less: Blocked) -> Blocked:
        """Add to and take from what a user never wants to see: durable, and seen by every process, when this returns.

        Returns:
            All of it now.

        Raises:
            TooManyBlocked: it would be more than blocked.MOST.
        """
        add = functools.partial(changed, more=more, less=less)
        return Blocked.read(self.journal.block(key_of(user_id), add))

    def forget(self, user_id: str, rewritten: Callable[[bytes], bytes]) -> int:
        """Remove a user: their state, their history, their ids. What they did stays counted for the items.

        The state without them is saved before the one with them goes, so a death in between leaves a store that
        answers; forgetting again then ends it.

        Args:
            rewritten: the JSON of an event as nobody's (privacy.Border.nobodys)

        Returns:
            Events of the user, in the archive and live. Other processes change over at their next read.
        """
        user_key = key_of(user_id)
        word = orjson.dumps(user_id)[1:-1] if len(user_id) >= SEARCHABLE else b""
        events: int | None = None
        self.journal.hold()
        while True:
            with self._lock:
                hot, log = self._with_log()
                position, words, snapshot = hot.position, hot.words(), self._named
            mine = log.user_key == user_key
            if events is None:
                events = int(mine.sum())
                self.journal.strip(user_key, rewritten, word)
            without = log._replace(user_key=np.where(mine | of_nobody(self.journal, log), 0, log.user_key))
            arrays = packed(None, without, hot.items_table, words, position, hot.ids, hot.utc_offset_ms)
            if self._save(arrays, snapshot):
                break  # else another snapshot came meanwhile: the user may be in that one too
        self.journal.compact(self.fingerprint)
        self._catch_up()
        return events

    def close(self) -> None:
        """Let go of the journal."""
        self.journal.close()

    def _catch_up(self, *, owing: bool = False) -> Hot:  # owing: it may owe what this process appended last
        with self._lock:
            if not owing and self._hot is not None:
                self._hot.settle()  # where the journal does not answer as well: `judged` goes by what is here
            mark = self.journal.mark(self.fingerprint)
            if not mark.snapshot:
                raise StoreMissing(
                    f"the online store holds no state of these features ({self.fingerprint}): materialize online_state"
                )
            self._named = mark.snapshot
            if self._hot is None or not self._reads_as_well_from(mark.snapshot):
                fresh = self._ahead.taken(mark.snapshot)
                try:
                    arrays = {} if fresh else self.journal.load(self.fingerprint, mark.snapshot)
                    if self._hot is None:  # what a running process follows was written just now, on this machine
                        checked = [name for name in arrays if name not in LOG]
                        self.journal.check(self.fingerprint, mark.snapshot, checked)
                        self._unchecked = mark.snapshot
                except StoreCorrupt:
                    if self.journal.mark(self.fingerprint).snapshot == mark.snapshot:
                        raise
                    return self._catch_up()  # another process put a newer snapshot in its place meanwhile
                # giving back what the one before held takes 50 ms: `late_items` does, which no request calls
                self._retired, self._hot = self._hot, fresh or self._ahead.hot_of(arrays, mark.snapshot)
                self._loaded = mark.snapshot
            hot = self._hot
            if mark.head > (hot.foreseen if owing else hot.position):
                try:
                    hot.catch_up(self.journal, mark.head)
                except JournalCut:
                    if self._is_current(hot):
                        raise
                    return self._catch_up()
            if isinstance(hot, ByEntity) and self._loaded != mark.snapshot:
                hot.follow(self.journal.load(self.fingerprint, mark.snapshot))
                self._loaded = mark.snapshot
            return hot

    def _with_log(self) -> tuple[Hot, EventLog]:
        """What `_catch_up` gives, and its log: opening left that unchecked. Under the lock."""
        while True:
            hot = self._catch_up()
            try:
                if self._unchecked == self._loaded:
                    self.journal.check(self.fingerprint, self._loaded, LOG)
                    self._unchecked = ""
                return hot, hot.log()
            except StoreCorrupt:
                if self._is_current(hot):
                    raise

    def _is_current(self, hot: Hot | None) -> bool:
        """Whether that is read from here, and is the journal's own: who has the lock may be loading a later one."""
        with self._lock:
            return hot is self._hot and self.journal.mark(self.fingerprint).snapshot == self._named

    def _reads_as_well_from(self, snapshot: str) -> bool:
        """Whether what this process reads from is as good as a snapshot: it is, or a load of the same is dear."""
        if snapshot == self._loaded:
            return True
        return not self.journal.shares_pages and snapshot.split("-")[0] == self._loaded.split("-")[0]

    def _begin(self) -> None:
        at = self.journal.cut_at()  # what left is in the lake, from which a bootstrap follows
        words = told.words_of(self.journal, at)
        self._save(packed(None, empty(), ITEM_SCHEMA.empty_table(), words, at, NOTHING, 0), None)

    def _save(self, arrays: Mapping[str, np.ndarray | None], replaces: str | None, *, same: bool = False) -> bool:
        """Make a snapshot the journal's own; `same`: of the events that the one before it had, and the tail."""
        lineage = (replaces or "").split("-")[0] if same else uuid.uuid4().hex
        return self.journal.save(self.fingerprint, f"{lineage}-{uuid.uuid4().hex}", arrays, replaces)
