"""What an experiment is, written down before it starts: arms, who is in it and when, what decides, when it looks."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from typing import Any, Final, Literal

from pydantic import TypeAdapter, ValidationError

from recsys.events import DAY_MS, MINUTE_MS
from recsys.experiments.assignment import HOLDOUT, place_of, share_at
from recsys.vocabulary import END_INSTANT_MS

Method = Literal["planned", "always_valid"]
STAGES: Final = ((0, 0.01), (1, 0.05), (2, 0.2), (3, 0.5))  # a careful start: day of the experiment, share of the users


LONGEST_NAME: Final = 60


class ExperimentError(ValueError):
    """An experiment cannot be, or cannot go on; the message says which and what to do."""


@dataclass(frozen=True)
class Metric:
    """A ratio of two sums over users, of the columns of their table (`monitoring.trials.table`)."""

    above: str
    below: str = "users"
    words: str = ""
    better: Literal[1, -1] = 1  # -1: the less the better


METRICS: Final[Mapping[str, Metric]] = {
    "ctr": Metric("click", "impressions", "clicks an impression"),
    "clicks": Metric("click", words="clicks a user"),
    "long_views": Metric("long_view", words="long views a user"),
    "minutes": Metric("minutes", words="minutes watched a user"),
    "sessions": Metric("sessions", words="sessions a user"),
    "slates_a_session": Metric("slates", "sessions", "slates a session"),
    "back_within_1": Metric("back_within_1", "known_1", "users who came back on another day within 1"),
    "back_within_7": Metric("back_within_7", "known_7", "users who came back on another day within 7"),
    "back_within_30": Metric("back_within_30", "known_30", "users who came back on another day within 30"),
    "answered": Metric("slates", "asked", "slates answered in full by the arm, of all that its users asked for"),
    "filled": Metric("places", "wanted", "places filled, of those asked for"),
    "latency": Metric("took_ms", "timed", "milliseconds a slate", better=-1),
    "fresh": Metric("fresh", "impressions", "share of impressions that go to items of the last week"),
    "small_creators": Metric("small", "impressions", "share of impressions that go to creators of few items"),
    "fresh_attention": Metric("fresh_attention", "attention", "share of attention that goes to items of the last week"),
    "small_creators_attention": Metric(
        "small_attention", "attention", "share of attention that goes to creators of few items"
    ),
}
# Groups of people that a guardrail may be asked of (`ctr@newcomers`), by the 14 days before the experiment: who did not
# ask for anything, and the halves of the others who asked less and more often. Beside them: `device=` and its name.
PEOPLE: Final = ("newcomers", "seldom", "often")
DEVICE: Final = "device="


def parsed(name: str) -> tuple[str, str]:
    """The metric of a guardrail and the group of people that it is asked of; "" stands for all."""
    metric, _, group = name.partition("@")
    return metric, group


@dataclass(frozen=True)
class Experiment:
    """One experiment; nothing of it changes once it is kept."""

    name: str
    arms: Mapping[str, str]  # arm -> bundle id, the control first
    shares: Mapping[str, float]  # arm -> share of the experiment's users; they add up to 1
    begins: int  # UTC ms
    days: int  # it ends so many days later at the latest, with a look at the end of each
    stages: tuple[tuple[int, float], ...]  # day of the experiment from 0 on -> share of the users who are in it
    metric: str = "ctr"
    minimum_effect: float = 0.05  # relative
    guardrails: tuple[str, ...] = ()  # metrics that must not certainly get worse, of all or of a group (`parsed`)
    method: Method = "planned"
    alpha: float = 0.05
    layer: str = "bundles"  # who is in is a hash by the layer: its experiments share out the users
    from_place: float = 0.0  # where its users begin among those of the layer, 0 to 1
    holdout: float = 0.0  # share of the users who are in no experiment
    salt: str = ""  # arms are drawn by it; the name, if none is given
    unseen: float = 0.0  # share of the users whom its last arm does not answer for whom it ranks unseen: a shadow

    def __post_init__(self) -> None:
        words = self._wrong()
        if words:
            raise ExperimentError(f"experiment {self.name!r:.60}: {words}")

    def _wrong(self) -> str | None:
        shares = [share for _, share in self.stages]
        days = [day for day, _ in self.stages]
        if not 0 <= self.begins < END_INSTANT_MS:
            return "it begins at an instant in UTC milliseconds"
        if not self.name.replace("-", "").replace("_", "").isalnum() or len(self.name) > LONGEST_NAME:
            return f"a name has letters, digits, - and _, {LONGEST_NAME} at most"
        if len(self.arms) < 2 or list(self.arms) != list(self.shares):
            return "at least two arms, and a share of each, in the same order, the control first"
        if any(not 0 < share < 1 for share in self.shares.values()) or abs(sum(self.shares.values()) - 1) > 1e-9:
            return f"the arms' shares add up to {sum(self.shares.values()):g}: each is over 0, and they add up to 1"
        if (
            self.days < 1
            or not 0 < self.minimum_effect < math.inf
            or not 0 < self.alpha < 0.5
            or not 0 <= self.holdout < 1
        ):
            return "days are 1 or more, the minimum effect over 0, alpha under .5, the holdout under 1"
        if not shares or days != sorted(set(days)) or days[0] != 0 or shares != sorted(shares):
            return "stages begin on day 0 and go on by day, and a share never falls: stop it instead"
        if not 0 <= self.unseen <= 1:
            return "the share for whom it ranks unseen is from 0 to 1"
        if not all(0 < share <= 1 or share == 0 < self.unseen for share in shares):
            return "the users' share is over 0 and at most 1, unless it ranks unseen for some"
        if not 0 <= self.from_place <= 1 - shares[-1]:
            return "the users' share with `from_place` is at most 1"
        asked = [(self.metric, ""), *map(parsed, self.guardrails)]
        unknown = [metric for metric, _ in asked if metric not in METRICS]
        if unknown:
            return f"no metric {unknown[0]}: there are {', '.join(METRICS)}"
        nobody = [group for _, group in asked if group not in ("", *PEOPLE) and not group.startswith(DEVICE)]
        if nobody:
            return f"no group of people {nobody[0]}: there are {', '.join(PEOPLE)}, and {DEVICE}NAME"
        return None

    @property
    def control(self) -> str:
        return next(iter(self.arms))

    @property
    def ends(self) -> int:
        """UTC ms."""
        return self.begins + self.days * DAY_MS

    @property
    def widest(self) -> tuple[float, float]:
        """Its users among those of the layer, at the last stage."""
        return self.from_place, self.from_place + self.stages[-1][1]

    @property
    def digest(self) -> str:
        """Of all that it says: another one is another experiment."""
        return hashlib.sha256(json.dumps(asdict(self)).encode()).hexdigest()[:16]  # the order of arms is one of them

    def share_on(self, day: int) -> float:
        """Share of the users who are in it on a day of it (0 first); 0 before and after."""
        if not 0 <= day < self.days:
            return 0.0
        return [share for start, share in self.stages if start <= day][-1]

    def day_of(self, at: int) -> int:
        """Day of the experiment at an instant, UTC ms."""
        return (at - self.begins) // DAY_MS

    def arm_of(self, user_id: str, at: int) -> str | None:
        """The arm of a user at an instant; None for who is not in it then. Once in, a user stays, in the same arm."""
        place = place_of(f"layer {self.layer}", user_id) - self.from_place
        if not 0 <= place < self.share_on(self.day_of(at)):
            return None
        if self.holdout and place_of(HOLDOUT, user_id) < self.holdout:
            return None
        return share_at(place_of(self.salt or self.name, user_id), self.shares) or list(self.shares)[-1]

    @property
    def tried(self) -> str:
        """The bundle of its last arm."""
        return list(self.arms.values())[-1]

    def ranks_unseen(self, user_id: str, at: int) -> bool:
        """Whether its last arm ranks unseen for a user whom it does not answer at an instant."""
        if not self.unseen or not 0 <= self.day_of(at) < self.days:
            return False
        return place_of(f"unseen {self.salt or self.name}", user_id) < self.unseen

    def require_ahead(self, now: int) -> None:
        """Raises ExperimentError where it begins before now (UTC ms): what was served by then was served without it."""
        if self.begins < now - MINUTE_MS:  # who says now is heard a moment later
            began = datetime.fromtimestamp(self.begins / 1000, UTC)
            raise ExperimentError(
                f"experiment {self.name} would have begun at {began:%Y-%m-%d %H:%M} UTC, which is over: leave `begins` "
                "out, and it begins now, or name an instant to come"
            )

    def told(self) -> dict[str, Any]:
        """As it is kept."""
        return asdict(self)

    @staticmethod
    def of(told: Mapping[str, Any]) -> Experiment:
        """What `told` gave.

        Raises:
            ExperimentError: it is none.
        """
        unknown = set(told) - {field.name for field in fields(Experiment)}
        if unknown:
            raise ExperimentError(f"an experiment has no {min(unknown)}")
        try:
            return _RECORD.validate_json(json.dumps(dict(told)), strict=True)
        except ValidationError as error:
            wrong = error.errors(include_url=False, include_input=False, include_context=False)[0]
            field = ".".join(str(part) for part in wrong["loc"])
            words = str(wrong["msg"]).removeprefix("Value error, ")
            raise ExperimentError(f"an experiment's {field}: {words}" if field else words) from None


_RECORD: Final = TypeAdapter(Experiment)
