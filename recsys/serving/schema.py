"""What the service is asked and what it answers: strict in, exact out.

Unknown fields, wrong types and values out of range are refused with a message that names the field. Ids may be strings
or integers (an integer is its decimal string); answers write them as the source gave them.
"""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from recsys.events import DAY_MS, ITEM_TYPES, KINDS
from recsys.policy.shelves import DEFAULT, SHELVES

MAX_K: Final = 100
MAX_ITEMS: Final = 500  # one ranker call
MAX_EVENTS: Final = 1000  # one store transaction
MAX_INSTANT: Final = 4_102_444_800_000  # 2100-01-01

Rung = Literal["full", "no_ranker", "cached", "trending"]


class BadRequest(ValueError):
    """A request the schema refuses; the message names the field and what it takes."""

    def __init__(self, message: str, code: Literal["invalid_json", "invalid_request"] = "invalid_request") -> None:
        super().__init__(message)
        self.code = code


def _id(value: Any) -> Any:
    """An id as a string. bool is an int to Python, so it is refused by name."""
    if isinstance(value, bool):
        raise ValueError("must be a string or an integer")
    if isinstance(value, int):
        if not 0 <= value < 2**63:
            raise ValueError("must be from 0 to 2^63 - 1")
        return str(value)
    return value


def _printable(value: str) -> str:
    if not value.isprintable():
        raise ValueError("must be printable text")
    return value


def _instant(value: Any) -> Any:
    """UTC milliseconds from milliseconds or ISO 8601; an ISO instant without an offset is UTC."""
    if not isinstance(value, str):
        return value
    try:
        moment = datetime.fromisoformat(value)
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return round(moment.timestamp() * 1000)
    except (ValueError, OverflowError):
        raise ValueError("must be UTC milliseconds or an ISO 8601 instant") from None


def _kind(value: str) -> str:
    if value not in KINDS:
        raise ValueError(f"must be one of {', '.join(KINDS)}")
    return value


def _item_type(value: str) -> str:
    if value not in ITEM_TYPES:
        raise ValueError(f"must be one of {', '.join(ITEM_TYPES)}")
    return value


Text = Annotated[str, Field(min_length=1, max_length=64), AfterValidator(_printable)]
Id = Annotated[
    str,
    BeforeValidator(_id, json_schema_input_type=str | int),
    Field(min_length=1, max_length=128),
    AfterValidator(_printable),
]
Instant = Annotated[
    int, BeforeValidator(_instant, json_schema_input_type=int | str), Field(ge=0, le=MAX_INSTANT)
]  # UTC ms


