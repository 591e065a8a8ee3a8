"""What a row of a shelf names has to be there."""

from __future__ import annotations

from collections.abc import Collection


class ShelfError(ValueError):
    """A row names what there is not; the message says which shelf, what, and what there is."""


def require(what: str, named: Collection[str], known: Collection[str]) -> None:
    """Raises ShelfError where something is named that is not known."""
    for name in named:
        if name not in known:
            raise ShelfError(f"a shelf names the {what} {name!r}: it must be one of {', '.join(known)}")
