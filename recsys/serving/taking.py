"""Events on their way in, whoever brings them: HTTP, gRPC and a stream pass here, by the same rules and words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from recsys.privacy.border import Border
from recsys.serving.schema import EventsResponse, Rejected, events_of
from recsys.store.intake import Appended

FORGOTTEN: Final = "this user was forgotten"


class Told(NamedTuple):
    """Events as they were told, behind the border: ready for `OnlineStore.append`."""

    rows: list[dict[str, Any]]  # EVENT_SCHEMA without what the store gives, as it was said
    places: list[int]  # of each row among what was told
    rejected: list[Rejected]

    @classmethod
    def of(cls, raws: Sequence[Any], border: Border | None) -> Told:
        """Events as their JSON was read.

        Args:
            border: None where users are given by their ids inside
        """
        good, rejected = events_of(raws)
        rows, places = [], []
        for place, event in good:
            row = event.model_dump()
            inside = row if border is None else border.event(row)
            if inside is None:
                rejected.append(Rejected(index=place, reason=FORGOTTEN))
            else:
                rows.append(inside)
                places.append(place)
        return cls(rows, places, rejected)

    def refused(self, appended: Appended) -> list[Rejected]:
        """All that is rejected, by place, once the store has looked at the rows."""
        by_store = [Rejected(index=self.places[row], reason=reason) for row, reason in appended.rejected]
        return sorted([*self.rejected, *by_store], key=lambda one: one.index)

    def answer(self, appended: Appended) -> EventsResponse:
        """What became of them."""
        return EventsResponse(
            accepted=appended.accepted,
            duplicates=appended.duplicates,
            rejected=self.refused(appended),
            position=appended.position,
        )
