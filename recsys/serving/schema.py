"""What the service is asked and what it answers: strict in, exact out.

Unknown fields, wrong types and values out of range are refused with a message that names the field. Ids may be strings
or integers (an integer is its decimal string); answers write them as the source gave them.
"""

from __future__ import annotations

import json
import math
import re
import uuid
from codecs import BOM_UTF8
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, ClassVar, Final, Literal, Self, TypeVar

import numpy as np
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    FailFast,
    Field,
    ModelWrapValidatorHandler,
    PrivateAttr,
    ValidationError,
    model_validator,
)

from recsys.events import (
    DAY_MS,
    ITEM_TYPES,
    MAX_DESCRIPTION_BYTES,
    MAX_EMBEDDING,
    MAX_ID_BYTES,
    MAX_INTEGER_DIGITS,
    OFFSETS,
    ROW,
    ROW_SEPARATOR,
    UTC_OFFSET,
    is_integer_id,
    row_id,
)
from recsys.policy.shelves import DEFAULT, SHELVES
from recsys.vocabulary import (
    ABOUT_1976,
    BLANKS,
    CONTROLS,
    DATES_OF_12_DIGITS,
    DATES_OF_14_DIGITS,
    END_INSTANT_MS,
    FIRST_INSTANT_MS,
    LONG_DESCRIPTION,
    MISSING,
    language_of,
    wrong_embedding,
)

MAX_K: Final = 100
MAX_ITEMS: Final = 500  # one ranker call
MAX_BATCH: Final = 20  # slates of one call
MAX_EVENTS: Final = 1000  # one store transaction
MARKS: Final = (b",", b":", b"[", b"{")
CHUNK: Final = 1 << 16

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)

Rung = Literal["full", "partial", "no_ranker", "cached", "trending"]


class BadRequest(ValueError):
    """A request the schema refuses; the message names the field and what it takes."""

    def __init__(self, message: str, code: Literal["invalid_json", "invalid_request"] = "invalid_request") -> None:
        super().__init__(message)
        self.code = code


def _id(value: Any) -> Any:
    """An id as a string. bool is an int to Python, so it is refused by name; 5004.0 is how some write 5004."""
    if isinstance(value, bool):
        raise ValueError("must be a string or an integer")
    if isinstance(value, float) and value.is_integer() and abs(value) < 10**MAX_INTEGER_DIGITS:
        value = int(value)
    if isinstance(value, int):
        if not -(2**63) <= value < 2**64:
            raise ValueError("must be an integer of 64 bits, or text")
        return str(value)
    return _said(value) or "" if isinstance(value, str) else value


def _said(value: Any) -> Any:
    """Text as files are read: without the blanks around it, None where it is a word for nothing."""
    if not isinstance(value, str):
        return value
    text = value.strip(BLANKS)
    return None if text in MISSING else text


def _said_of_people(value: Any) -> Any:
    """As `_said`, but for a country NA."""
    return value if value == "NA" else _said(value)


def _without_controls(value: str) -> str:
    if re.search(CONTROLS, value):
        raise ValueError("holds a control character")
    return value


def _instant(value: Any) -> Any:
    """UTC milliseconds from milliseconds or ISO 8601; an ISO instant without an offset is UTC.

    A fraction of a millisecond is cut off, as it is in files: the same event told in both ways is one.
    """
    if not isinstance(value, str):
        return value
    try:
        moment = datetime.fromisoformat(value)
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return (moment - _EPOCH) // _MILLISECOND
    except (ValueError, OverflowError):
        raise ValueError("must be UTC milliseconds or an ISO 8601 instant") from None


def _in_milliseconds(value: Any) -> Any:
    """A number as small as this is in seconds; 0 is for an instant that is not known."""
    if isinstance(value, int) and 0 < value < FIRST_INSTANT_MS:
        raise ValueError("is in seconds: give UTC milliseconds")
    if isinstance(value, int) and (
        DATES_OF_14_DIGITS[0] <= value <= DATES_OF_14_DIGITS[1]
        or (ABOUT_1976[0] <= value <= ABOUT_1976[1] and re.search(DATES_OF_12_DIGITS, str(value)))
    ):
        raise ValueError("is a date in digits: give UTC milliseconds or ISO 8601")
    return _instant(value)