class _Request(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


R = TypeVar("R", bound=_Request)


class Context(_Request):
    """Where and when; `at` answers as of that instant, now when absent."""

    device: Text | None = None
    at: Instant | None = None


class Blocked(_Request):
    """What this person never wants to see."""

    item_ids: list[Id] = Field(default=[], max_length=MAX_ITEMS)
    creator_ids: list[Id] = Field(default=[], max_length=MAX_ITEMS)


class RecommendRequest(_Request):
    user_id: Id
    shelf: Text = Field(default=DEFAULT, description=f"{', '.join(SHELVES)}, or a shelf of the source's log")
    k: int = Field(default=10, ge=1, le=MAX_K)
    context: Context = Context()
    consent: bool = Field(default=True, description="false: nothing personal is read and no name is logged")
    blocked: Blocked = Blocked()


class FeaturesRequest(_Request):
    user_id: Id
    item_ids: list[Id] = Field(min_length=1, max_length=MAX_ITEMS)
    at: Instant | None = None


class EventsRequest(_Request):
    """Events are checked one by one: a bad one is rejected with its index and the others are kept."""

    events: list[Any] = Field(max_length=MAX_EVENTS)


class Event(_Request):
    """One thing that happened. Without an `event_id` it gets one, and then a retry counts twice."""

    event_id: Id = Field(default_factory=lambda: uuid.uuid4().hex)
    kind: Annotated[str, AfterValidator(_kind)]
    user_id: Id
    item_id: Id
    occurred_at: Instant | None = None  # now when absent
    request_id: Id | None = None
    impression_id: Id | None = None
    shelf: Text | None = None
    device: Text | None = None
    slot: int | None = Field(default=None, ge=0, le=10_000)
    watch_ms: int | None = Field(default=None, ge=0, le=DAY_MS)
    consent: bool | None = None

    @model_validator(mode="after")
    def _watch_ms_belongs_to_plays(self) -> Event:
        if (self.kind == "play") != (self.watch_ms is not None):
            raise ValueError("watch_ms belongs to a play, and every play has it")
        return self


class Item(_Request):
    """An item's metadata; sent again it replaces what was known."""

    item_id: Id
    item_type: Annotated[str, AfterValidator(_item_type)]
    creator_id: Id | None = None
    category: Text | None = None
    tags: list[Text] = Field(default=[], max_length=32)
    title: Annotated[str, Field(max_length=512)] | None = None
    duration_ms: int = Field(default=0, ge=0, le=10 * 365 * DAY_MS)
    published_at: Instant | None = None  # now when absent
    is_available: bool = True


class ItemsRequest(_Request):
    """All of them are taken, or none."""

    items: list[Item] = Field(min_length=1, max_length=MAX_ITEMS)


class BlockRequest(_Request):
    """What this person never wants to see from now on, and what they may see again."""

    user_id: Id
    block: Blocked = Blocked()
    unblock: Blocked = Blocked()


class BlockResponse(BaseModel):
    """How much is blocked for this person now."""

    items: int
    creators: int


class ItemsResponse(BaseModel):
    recorded: int  # new or changed; the others were known as they are
    position: int


class RecommendedItem(BaseModel):
    item_id: str | int
    score: float
    p_click: float | None  # null on rungs without a ranker
    expected_watch_seconds: float | None
    source: str
    reason: str


class RecommendResponse(BaseModel):
    request_id: str
    bundle: str
    position: int
    rung: Rung
    items: list[RecommendedItem]


class Rejected(BaseModel):
    index: int
    reason: str


class EventsResponse(BaseModel):
    accepted: int
    duplicates: int
    rejected: list[Rejected]
    position: int


class FeaturesResponse(BaseModel):
    """`rows` holds float32 values written as the doubles they equal; null is NaN, a feature that does not apply."""

    position: int
    at: int
    fingerprint: str
    names: list[str]
    rows: list[list[float | None]]


def parse(model: type[R], body: bytes) -> R:
    """A request from its JSON.

    Raises:
        BadRequest: for anything but a valid request; the message never repeats what was sent.
    """
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        malformed = error.errors(include_url=False, include_input=False)[0]["type"] == "json_invalid"
        raise BadRequest(one_line(error), "invalid_json" if malformed else "invalid_request") from None


def one_line(error: ValidationError) -> str:
    """The first thing wrong, as `field: what it takes`; never the value that was sent."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    field = ".".join(str(part) for part in first["loc"])
    message = first["msg"].removeprefix("Value error, ")
    return f"{field}: {message}" if field else message


def events_of(request: EventsRequest) -> tuple[list[tuple[int, Event]], list[Rejected]]:
    """The well-formed events with their places in the request, and the others with what is wrong."""
    good: list[tuple[int, Event]] = []
    bad: list[Rejected] = []
    for index, raw in enumerate(request.events):
        try:
            good.append((index, Event.model_validate(raw)))
        except ValidationError as error:
            bad.append(Rejected(index=index, reason=one_line(error)))
    return good, bad


def written(item_id: str, id_type: str) -> str | int:
    """An id as the source wrote it: an integer where the source's ids are integers."""
    return int(item_id) if id_type == "int" and item_id.isascii() and item_id.isdigit() else item_id
