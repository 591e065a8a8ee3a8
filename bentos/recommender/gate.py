"""Who may call, and how often: API keys and a rate for each key, or for each peer where there are no keys."""

from __future__ import annotations

import hashlib
import hmac
import logging
import time
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from pyrate_limiter import GCRA, InMemoryStateStore, Rate

from bentos.recommender import roles
from bentos.recommender.stamps import Stamp, stamps
from recsys.settings import Settings, SettingsError, from_environment, role_of

CALLERS: Final = 10_000  # remembered for their rate; the one not seen for longest is forgotten first
SCHEME: Final = "bearer "
WRONG_KEYS: Final = Rate(10, 60_000)  # of one peer: then it is asked to wait, its known keys apart
FORWARDED: Final = ("forwarded", "via", "x-forwarded-for", "x-real-ip")  # a proxy, trusted or not, says one of these
LARGE: Final = 64 << 10  # bytes of a body; a recommend has some hundred
PENALTY_SECONDS: Final = 0.5  # in which no large body is taken from a caller whose last one was refused
log = logging.getLogger("recsys.service")


class Unauthorized(RuntimeError):
    """No key, or none of ours."""


class TooOften(RuntimeError):
    """The caller is over its rate; `seconds` until it may call again."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"too many requests: try again in {seconds:.1f} s")
        self.seconds = seconds


@dataclass(frozen=True)
class Caller:
    """Who calls: what its rate is counted by, and the public id of its key (8 hex digits; empty without keys)."""

    id: bytes
    key_id: str = ""


class _Recent(OrderedDict[bytes, Any]):
    """What is known of the last CALLERS."""

    def note(self, caller: bytes, value: Any) -> Any:
        """Keep a value, or the one that is there already, as the newest."""
        value = self.setdefault(caller, value)
        self.move_to_end(caller)
        if len(self) > CALLERS:
            self.popitem(last=False)
        return value


class Gate:
    """Asked before a body is read. Keys are kept and compared as digests, in a time that says nothing about them.

    Args:
        per_second: requests of a caller
        settings: where keys come from, when they may change while the service runs (see `renew`)
    """

    def __init__(
        self, keys: Iterable[str] = (), per_second: int | None = None, settings: Settings | None = None
    ) -> None:
        self._keys: list[bytes] = []
        self._retired: set[bytes] = set()  # keys that were ours: who still sends one does not guess
        self._take_keys(keys)
        self._rates = [Rate(per_second, 1000)] if per_second else []
        self._settings = settings
        self._files = _state_of(settings)
        self._algorithm = GCRA()
        self._callers, self._wrong, self._known, self._penalties = _Recent(), _Recent(), _Recent(), _Recent()

    @classmethod
    def of(cls, settings: Settings) -> Gate:
        """The gate that the settings ask for."""
        return cls(settings.keys, settings.rate_limit, settings)

    def _take_keys(self, keys: Iterable[str]) -> None:
        pairs = [role_of(key) for key in keys]
        before = set(self._keys)
        self._roles = {_digest(secret): role for role, secret in pairs}
        self._keys = list(self._roles)
        self._retired = (self._retired | before) - set(self._keys)

    def admit(self, authorization: str | None, peer: str, path: str = "", forwarded: bool = False) -> Caller:
        """Let a call pass that says `Authorization: Bearer KEY`, may do it and is within its rate.

        Args:
            peer: address of the caller without its port; counts where there are no keys.
            path: what is called; one that roles.NEEDED does not have is for an admin
            forwarded: a proxy says that it calls for somebody else

        Raises:
            Unauthorized, Forbidden, TooOften: see there.
        """
        caller = self._by_key(authorization, peer.encode()) if self._keys else Caller(peer.encode())
        self.count(caller)
        roles.require(self._roles.get(caller.id) if self._keys else None, path, "" if forwarded else peer)
        return caller

    def count(self, caller: Caller, calls: int = 1) -> None:
        """Count calls of a caller: a batch is as many as its slates, or as a second's worth.

        Raises:
            TooOften: it is over its rate.
        """
        if self._rates and calls:
            self._take(caller.id, min(calls, self._rates[0].limit))

    def _by_key(self, authorization: str | None, peer: bytes) -> Caller:
        said = authorization or ""
        digest = _digest(said[len(SCHEME) :].strip() if said.lower().startswith(SCHEME) else "")
        ours = sum(hmac.compare_digest(digest, key) for key in self._keys)  # a sum: every key is compared
        pair = digest + peer
        if not (ours and pair in self._known) and self._is_guessing(peer):
            raise TooOften(60.0)  # without a word on this key: else guesses would go on
        if not ours:
            if digest not in self._retired:
                self._count_wrong(peer)
            raise Unauthorized("send a key of this service in the header Authorization: Bearer KEY")
        self._known.note(pair, True)
        return Caller(digest, digest.hex()[:8])

    def _is_guessing(self, peer: bytes) -> bool:
        until = self._wrong.get(peer)
        return until is not None and until[1] > time.monotonic()

    def _count_wrong(self, peer: bytes) -> None:
        kept = self._wrong.note(peer, [InMemoryStateStore(), 0.0])
        if not kept[0].check(self._algorithm, [WRONG_KEYS], time.monotonic_ns() // 1_000_000, 1).allowed:
            kept[1] = time.monotonic() + 60.0

    def _take(self, caller: bytes, calls: int) -> None:
        state = self._callers.note(caller, self._callers.get(caller) or InMemoryStateStore())
        decision = state.check(self._algorithm, self._rates, time.monotonic_ns() // 1_000_000, calls)
        if not decision.allowed:
            raise TooOften(max(0.1, (decision.retry_after_ms or 0) / 1000))

    def admit_large(self, caller: Caller) -> None:
        """Let a body of more than LARGE bytes be read.

        Raises:
            TooOften: this caller's last one was refused a moment ago.
        """
        wait = self._penalties.get(caller.id, 0.0) - time.monotonic()
        if wait > 0:
            raise TooOften(wait)

    def refused_large(self, caller: Caller) -> float:
        """A large body of this caller was worth nothing: its answer and the next one wait, so that the others do not.

        Returns:
            Seconds to wait before the answer.
        """
        self._penalties.pop(caller.id, None)
        self._penalties.note(caller.id, time.monotonic() + PENALTY_SECONDS)
        return PENALTY_SECONDS / 2

    def renew(self) -> None:
        """Take the keys anew when a file of settings has changed; where that is no good, those before stay."""
        if self._settings is None or (state := _state_of(self._settings)) == self._files:
            return
        self._files = state
        try:
            keys = from_environment().keys
        except SettingsError as error:
            log.error("the API keys stay as they were: %s", error)
            return
        if bool(keys) != bool(self._keys):
            log.error(
                "the API keys stay as they were: whether keys are asked for does not change while the service runs"
            )
            return
        self._take_keys(keys)
        log.info("API keys taken anew: %d, with ids %s", len(keys), ", ".join(key.hex()[:8] for key in self._keys))


def _state_of(settings: Settings | None) -> list[Stamp]:
    """Which files settings come from, and as of when."""
    files = [settings.config] if settings and settings.config else []
    try:
        return stamps([*files, *(sorted(settings.secrets.iterdir()) if settings and settings.secrets else [])])
    except OSError:  # being replaced: looked at again in a second
        return []


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
