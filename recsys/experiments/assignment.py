"""Who is in which experiment and arm: salted hashes of user ids, the same in service and analysis, on any day."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import xxhash

HOLDOUT: Final = "holdout"  # the salt of those who are in no experiment; a larger holdout holds the smaller one


def place_of(salt: str, unit: str) -> float:
    """Where a unit (a user id as it is known inside) stands among all, in [0, 1): even, and new with every salt."""
    return xxhash.xxh3_64_intdigest(f"{salt}:{unit}".encode()) / 2**64


def share_at(place: float, shares: Mapping[str, float]) -> str | None:
    """The name whose share a place falls into, in the order of the mapping; None beyond the last."""
    upper = 0.0
    for name, share in shares.items():
        upper += share
        if place < upper:
            return name
    return None
