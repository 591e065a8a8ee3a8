"""Who may call, and how often: API keys and a rate for each key, or for each peer where there are no keys."""

from __future__ import annotations

import hashlib
import hmac
import time
from collections import OrderedDict
from collections.abc import Iterable
from typing import Final

from pyrate_limiter import GCRA, InMemoryStateStore, Rate

from recsys.settings import Settings, SettingsError

KEY_LENGTH: Final = 16  # shorter ones can be guessed
CALLERS: Final = 10_000  # remembered for their rate; the one not seen for longest is forgotten first
SCHEME: Final = "bearer "


class Unauthorized(RuntimeError):
    """No key, or none of ours."""


class TooOften(RuntimeError):
    """The caller is over its rate; `seconds` until it may call again."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"too many requests: try again in {seconds:.1f} s")
        self.seconds = seconds


class Gate:
    """Asked before a body is read. Keys are kept and compared as digests, in a time that says nothing about them."""

    def __init__(self, keys: Iterable[str] = (), per_second: int | None = None) -> None:
        self._keys = [_digest(key) for key in keys]
        self._rates = [Rate(per_second, 1000)] if per_second else []
        self._algorithm = GCRA()
        self._callers: OrderedDict[bytes, InMemoryStateStore] = OrderedDict()

    @classmethod
    def of(cls, settings: Settings) -> Gate:
        """The gate that the settings ask for.

        Raises:
            SettingsError: a key is too short or has other than visible ASCII characters; the key is not repeated.
        """
        given = settings.api_keys.get_secret_value() if settings.api_keys else ""
        keys = [key.strip() for key in given.split(",")] if given else []
        for number, key in enumerate(keys, start=1):
            if len(key) < KEY_LENGTH or not all("!" <= character <= "~" for character in key):
                raise SettingsError(
                    f"RECSYS_API_KEYS: key {number} of {len(keys)} needs {KEY_LENGTH} or more visible ASCII characters"
                )
        return cls(keys, settings.rate_limit)

    def admit(self, authorization: str | None, peer: str) -> None:
        """Let a call pass that says `Authorization: Bearer KEY` and is within its rate.

        Args:
            peer: address of the caller without its port; counts where there are no keys.

        Raises:
            Unauthorized, TooOften: see there.
        """
        caller = peer.encode()
        if self._keys:
            caller = self._key_of(authorization)
        if self._rates:
            self._count(caller)

    def _key_of(self, authorization: str | None) -> bytes:
        said = authorization or ""
        digest = _digest(said[len(SCHEME) :].strip() if said.lower().startswith(SCHEME) else "")
        if not sum(hmac.compare_digest(digest, key) for key in self._keys):  # a sum: every key is compared
            raise Unauthorized("send a key of this service in the header Authorization: Bearer KEY")
        return digest

    def _count(self, caller: bytes) -> None:
        state = self._callers.get(caller)
        if state is None:
            state = self._callers[caller] = InMemoryStateStore()
            if len(self._callers) > CALLERS:
                self._callers.popitem(last=False)
        self._callers.move_to_end(caller)
        decision = state.check(self._algorithm, self._rates, time.monotonic_ns() // 1_000_000, 1)
        if not decision.allowed:
            raise TooOften(max(0.1, (decision.retry_after_ms or 0) / 1000))


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