def _whole(value: Any) -> Any:
    """3.0 is how some write 3, as in files."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _rounded(value: Any) -> Any:
    """A duration to whole milliseconds, as in files."""
    return round(value) if isinstance(value, float) and math.isfinite(value) else value


def _short(value: str) -> str:
    if not value:
        raise ValueError("is missing")
    if len(value.encode()) > MAX_ID_BYTES:
        raise ValueError(f"must be at most {MAX_ID_BYTES} bytes long")
    return value


def _event_id(said: dict[str, Any]) -> str:
    if said["occurred_at"] is None:
        return uuid.uuid4().hex
    words = ["" if said[name] is None else str(said[name]) for name in ROW]
    return row_id(ROW_SEPARATOR.join(words) + (said["query"] or ""))


def _item_type(value: str) -> str:
    if value not in ITEM_TYPES:
        raise ValueError(f"must be one of {', '.join(ITEM_TYPES)}")
    return value


Text = Annotated[str, Field(min_length=1, max_length=64), AfterValidator(_without_controls)]
_IdText = Annotated[str, Field(min_length=1, max_length=MAX_ID_BYTES)]
_IdNumber = Annotated[int, Field(ge=-(2**63), lt=2**64)]
Name = Annotated[
    str, BeforeValidator(_id, json_schema_input_type=_IdText | _IdNumber)
]  # described as an Id; what it may be is told where it is taken in
Id = Annotated[Name, AfterValidator(_without_controls), AfterValidator(_short)]
Instant = Annotated[
    int, BeforeValidator(_in_milliseconds, json_schema_input_type=int | str), Field(ge=0, lt=END_INSTANT_MS)
]  # UTC ms
_OrNone = BeforeValidator(_said)  # of what may be left out: a word for nothing leaves it out
_WordOrNone = BeforeValidator(_said_of_people)


class _Request(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)
    most_marks: ClassVar[int] = (
        10_000  # of JSON's own characters (`,:[{`) in a body; the largest honest one has a third
    )

    def __deepcopy__(self, memo: Any = None) -> Self:
        """Itself, since nobody changes it: pydantic copies what a field is by default, which took half of a parse."""
        return self

    @model_validator(mode="before")
    @classmethod
    def _few_fields(cls, given: Any) -> Any:
        """More fields than there are: said once, and not of each one."""
        if isinstance(given, dict) and len(given) > len(cls.model_fields):
            raise ValueError(f"takes no more fields than {', '.join(cls.model_fields)}")
        return given


R = TypeVar("R", bound=_Request)


class Context(_Request):
    """Where and when; `at` answers as of that instant, with what was known then; now when absent."""

    device: Annotated[Text | None, _OrNone] = None
    at: Instant | None = None
    country: Annotated[Text | None, _WordOrNone] = Field(default=None, description="as the log's users have it")
    language: Annotated[Text | None, _WordOrNone] = Field(default=None, description="`de-CH` is read as `de`")
    app: Annotated[Text | None, _WordOrNone] = None
    utc_offset_minutes: int | None = Field(
        default=None, ge=OFFSETS[0], le=OFFSETS[-1], description="by which clock the person lives"
    )

    def words(self) -> list[str]:
        """What it says of the person, as attributes of users are written."""
        language = None if self.language is None else language_of(self.language)
        said = {"country": self.country, "language": language, "app": self.app, UTC_OFFSET: self.utc_offset_minutes}
        return [f"{name}={value}".lower() for name, value in said.items() if value not in (None, "")]


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


class BatchRequest(_Request):
    """Several slates at once: each has a time and a rung of its own."""

    most_marks: ClassVar[int] = 40_000
    requests: Annotated[list[RecommendRequest], Field(min_length=1, max_length=MAX_BATCH), FailFast()]


class FeaturesRequest(_Request):
    user_id: Id
    item_ids: list[Id] = Field(min_length=1, max_length=MAX_ITEMS)
    at: Instant | None = None


class EventsRequest(_Request):
    """Events are checked one by one: a bad one is rejected with its index and the others are kept."""

    most_marks: ClassVar[int] = 40_000
    events: list[Any] = Field(max_length=MAX_EVENTS)


class Event(_Request):
    """One thing that happened. Without an `event_id` its own words make one, as of a file's row: a retry is no second
    event. Of an event that says no instant either nothing is left to know a retry by: it counts twice.

    Types only: what an event may be is told where it is taken in, by recsys.vocabulary.
    """

    kind: str
    user_id: Name
    item_id: Annotated[Name | None, _OrNone] = None
    occurred_at: Annotated[int, BeforeValidator(_instant, json_schema_input_type=int | str)] | None = None  # else now
    request_id: Annotated[Name | None, _OrNone] = None
    impression_id: Annotated[Name | None, _OrNone] = None
    shelf: Annotated[str | None, _OrNone] = None
    device: Annotated[str | None, _OrNone] = None
    slot: Annotated[int | None, BeforeValidator(_whole)] = None
    watch_ms: Annotated[int | None, BeforeValidator(_rounded)] = None
    query: str | None = None
    consent: bool | None = None
    event_id: Name = Field(default_factory=_event_id)  # last: made of what is validated above it


def _or(nothing: Any, kind: Any) -> BeforeValidator:
    """A null in place of `kind` is read as `nothing`."""
    return BeforeValidator(lambda value: nothing if value is None else value, json_schema_input_type=kind | None)


def _described(value: str) -> str | None:
    if len(value.encode()) > MAX_DESCRIPTION_BYTES:
        raise ValueError(LONG_DESCRIPTION)
    return value.strip() or None


def _embedding(value: list[float]) -> list[float]:
    """What the catalogue's have is known where items are taken in."""
    if wrong := wrong_embedding(np.array(value), 0):
        raise ValueError(wrong)
    return value


