"""State by entity: a worker keeps what it was asked for, and a journal has the rest under the key of its owner.

The owner of an entity is its first part: a user, an item, a category, a creator or a shelf. What one owner has lies
together, with the position up to which the log is in it, so that a reader knows from where on the tail applies.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np

from recsys.features import fold, sweep
from recsys.features.fold import U_CELLS, U_ENTITIES, State
from recsys.features.judged import Judgements
from recsys.features.kernel import BLOCK, entity_keys, rehash
from recsys.features.layout import V_KINDS, V_PART_A, V_PART_B, V_WIDTH, Program
from recsys.features.log import EventLog, empty, fill, place, table_of

_VIEWS: Final = sweep.PROGRAM.views
PARTS: Final = tuple(int(part) for part in np.unique(_VIEWS[:, V_PART_A]))
USER: Final = 0  # among the parts
HEAD: Final = 8  # bytes of a position, ahead of what an owner has
JUDGED_CELLS: Final = 32  # that a judging event takes in memory, about
_OWNER: Final = np.zeros(
    (max(PARTS) + 1, _VIEWS.shape[1]), np.int64
)  # views of one part each: their entity is the owner
_OWNER[:, V_PART_A], _OWNER[:, V_PART_B] = range(len(_OWNER)), -1


def _only(part: int) -> Program:
    """The program of the views whose owner is of that part: the others take no kind of event."""
    views = _VIEWS.copy()
    views[views[:, V_PART_A] != part, V_KINDS] = 0
    return sweep.PROGRAM._replace(views=views)


_PROGRAMS: Final = {part: _only(part) for part in PARTS}


class Owned(NamedTuple):
    """What an owner has."""

    position: int
    user_key: int  # 0 of an owner that is no user
    entities: np.ndarray  # int64[n], keys in the state's table
    views: np.ndarray  # int64[n]
    judged: np.ndarray  # int64[m, 4]: position, item, kind, occurred_at
    cells: np.ndarray  # int64: runs of the entities, one after the other

    def packed(self) -> bytes:
        """For a journal."""
        sizes = np.array([self.user_key, len(self.entities), len(self.judged)], np.int64)
        body = np.concatenate([sizes, self.entities, self.views, self.judged.ravel(), self.cells])
        return self.position.to_bytes(HEAD, "big") + body.tobytes()

    @classmethod
    def read(cls, blob: bytes) -> Owned:
        """What `packed` wrote."""
        body = np.frombuffer(blob, np.int64, offset=HEAD)
        user_key, n, m = body[:3].tolist()
        entities, views, judged, cells = np.split(body[3:], [n, 2 * n, 2 * n + 4 * m])
        return cls(int.from_bytes(blob[:HEAD], "big"), user_key, entities, views, judged.reshape(-1, 4), cells)


def owners(part: int, log: EventLog) -> np.ndarray:
    """Owner of each event among those of a part, int64[n]; 0 where it has none."""
    return entity_keys(_OWNER, part, log.user_key, log.item_key, log.category_key, log.creator_key, log.shelf_key)


def asked(user_key: int, items: np.ndarray, shelf_key: int) -> np.ndarray:
    """Owners that a read needs, int64[m], 0 where there is none; items: int64[n, 3], key, category and creator."""
    user, shelf = np.array([user_key], np.int64), np.array([shelf_key], np.int64)
    keys = user, *np.ascontiguousarray(items.T), shelf
    return np.concatenate([entity_keys(_OWNER, part, *[keys[part]] * len(keys)) for part in PARTS])


def entities_of(part: int, log: EventLog) -> np.ndarray:
    """Owner, key and view of each entity of a part that the events touch: int64[3, n], distinct, by owner."""
    keys = log.user_key, log.item_key, log.category_key, log.creator_key, log.shelf_key
    owner, kinds = owners(part, log), log.kind.astype(np.int64)
    touched = [np.zeros((3, 0), np.int64)]
    for v in np.flatnonzero(_VIEWS[:, V_PART_A] == part).tolist():
        entity = entity_keys(_VIEWS, v, *keys)
        chosen = (entity != 0) & ((_VIEWS[v, V_KINDS] >> kinds) & 1 == 1)
        touched.append(np.stack([owner[chosen], entity[chosen], np.full(chosen.sum(), v)]))
    return _distinct(np.concatenate(touched, axis=1))


def _distinct(rows: np.ndarray) -> np.ndarray:
    rows = rows[:, np.lexsort((rows[1], rows[0]))]
    first = np.ones(rows.shape[1], bool)
    first[1:] = np.any(rows[:2, 1:] != rows[:2, :-1], axis=0)
    return rows[:, first]


def divided(
    state: State, rows: np.ndarray, position: int, users: Mapping[int, int], judged: Mapping[int, np.ndarray]
) -> Iterator[tuple[int, bytes]]:
    """What each owner has in a state; a user who did nothing but dislike has no entity, and is judged all the same.

    Args:
        rows: its entities as `entities_of` gives them
        users: key of each owner that is a user
        judged: by the key of a user, as in Owned
    """
    owner, entity, view = rows
    none = np.zeros((0, 4), np.int64)
    nothing = np.zeros(0, np.int64)
    for name in users.keys() - set(owner.tolist()) - {0}:
        user = users[name]
        if len(judged.get(user, none)):
            yield name, Owned(position, user, nothing, nothing, judged[user], nothing).packed()
    if not len(owner):
        return
    base = np.zeros((1, len(entity)), np.int64)
    fill(state.table, entity, base)
    widths = _VIEWS[view, V_WIDTH]
    ends = np.cumsum(widths)
    cells = state.cells[np.repeat(base[0] - (ends - widths), widths) + np.arange(ends[-1])]
    starts = np.flatnonzero(np.diff(owner, prepend=0) != 0).tolist()
    for first, last in zip(starts, [*starts[1:], len(owner)], strict=True):
        name = int(owner[first])
        user = users.get(name, 0)
        run = cells[int(ends[first] - widths[first]) : int(ends[last - 1])]
        yield name, Owned(position, user, entity[first:last], view[first:last], judged.get(user, none), run).packed()


def all_of(state: State, log: EventLog, position: int) -> Iterator[tuple[int, bytes]]:
    """What each owner has in the state after a log."""
    user, *events = Judgements.events(log)
    starts = np.flatnonzero(np.diff(user, prepend=0) != 0).tolist()
    runs = np.split(np.stack(events, axis=1).astype(np.int64)[:, [0, 1, 3, 2]], starts[1:]) if len(user) else []
    judged = dict(zip(user[starts].tolist(), runs, strict=True))
    for part in PARTS:
        users = dict(zip(owners(part, log).tolist(), log.user_key.tolist(), strict=True)) if part == USER else {}
        yield from divided(state, entities_of(part, log), position, users, judged)


class Entities:
    """What a process holds of a state: whole owners, as far as they were asked for. Used under its store's lock.

    Args:
        budget_mb: beyond it everything is let go, and asked for again as it is needed; None for no bound
    """

    def __init__(self, budget_mb: int | None = None) -> None:
        self._most = None if budget_mb is None else budget_mb * 2**20 // 8
        self._clear()

    def _clear(self) -> None:
        self.state = fold.new_state()
        self.judgements = Judgements.of_log(empty())
        self._held = np.zeros((1 << 10, 2), np.int64)  # open-addressed: owner, 1
        self._count = self._judged = 0

    @property
    def cells(self) -> int:
        """Memory that it takes, in cells of 8 bytes."""
        return len(self.state.cells) + self.state.table.size + self._held.size + self._judged * JUDGED_CELLS

    @property
    def names(self) -> np.ndarray:
        """Owners that are here, int64[n]."""
        return self._held[self._held[:, 0] != 0, 0]

    def lacking(self, wanted: np.ndarray) -> np.ndarray:
        """Those of some owners that have to be added first."""
        if self._most is not None and self.cells > self._most:
            self._clear()
        return np.unique(wanted[~self._holds(wanted) & (wanted != 0)])

    def _holds(self, names: np.ndarray) -> np.ndarray:
        held = np.zeros((1, len(names)), np.int64)
        fill(self._held, names, held)
        return held[0] == 1

    def add(self, names: np.ndarray, owned: Sequence[Owned | None], tail: Sequence[EventLog]) -> None:
        """Owners that are not here, as a journal had them, and of the tail what came after that."""
        for one in owned:
            if one is not None:
                self._place(one)
        self._count += len(names)
        while 2 * self._count > len(self._held):
            self._held = _larger(self._held)
        place(np.stack([names, np.ones(len(names), np.int64)], axis=1), self._held)
        following = np.array([1 + one.position if one is not None else 1 for one in owned], np.int64)
        since = table_of(np.stack([names, following], axis=1))
        for log in tail:
            for part in PARTS:
                after = np.zeros((1, len(log.position)), np.int64)
                fill(since, owners(part, log), after)
                self._apply(part, log, (after[0] > 0) & (log.position >= after[0]))

    def apply(self, log: EventLog) -> None:
        """The next events of the log, as far as they are of owners that are here."""
        for part in PARTS:
            self._apply(part, log, self._holds(owners(part, log)))

    def _apply(self, part: int, log: EventLog, chosen: np.ndarray) -> None:
        if not chosen.any():
            return
        mine = log.take(chosen)
        room = min(BLOCK, len(mine.position))
        self._with_room(room * len(_VIEWS), room * int(_VIEWS[:, V_WIDTH].sum()))
        self.state = fold.applied(_PROGRAMS[part], self.state, mine)
        if part == USER:
            self._judged += self.judgements.add(mine)

    def _with_room(self, entities: int, cells: int) -> State:
        """The state with room for so many more: it grows by a quarter, for what is let go is the whole of it."""
        table, held, used, _ = self.state
        while used[U_ENTITIES] + entities > len(table) // 2:
            table = _larger(table)
        if (needed := int(used[U_CELLS]) + cells) > len(held):
            spare = np.zeros(max(needed, 5 * len(held) // 4) - int(used[U_CELLS]), np.int64)
            held = np.concatenate([held[: used[U_CELLS]], spare])
        self.state = State(table, held, used)
        return self.state

    def _place(self, owned: Owned) -> None:
        n, size = len(owned.entities), len(owned.cells)
        table, cells, used, _ = self._with_room(n, size)
        widths = _VIEWS[owned.views, V_WIDTH]
        bases = used[U_CELLS] + np.cumsum(widths) - widths
        place(np.stack([owned.entities, bases], axis=1), table)
        cells[used[U_CELLS] : used[U_CELLS] + size] = owned.cells
        used[U_ENTITIES] += n
        used[U_CELLS] += size
        if owned.user_key:
            self.judgements.put(owned.user_key, owned.judged)
            self._judged += len(owned.judged)


def _larger(table: np.ndarray) -> np.ndarray:
    larger = np.zeros((2 * len(table), 2), np.int64)
    rehash(table, larger)
    return larger


def folded(
    part: int, names: np.ndarray, owned: Sequence[Owned | None], log: EventLog, position: int
) -> Iterator[tuple[int, bytes]]:
    """What these owners of a part have once the log's events up to a position, its end, are in it."""
    held = Entities()
    held.add(names, owned, [log])
    known = [
        np.stack([np.full(len(one.entities), name), one.entities, one.views])
        for name, one in zip(names.tolist(), owned, strict=True)
        if one is not None
    ]
    rows = _distinct(np.concatenate([*known, entities_of(part, log)], axis=1))
    users = {name: one.user_key for name, one in zip(names.tolist(), owned, strict=True) if one is not None}
    if part == USER:
        users |= dict(zip(owners(part, log).tolist(), log.user_key.tolist(), strict=True))
    judged = {user: held.judgements.events_of(user) for user in users.values()}
    return divided(held.state, rows, position, users, judged)
