"""The shelves of the home page, as data: what may stand on each, where it comes from, how varied it must be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from recsys.events import ITEM_TYPES


@dataclass(frozen=True)
class Shelf:
    """One shelf. A cap is the largest share of a slate that one creator or category may take, at least one place."""

    item_types: tuple[str, ...]
    caps: Mapping[str, float] = field(default_factory=dict)
    again: bool = False  # may show what the person has already finished

    @property
    def type_codes(self) -> frozenset[int]:
        return frozenset(ITEM_TYPES[name] for name in self.item_types)


SHELVES: Final[Mapping[str, Shelf]] = {
    "feed": Shelf(item_types=tuple(ITEM_TYPES), caps={"creator": 0.3, "category": 0.6}),
    "podcasts": Shelf(item_types=("podcast",), caps={"creator": 0.3, "category": 0.6}),
    "playlists": Shelf(item_types=("playlist", "album"), caps={"creator": 0.5}),
    "shortcuts": Shelf(item_types=tuple(ITEM_TYPES), caps={"creator": 0.5}, again=True),  # back to what one likes
}
DEFAULT: Final = "feed"
