from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Context(_message.Message):
    __slots__ = ("device", "at")
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    AT_FIELD_NUMBER: _ClassVar[int]
    device: str
    at: int
    def __init__(self, device: _Optional[str] = ..., at: _Optional[int] = ...) -> None: ...

class Blocked(_message.Message):
    __slots__ = ("item_ids", "creator_ids")
    ITEM_IDS_FIELD_NUMBER: _ClassVar[int]
    CREATOR_IDS_FIELD_NUMBER: _ClassVar[int]
    item_ids: _containers.RepeatedScalarFieldContainer[str]
    creator_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, item_ids: _Optional[_Iterable[str]] = ..., creator_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class RecommendRequest(_message.Message):
    __slots__ = ("user_id", "shelf", "k", "context", "consent", "blocked")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    SHELF_FIELD_NUMBER: _ClassVar[int]
    K_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_FIELD_NUMBER: _ClassVar[int]
    CONSENT_FIELD_NUMBER: _ClassVar[int]
    BLOCKED_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    shelf: str
    k: int
    context: Context
    consent: bool
    blocked: Blocked
    def __init__(self, user_id: _Optional[str] = ..., shelf: _Optional[str] = ..., k: _Optional[int] = ..., context: _Optional[_Union[Context, _Mapping]] = ..., consent: _Optional[bool] = ..., blocked: _Optional[_Union[Blocked, _Mapping]] = ...) -> None: ...

class BlockRequest(_message.Message):
    __slots__ = ("user_id", "block", "unblock")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    BLOCK_FIELD_NUMBER: _ClassVar[int]
    UNBLOCK_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    block: Blocked
    unblock: Blocked
    def __init__(self, user_id: _Optional[str] = ..., block: _Optional[_Union[Blocked, _Mapping]] = ..., unblock: _Optional[_Union[Blocked, _Mapping]] = ...) -> None: ...

class BlockResponse(_message.Message):
    __slots__ = ("items", "creators")
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    CREATORS_FIELD_NUMBER: _ClassVar[int]
    items: int
    creators: int
    def __init__(self, items: _Optional[int] = ..., creators: _Optional[int] = ...) -> None: ...

class RecommendedItem(_message.Message):
    __slots__ = ("item_id", "score", "p_click", "expected_watch_seconds", "source", "reason")
    ITEM_ID_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    P_CLICK_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_WATCH_SECONDS_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    item_id: str
    score: float
    p_click: float
    expected_watch_seconds: float
    source: str
    reason: str
    def __init__(self, item_id: _Optional[str] = ..., score: _Optional[float] = ..., p_click: _Optional[float] = ..., expected_watch_seconds: _Optional[float] = ..., source: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class RecommendResponse(_message.Message):
    __slots__ = ("request_id", "bundle", "position", "rung", "items")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    BUNDLE_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    RUNG_FIELD_NUMBER: _ClassVar[int]
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    bundle: str
    position: int
    rung: str
    items: _containers.RepeatedCompositeFieldContainer[RecommendedItem]
    def __init__(self, request_id: _Optional[str] = ..., bundle: _Optional[str] = ..., position: _Optional[int] = ..., rung: _Optional[str] = ..., items: _Optional[_Iterable[_Union[RecommendedItem, _Mapping]]] = ...) -> None: ...

class Event(_message.Message):
    __slots__ = ("event_id", "kind", "user_id", "item_id", "occurred_at", "request_id", "impression_id", "shelf", "device", "slot", "watch_ms", "consent")
    EVENT_ID_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    ITEM_ID_FIELD_NUMBER: _ClassVar[int]
    OCCURRED_AT_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    IMPRESSION_ID_FIELD_NUMBER: _ClassVar[int]
    SHELF_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    SLOT_FIELD_NUMBER: _ClassVar[int]
    WATCH_MS_FIELD_NUMBER: _ClassVar[int]
    CONSENT_FIELD_NUMBER: _ClassVar[int]
    event_id: str
    kind: str
    user_id: str
    item_id: str
    occurred_at: int
    request_id: str
    impression_id: str
    shelf: str
    device: str
    slot: int
    watch_ms: int
    consent: bool
    def __init__(self, event_id: _Optional[str] = ..., kind: _Optional[str] = ..., user_id: _Optional[str] = ..., item_id: _Optional[str] = ..., occurred_at: _Optional[int] = ..., request_id: _Optional[str] = ..., impression_id: _Optional[str] = ..., shelf: _Optional[str] = ..., device: _Optional[str] = ..., slot: _Optional[int] = ..., watch_ms: _Optional[int] = ..., consent: _Optional[bool] = ...) -> None: ...

class RecordEventsRequest(_message.Message):
    __slots__ = ("events",)
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    events: _containers.RepeatedCompositeFieldContainer[Event]
    def __init__(self, events: _Optional[_Iterable[_Union[Event, _Mapping]]] = ...) -> None: ...

class Rejected(_message.Message):
    __slots__ = ("index", "reason")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    index: int
    reason: str
    def __init__(self, index: _Optional[int] = ..., reason: _Optional[str] = ...) -> None: ...

class RecordEventsResponse(_message.Message):
    __slots__ = ("accepted", "duplicates", "rejected", "position")
    ACCEPTED_FIELD_NUMBER: _ClassVar[int]
    DUPLICATES_FIELD_NUMBER: _ClassVar[int]
    REJECTED_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    accepted: int
    duplicates: int
    rejected: _containers.RepeatedCompositeFieldContainer[Rejected]
    position: int
    def __init__(self, accepted: _Optional[int] = ..., duplicates: _Optional[int] = ..., rejected: _Optional[_Iterable[_Union[Rejected, _Mapping]]] = ..., position: _Optional[int] = ...) -> None: ...

class FeaturesRequest(_message.Message):
    __slots__ = ("user_id", "item_ids", "at")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    ITEM_IDS_FIELD_NUMBER: _ClassVar[int]
    AT_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    item_ids: _containers.RepeatedScalarFieldContainer[str]
    at: int
    def __init__(self, user_id: _Optional[str] = ..., item_ids: _Optional[_Iterable[str]] = ..., at: _Optional[int] = ...) -> None: ...

class FeatureRow(_message.Message):
    __slots__ = ("values",)
    VALUES_FIELD_NUMBER: _ClassVar[int]
    values: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, values: _Optional[_Iterable[float]] = ...) -> None: ...

