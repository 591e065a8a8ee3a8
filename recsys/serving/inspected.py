"""What `inspect` takes and answers: one payload, over HTTP, over gRPC and on the page.

Rows of an answer are typed dicts: to make models of some 500 candidates took a fifth of an inspection's time.
"""

from __future__ import annotations

from typing import Final, Literal

from pydantic import BaseModel, Field, model_validator
from typing_extensions import TypedDict  # of `typing`, pydantic reads them from Python 3.12 on

from recsys.serving.schema import Id, RecommendRequest, Rung, Text, _Request

MAX_ASKED: Final = 20  # further items by name, imagined events, features whose events are wanted
MAX_IMAGINED: Final = 50
TASTED: Final = 8  # told of the items of a history, those that did most
LAST_EVENTS: Final = 20  # told of those behind a column, the newest


class Imagined(_Request):
    """An event that did not happen: applied to a copy of the user's state, never written."""

    kind: Text
    item_id: Id
    watch_ms: int | None = Field(default=None, ge=0)


class Behind(_Request):
    """A feature of an item, whose events are wanted."""

    item_id: Id
    feature: Text


class InspectRequest(RecommendRequest):
    """A recommend to look into: of now or the past, on any bundle, after events that did not happen."""

    user_id: Id = ""
    request_id: Text | None = Field(default=None, description="a past request, as the served log keeps it")
    bundle: Text | None = Field(default=None, description="the bundle that answers; the one in service when absent")
    position: int | None = Field(default=None, ge=0, description="of the log, where an earlier answer was read")
    item_ids: list[Id] = Field(default=[], max_length=MAX_ASKED, description="items to explain beside those shown")
    events: list[Imagined] = Field(default=[], max_length=MAX_IMAGINED, description="what if these came next")
    evidence: list[Behind] = Field(default=[], max_length=MAX_ASKED, description="features whose events are wanted")
    network: bool = Field(default=True, description="false: without the network's part, and faster")

    @model_validator(mode="after")
    def _somebody(self) -> InspectRequest:
        if not self.user_id and self.request_id is None:
            raise ValueError("user_id or request_id: one of them is needed")
        if self.request_id is not None and (self.events or self.position is not None):
            raise ValueError("request_id: a past request takes no events and no position of its own")
        return self


class Proposal(TypedDict):
    """A source, and the place that it gave the item, 1 first."""

    source: str
    rank: int


class Candidate(TypedDict):
    """One of those that were scored. Predictions are null where they were not asked for or never learned."""

    item_id: str | int
    title: str | None
    sources: list[Proposal]
    score: float
    p_click: float | None
    p_long_view: float | None
    expected_watch_seconds: float | None
    rank: int  # by score, 1 first
    place: int | None  # in the slate, 1 first; null: not shown
    displacement: int | None  # place less rank: below 0 it moved up
    cause: str | None  # why it does not stand where its score would put it


class Part(TypedDict):
    """What a group of features did for an item."""

    group: str
    trees: float | None  # exact, in score: with `base` they add up to it
    network: float | None  # log odds of the aim as they are, less as they were with the group at its training median


class Tasted(TypedDict):
    """An item of the user's history, and what it adds to the log odds of a click on another, by a ranker of tastes."""

    item_id: str | int | None
    title: str | None
    told: Literal["liked", "viewed long", "opened", "passed over"]
    part: float


class Explained(Candidate):
    """A candidate that is shown or was asked for by name."""

    category: str | None
    item_type: str
    source: str | None
    reason: str | None  # of an item that is shown
    propensity: float | None  # chance that it had this place, 1 where nothing was drawn; null where it is not shown
    out: str | None  # why it is no candidate: the filter, or that no source proposed it
    base: float | None
    parts: list[Part]
    contributions: list[float]  # of the features, in their order; empty without trees
    values: list[float | None]  # float32 of the features; null: does not apply
    taste: list[Tasted]  # the largest, where tastes order; empty elsewhere
    match: float | None  # how user and item agree: the sum of those and the rest


class Dropped(TypedDict):
    """An item that sources would have proposed, and the first filter that keeps it out."""

    item_id: str | int
    title: str | None
    filter: str
    sources: list[Proposal]


class Feature(BaseModel):
    name: str
    group: str
    doc: str
    default: float


class UserEvent(TypedDict):
    """One event of the user's history, with its position in the log."""

    position: int
    kind: str
    item_id: str | int | None
    title: str | None
    occurred_at: int
    imagined: bool


class Counted(BaseModel):
    """An input of a feature: its value, and the events of the log that are counted in it."""

    name: str
    value: int
    events: int
    last: list[UserEvent]  # the newest, at most LAST_EVENTS


class Evidence(BaseModel):
    item_id: str | int
    feature: str
    value: float | None
    definition: str
    inputs: list[Counted]


class Stage(BaseModel):
    name: str
    ms: float


class Logged(BaseModel):
    """A place of the slate as the served log has it."""

    item_id: str | int
    title: str | None
    score: float | None
    p_click: float | None
    expected_watch_seconds: float | None
    source: str


class PastRequest(BaseModel):
    """The past request that was asked for, beside what came out of it now."""

    request_id: str
    served_at: int
    bundle: str
    rung: str
    same: bool | None  # whether this answer is its log to the bit; null: not compared
    words: str
    logged: list[Logged]


class InspectResponse(BaseModel):
    """A recommend, looked into. Nothing of it was shown to the user or enters the served log."""

    request_id: str
    bundle: str
    role: str
    ranker: str
    rung: Rung
    words: str | None  # what a reader must know: a lower rung, an unknown user
    user_id: str
    shelf: str
    log_shelf: str
    device: str | None
    as_of: int
    position: int
    history_position: int | None
    fingerprint: str
    done_without: list[str]
    weights: dict[str, float]  # of the predictions in the score
    items: list[Explained]  # the slate
    asked: list[Explained]
    unknown: list[str]  # ids asked for that the bundle does not have
    candidates: list[Candidate]
    dropped: list[Dropped]
    features: list[Feature]
    history: list[UserEvent]  # newest first
    judged: dict[str, int]  # finished, disliked, skipped, opened -> items
    evidence: list[Evidence]
    past: PastRequest | None
    stages: list[Stage]