_Tags = Annotated[list[Text], Field(max_length=32)]
_Duration = Annotated[int, Field(ge=0, le=10 * 365 * DAY_MS)]


class Item(_Request):
    """An item's metadata. Of an item that is known, what is not said stays as it is; null says that it is not known."""

    item_id: Id
    item_type: Annotated[str, AfterValidator(_item_type), Field(json_schema_extra={"enum": list(ITEM_TYPES)})] = "video"
    creator_id: Annotated[Id | None, _OrNone] = None
    category: Annotated[Text | None, _OrNone] = None
    tags: Annotated[_Tags, _or([], _Tags)] = []  # null is none of them
    title: Annotated[str, Field(max_length=512)] | None = None
    language: Annotated[Text | None, _OrNone] = None
    description: Annotated[str, AfterValidator(_described)] | None = None
    creator_name: Annotated[Id | None, _OrNone] = None
    embedding: Annotated[list[float], Field(max_length=MAX_EMBEDDING), AfterValidator(_embedding)] | None = Field(
        default=None, description="by your own model; as many numbers as the catalogue's have"
    )
    duration_ms: Annotated[_Duration, _or(0, _Duration)] = 0  # null, as 0, is not known
    published_at: Instant | None = None  # now when absent
    is_available: bool = True
    _id_is_integer: bool = PrivateAttr(default=False)

    @model_validator(mode="wrap")
    @classmethod
    def _with_type(cls, given: Any, handler: ModelWrapValidatorHandler[Item]) -> Item:
        item = handler(given)
        if isinstance(given, dict):
            item._id_is_integer = not isinstance(given.get("item_id"), str) and is_integer_id(item.item_id)
        return item

    @property
    def id_is_integer(self) -> bool:
        """Whether the id came as a JSON integer, of few enough digits to be answered as one."""
        return self._id_is_integer