class FeaturesResponse(_message.Message):
    __slots__ = ("position", "at", "fingerprint", "names", "rows")
    POSITION_FIELD_NUMBER: _ClassVar[int]
    AT_FIELD_NUMBER: _ClassVar[int]
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    NAMES_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    position: int
    at: int
    fingerprint: str
    names: _containers.RepeatedScalarFieldContainer[str]
    rows: _containers.RepeatedCompositeFieldContainer[FeatureRow]
    def __init__(self, position: _Optional[int] = ..., at: _Optional[int] = ..., fingerprint: _Optional[str] = ..., names: _Optional[_Iterable[str]] = ..., rows: _Optional[_Iterable[_Union[FeatureRow, _Mapping]]] = ...) -> None: ...

class Item(_message.Message):
    __slots__ = ("item_id", "item_type", "creator_id", "category", "tags", "title", "duration_ms", "published_at", "is_available")
    ITEM_ID_FIELD_NUMBER: _ClassVar[int]
    ITEM_TYPE_FIELD_NUMBER: _ClassVar[int]
    CREATOR_ID_FIELD_NUMBER: _ClassVar[int]
    CATEGORY_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    TITLE_FIELD_NUMBER: _ClassVar[int]
    DURATION_MS_FIELD_NUMBER: _ClassVar[int]
    PUBLISHED_AT_FIELD_NUMBER: _ClassVar[int]
    IS_AVAILABLE_FIELD_NUMBER: _ClassVar[int]
    item_id: str
    item_type: str
    creator_id: str
    category: str
    tags: _containers.RepeatedScalarFieldContainer[str]
    title: str
    duration_ms: int
    published_at: int
    is_available: bool
    def __init__(self, item_id: _Optional[str] = ..., item_type: _Optional[str] = ..., creator_id: _Optional[str] = ..., category: _Optional[str] = ..., tags: _Optional[_Iterable[str]] = ..., title: _Optional[str] = ..., duration_ms: _Optional[int] = ..., published_at: _Optional[int] = ..., is_available: _Optional[bool] = ...) -> None: ...

class PutItemsRequest(_message.Message):
    __slots__ = ("items",)
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    items: _containers.RepeatedCompositeFieldContainer[Item]
    def __init__(self, items: _Optional[_Iterable[_Union[Item, _Mapping]]] = ...) -> None: ...

class PutItemsResponse(_message.Message):
    __slots__ = ("recorded", "position")
    RECORDED_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    recorded: int
    position: int
    def __init__(self, recorded: _Optional[int] = ..., position: _Optional[int] = ...) -> None: ...