class ItemsRequest(_Request):
    """All of them are taken, or none."""

    most_marks: ClassVar[int] = 250_000  # a body of 2 MiB holds 200,000 numbers of embeddings
    items: Annotated[list[Item], Field(min_length=1, max_length=MAX_ITEMS), FailFast()]


class BlockRequest(_Request):
    """What this person never wants to see from now on, and what they may see again."""

    user_id: Id
    block: Blocked = Blocked()
    unblock: Blocked = Blocked()


class BlockResponse(BaseModel):
    """How much is blocked for this person now."""

    items: int
    creators: int


class BlocksRequest(_Request):
    """Whose blocks to read back."""

    user_id: Id


class BlocksResponse(BaseModel):
    """What is blocked for this person now. A catalogue that no longer has an item or creator cannot name it."""

    item_ids: list[str | int]
    creator_ids: list[str]
    unnamed: int  # more that are blocked, and that the catalogue in service does not hold


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
    missing: list[str] = []  # candidate sources that did not answer; none on rung "full"
    items: list[RecommendedItem]


class BatchResponse(BaseModel):
    responses: list[RecommendResponse]  # in the order of the requests


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
    if len(body) > model.most_marks < sum(map(body.count, MARKS)) and _marks(body, model.most_marks) > model.most_marks:
        raise BadRequest(f"more than {model.most_marks:,} names and values: send less at once")
    try:
        return model.model_validate_json(body.removeprefix(BOM_UTF8))
    except ValidationError as error:
        malformed = error.errors(include_url=False, include_input=False)[0]["type"] == "json_invalid"
        if malformed and model is EventsRequest and _HALF.search(body):
            with suppress(ValueError, RecursionError):  # json keeps such halves: what has one is refused alone
                raws = EventsRequest.model_validate(json.loads(body)).events
                return model.model_validate({"events": [HALF if _is_half(raw) else raw for raw in raws]})
        raise BadRequest(one_line(error), "invalid_json" if malformed else "invalid_request") from None


HALF: Final = object()  # an event with half a surrogate pair in it, which is no text
_HALF: Final = re.compile(rb"\\u[dD][89a-fA-F]")


def _is_half(raw: Any) -> bool:
    try:
        json.dumps(raw, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return True
    return False


def _marks(body: bytes, most: int) -> int:
    """Commas, colons and opening brackets outside of strings: they bound what the objects cost to make. Counting
    ends beyond `most`.

    1.8 MB of unknown fields took 0.75 s of every other caller's time to read and explain, and takes 3 ms to refuse.
    """
    if b"\\" in body:
        body = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    text, count, inside = np.frombuffer(body, np.uint8), 0, False
    for start in range(0, len(text), CHUNK):
        part = text[start : start + CHUNK]
        within = np.logical_xor.accumulate(part == ord('"')) ^ inside
        inside = bool(within[-1])
        count += sum(int(np.count_nonzero((part == ord(mark)) & ~within)) for mark in MARKS)
        if count > most:
            break
    return count


def one_line(error: ValidationError) -> str:
    """The first thing wrong, as `field: what it takes`; never the value that was sent."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    field = ".".join(str(part) for part in first["loc"])
    message = first["msg"].removeprefix("Value error, ")
    return f"{field}: {message}" if field else message


def events_of(raws: Sequence[Any]) -> tuple[list[tuple[int, Event]], list[Rejected]]:
    """The well-formed events with their places, and the others with what is wrong."""
    good: list[tuple[int, Event]] = []
    bad: list[Rejected] = []
    for index, raw in enumerate(raws):
        try:
            good.append((index, Event.model_validate(raw)))
        except ValidationError as error:
            reason = "holds half a surrogate pair, which is no text" if raw is HALF else one_line(error)
            bad.append(Rejected(index=index, reason=reason))
    return good, bad
