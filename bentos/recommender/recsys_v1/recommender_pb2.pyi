from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Context(_message.Message):
    __slots__ = ("device", "at", "country", "language", "app", "utc_offset_minutes")
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    AT_FIELD_NUMBER: _ClassVar[int]
    COUNTRY_FIELD_NUMBER: _ClassVar[int]
    LANGUAGE_FIELD_NUMBER: _ClassVar[int]
    APP_FIELD_NUMBER: _ClassVar[int]
    UTC_OFFSET_MINUTES_FIELD_NUMBER: _ClassVar[int]
    device: str
    at: int
    country: str
    language: str
    app: str
    utc_offset_minutes: int
    def __init__(self, device: _Optional[str] = ..., at: _Optional[int] = ..., country: _Optional[str] = ..., language: _Optional[str] = ..., app: _Optional[str] = ..., utc_offset_minutes: _Optional[int] = ...) -> None: ...

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

class RecommendBatchRequest(_message.Message):
    __slots__ = ("requests",)
    REQUESTS_FIELD_NUMBER: _ClassVar[int]
    requests: _containers.RepeatedCompositeFieldContainer[RecommendRequest]
    def __init__(self, requests: _Optional[_Iterable[_Union[RecommendRequest, _Mapping]]] = ...) -> None: ...

class RecommendBatchResponse(_message.Message):
    __slots__ = ("responses",)
    RESPONSES_FIELD_NUMBER: _ClassVar[int]
    responses: _containers.RepeatedCompositeFieldContainer[RecommendResponse]
    def __init__(self, responses: _Optional[_Iterable[_Union[RecommendResponse, _Mapping]]] = ...) -> None: ...

class BlocksRequest(_message.Message):
    __slots__ = ("user_id",)
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    def __init__(self, user_id: _Optional[str] = ...) -> None: ...

class BlocksResponse(_message.Message):
    __slots__ = ("item_ids", "creator_ids", "unnamed")
    ITEM_IDS_FIELD_NUMBER: _ClassVar[int]
    CREATOR_IDS_FIELD_NUMBER: _ClassVar[int]
    UNNAMED_FIELD_NUMBER: _ClassVar[int]
    item_ids: _containers.RepeatedScalarFieldContainer[str]
    creator_ids: _containers.RepeatedScalarFieldContainer[str]
    unnamed: int
    def __init__(self, item_ids: _Optional[_Iterable[str]] = ..., creator_ids: _Optional[_Iterable[str]] = ..., unnamed: _Optional[int] = ...) -> None: ...

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
    __slots__ = ("request_id", "bundle", "position", "rung", "items", "missing")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    BUNDLE_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    RUNG_FIELD_NUMBER: _ClassVar[int]
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    MISSING_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    bundle: str
    position: int
    rung: str
    items: _containers.RepeatedCompositeFieldContainer[RecommendedItem]
    missing: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, request_id: _Optional[str] = ..., bundle: _Optional[str] = ..., position: _Optional[int] = ..., rung: _Optional[str] = ..., items: _Optional[_Iterable[_Union[RecommendedItem, _Mapping]]] = ..., missing: _Optional[_Iterable[str]] = ...) -> None: ...

class Event(_message.Message):
    __slots__ = ("event_id", "kind", "user_id", "item_id", "occurred_at", "request_id", "impression_id", "shelf", "device", "slot", "watch_ms", "consent", "query")
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
    QUERY_FIELD_NUMBER: _ClassVar[int]
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
    query: str
    def __init__(self, event_id: _Optional[str] = ..., kind: _Optional[str] = ..., user_id: _Optional[str] = ..., item_id: _Optional[str] = ..., occurred_at: _Optional[int] = ..., request_id: _Optional[str] = ..., impression_id: _Optional[str] = ..., shelf: _Optional[str] = ..., device: _Optional[str] = ..., slot: _Optional[int] = ..., watch_ms: _Optional[int] = ..., consent: _Optional[bool] = ..., query: _Optional[str] = ...) -> None: ...

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
    __slots__ = ("item_id", "item_type", "creator_id", "category", "tags", "title", "duration_ms", "published_at", "is_available", "language", "description", "creator_name", "embedding")
    ITEM_ID_FIELD_NUMBER: _ClassVar[int]
    ITEM_TYPE_FIELD_NUMBER: _ClassVar[int]
    CREATOR_ID_FIELD_NUMBER: _ClassVar[int]
    CATEGORY_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    TITLE_FIELD_NUMBER: _ClassVar[int]
    DURATION_MS_FIELD_NUMBER: _ClassVar[int]
    PUBLISHED_AT_FIELD_NUMBER: _ClassVar[int]
    IS_AVAILABLE_FIELD_NUMBER: _ClassVar[int]
    LANGUAGE_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    CREATOR_NAME_FIELD_NUMBER: _ClassVar[int]
    EMBEDDING_FIELD_NUMBER: _ClassVar[int]
    item_id: str
    item_type: str
    creator_id: str
    category: str
    tags: _containers.RepeatedScalarFieldContainer[str]
    title: str
    duration_ms: int
    published_at: int
    is_available: bool
    language: str
    description: str
    creator_name: str
    embedding: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, item_id: _Optional[str] = ..., item_type: _Optional[str] = ..., creator_id: _Optional[str] = ..., category: _Optional[str] = ..., tags: _Optional[_Iterable[str]] = ..., title: _Optional[str] = ..., duration_ms: _Optional[int] = ..., published_at: _Optional[int] = ..., is_available: _Optional[bool] = ..., language: _Optional[str] = ..., description: _Optional[str] = ..., creator_name: _Optional[str] = ..., embedding: _Optional[_Iterable[float]] = ...) -> None: ...

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

class Imagined(_message.Message):
    __slots__ = ("kind", "item_id", "watch_ms")
    KIND_FIELD_NUMBER: _ClassVar[int]
    ITEM_ID_FIELD_NUMBER: _ClassVar[int]
    WATCH_MS_FIELD_NUMBER: _ClassVar[int]
    kind: str
    item_id: str
    watch_ms: int
    def __init__(self, kind: _Optional[str] = ..., item_id: _Optional[str] = ..., watch_ms: _Optional[int] = ...) -> None: ...

class Behind(_message.Message):
    __slots__ = ("item_id", "feature")
    ITEM_ID_FIELD_NUMBER: _ClassVar[int]
    FEATURE_FIELD_NUMBER: _ClassVar[int]
    item_id: str
    feature: str
    def __init__(self, item_id: _Optional[str] = ..., feature: _Optional[str] = ...) -> None: ...

class InspectRequest(_message.Message):
    __slots__ = ("user_id", "shelf", "k", "context", "consent", "blocked", "request_id", "bundle", "position", "item_ids", "events", "evidence", "network")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    SHELF_FIELD_NUMBER: _ClassVar[int]
    K_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_FIELD_NUMBER: _ClassVar[int]
    CONSENT_FIELD_NUMBER: _ClassVar[int]
    BLOCKED_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    BUNDLE_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    ITEM_IDS_FIELD_NUMBER: _ClassVar[int]
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    EVIDENCE_FIELD_NUMBER: _ClassVar[int]
    NETWORK_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    shelf: str
    k: int
    context: Context
    consent: bool
    blocked: Blocked
    request_id: str
    bundle: str
    position: int
    item_ids: _containers.RepeatedScalarFieldContainer[str]
    events: _containers.RepeatedCompositeFieldContainer[Imagined]
    evidence: _containers.RepeatedCompositeFieldContainer[Behind]
    network: bool
    def __init__(self, user_id: _Optional[str] = ..., shelf: _Optional[str] = ..., k: _Optional[int] = ..., context: _Optional[_Union[Context, _Mapping]] = ..., consent: _Optional[bool] = ..., blocked: _Optional[_Union[Blocked, _Mapping]] = ..., request_id: _Optional[str] = ..., bundle: _Optional[str] = ..., position: _Optional[int] = ..., item_ids: _Optional[_Iterable[str]] = ..., events: _Optional[_Iterable[_Union[Imagined, _Mapping]]] = ..., evidence: _Optional[_Iterable[_Union[Behind, _Mapping]]] = ..., network: _Optional[bool] = ...) -> None: ...

class Proposal(_message.Message):
    __slots__ = ("source", "rank")
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    RANK_FIELD_NUMBER: _ClassVar[int]
    source: str
    rank: int
    def __init__(self, source: _Optional[str] = ..., rank: _Optional[int] = ...) -> None: ...

class Candidate(_message.Message):
    __slots__ = ("item_id", "title", "sources", "score", "p_click", "p_long_view", "expected_watch_seconds", "rank", "place", "displacement", "cause")
    ITEM_ID_FIELD_NUMBER: _ClassVar[int]
    TITLE_FIELD_NUMBER: _ClassVar[int]
    SOURCES_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    P_CLICK_FIELD_NUMBER: _ClassVar[int]
    P_LONG_VIEW_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_WATCH_SECONDS_FIELD_NUMBER: _ClassVar[int]
    RANK_FIELD_NUMBER: _ClassVar[int]
    PLACE_FIELD_NUMBER: _ClassVar[int]
    DISPLACEMENT_FIELD_NUMBER: _ClassVar[int]
    CAUSE_FIELD_NUMBER: _ClassVar[int]
    item_id: str
    title: str
    sources: _containers.RepeatedCompositeFieldContainer[Proposal]
    score: float
    p_click: float
    p_long_view: float
    expected_watch_seconds: float
    rank: int
    place: int
    displacement: int
    cause: str
    def __init__(self, item_id: _Optional[str] = ..., title: _Optional[str] = ..., sources: _Optional[_Iterable[_Union[Proposal, _Mapping]]] = ..., score: _Optional[float] = ..., p_click: _Optional[float] = ..., p_long_view: _Optional[float] = ..., expected_watch_seconds: _Optional[float] = ..., rank: _Optional[int] = ..., place: _Optional[int] = ..., displacement: _Optional[int] = ..., cause: _Optional[str] = ...) -> None: ...

class Part(_message.Message):
    __slots__ = ("group", "trees", "network")
    GROUP_FIELD_NUMBER: _ClassVar[int]
    TREES_FIELD_NUMBER: _ClassVar[int]
    NETWORK_FIELD_NUMBER: _ClassVar[int]
    group: str
    trees: float
    network: float
    def __init__(self, group: _Optional[str] = ..., trees: _Optional[float] = ..., network: _Optional[float] = ...) -> None: ...

class Tasted(_message.Message):
    __slots__ = ("item_id", "title", "told", "part")
    ITEM_ID_FIELD_NUMBER: _ClassVar[int]
    TITLE_FIELD_NUMBER: _ClassVar[int]
    TOLD_FIELD_NUMBER: _ClassVar[int]
    PART_FIELD_NUMBER: _ClassVar[int]
    item_id: str
    title: str
    told: str
    part: float
    def __init__(self, item_id: _Optional[str] = ..., title: _Optional[str] = ..., told: _Optional[str] = ..., part: _Optional[float] = ...) -> None: ...

class Explained(_message.Message):
    __slots__ = ("item_id", "title", "sources", "score", "p_click", "p_long_view", "expected_watch_seconds", "rank", "place", "displacement", "cause", "category", "item_type", "source", "reason", "propensity", "out", "base", "parts", "contributions", "values", "taste", "match")
    ITEM_ID_FIELD_NUMBER: _ClassVar[int]
    TITLE_FIELD_NUMBER: _ClassVar[int]
    SOURCES_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    P_CLICK_FIELD_NUMBER: _ClassVar[int]
    P_LONG_VIEW_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_WATCH_SECONDS_FIELD_NUMBER: _ClassVar[int]
    RANK_FIELD_NUMBER: _ClassVar[int]
    PLACE_FIELD_NUMBER: _ClassVar[int]
    DISPLACEMENT_FIELD_NUMBER: _ClassVar[int]
    CAUSE_FIELD_NUMBER: _ClassVar[int]
    CATEGORY_FIELD_NUMBER: _ClassVar[int]
    ITEM_TYPE_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    PROPENSITY_FIELD_NUMBER: _ClassVar[int]
    OUT_FIELD_NUMBER: _ClassVar[int]
    BASE_FIELD_NUMBER: _ClassVar[int]
    PARTS_FIELD_NUMBER: _ClassVar[int]
    CONTRIBUTIONS_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    TASTE_FIELD_NUMBER: _ClassVar[int]
    MATCH_FIELD_NUMBER: _ClassVar[int]
    item_id: str
    title: str
    sources: _containers.RepeatedCompositeFieldContainer[Proposal]
    score: float
    p_click: float
    p_long_view: float
    expected_watch_seconds: float
    rank: int
    place: int
    displacement: int
    cause: str
    category: str
    item_type: str
    source: str
    reason: str
    propensity: float
    out: str
    base: float
    parts: _containers.RepeatedCompositeFieldContainer[Part]
    contributions: _containers.RepeatedScalarFieldContainer[float]
    values: _containers.RepeatedScalarFieldContainer[float]
    taste: _containers.RepeatedCompositeFieldContainer[Tasted]
    match: float
    def __init__(self, item_id: _Optional[str] = ..., title: _Optional[str] = ..., sources: _Optional[_Iterable[_Union[Proposal, _Mapping]]] = ..., score: _Optional[float] = ..., p_click: _Optional[float] = ..., p_long_view: _Optional[float] = ..., expected_watch_seconds: _Optional[float] = ..., rank: _Optional[int] = ..., place: _Optional[int] = ..., displacement: _Optional[int] = ..., cause: _Optional[str] = ..., category: _Optional[str] = ..., item_type: _Optional[str] = ..., source: _Optional[str] = ..., reason: _Optional[str] = ..., propensity: _Optional[float] = ..., out: _Optional[str] = ..., base: _Optional[float] = ..., parts: _Optional[_Iterable[_Union[Part, _Mapping]]] = ..., contributions: _Optional[_Iterable[float]] = ..., values: _Optional[_Iterable[float]] = ..., taste: _Optional[_Iterable[_Union[Tasted, _Mapping]]] = ..., match: _Optional[float] = ...) -> None: ...

class Dropped(_message.Message):
    __slots__ = ("item_id", "title", "filter", "sources")
    ITEM_ID_FIELD_NUMBER: _ClassVar[int]
    TITLE_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    SOURCES_FIELD_NUMBER: _ClassVar[int]
    item_id: str
    title: str
    filter: str
    sources: _containers.RepeatedCompositeFieldContainer[Proposal]
    def __init__(self, item_id: _Optional[str] = ..., title: _Optional[str] = ..., filter: _Optional[str] = ..., sources: _Optional[_Iterable[_Union[Proposal, _Mapping]]] = ...) -> None: ...

class Feature(_message.Message):
    __slots__ = ("name", "group", "doc", "default")
    NAME_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    DOC_FIELD_NUMBER: _ClassVar[int]
    DEFAULT_FIELD_NUMBER: _ClassVar[int]
    name: str
    group: str
    doc: str
    default: float
    def __init__(self, name: _Optional[str] = ..., group: _Optional[str] = ..., doc: _Optional[str] = ..., default: _Optional[float] = ...) -> None: ...

class UserEvent(_message.Message):
    __slots__ = ("position", "kind", "item_id", "title", "occurred_at", "imagined")
    POSITION_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    ITEM_ID_FIELD_NUMBER: _ClassVar[int]
    TITLE_FIELD_NUMBER: _ClassVar[int]
    OCCURRED_AT_FIELD_NUMBER: _ClassVar[int]
    IMAGINED_FIELD_NUMBER: _ClassVar[int]
    position: int
    kind: str
    item_id: str
    title: str
    occurred_at: int
    imagined: bool
    def __init__(self, position: _Optional[int] = ..., kind: _Optional[str] = ..., item_id: _Optional[str] = ..., title: _Optional[str] = ..., occurred_at: _Optional[int] = ..., imagined: _Optional[bool] = ...) -> None: ...

class Counted(_message.Message):
    __slots__ = ("name", "value", "events", "last")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    name: str
    value: int
    events: int
    last: _containers.RepeatedCompositeFieldContainer[UserEvent]
    def __init__(self, name: _Optional[str] = ..., value: _Optional[int] = ..., events: _Optional[int] = ..., last: _Optional[_Iterable[_Union[UserEvent, _Mapping]]] = ...) -> None: ...

class Evidence(_message.Message):
    __slots__ = ("item_id", "feature", "value", "definition", "inputs")
    ITEM_ID_FIELD_NUMBER: _ClassVar[int]
    FEATURE_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    DEFINITION_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    item_id: str
    feature: str
    value: float
    definition: str
    inputs: _containers.RepeatedCompositeFieldContainer[Counted]
    def __init__(self, item_id: _Optional[str] = ..., feature: _Optional[str] = ..., value: _Optional[float] = ..., definition: _Optional[str] = ..., inputs: _Optional[_Iterable[_Union[Counted, _Mapping]]] = ...) -> None: ...

class Stage(_message.Message):
    __slots__ = ("name", "ms")
    NAME_FIELD_NUMBER: _ClassVar[int]
    MS_FIELD_NUMBER: _ClassVar[int]
    name: str
    ms: float
    def __init__(self, name: _Optional[str] = ..., ms: _Optional[float] = ...) -> None: ...

class Logged(_message.Message):
    __slots__ = ("item_id", "title", "score", "p_click", "expected_watch_seconds", "source")
    ITEM_ID_FIELD_NUMBER: _ClassVar[int]
    TITLE_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    P_CLICK_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_WATCH_SECONDS_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    item_id: str
    title: str
    score: float
    p_click: float
    expected_watch_seconds: float
    source: str
    def __init__(self, item_id: _Optional[str] = ..., title: _Optional[str] = ..., score: _Optional[float] = ..., p_click: _Optional[float] = ..., expected_watch_seconds: _Optional[float] = ..., source: _Optional[str] = ...) -> None: ...

class PastRequest(_message.Message):
    __slots__ = ("request_id", "served_at", "bundle", "rung", "same", "words", "logged")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    SERVED_AT_FIELD_NUMBER: _ClassVar[int]
    BUNDLE_FIELD_NUMBER: _ClassVar[int]
    RUNG_FIELD_NUMBER: _ClassVar[int]
    SAME_FIELD_NUMBER: _ClassVar[int]
    WORDS_FIELD_NUMBER: _ClassVar[int]
    LOGGED_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    served_at: int
    bundle: str
    rung: str
    same: bool
    words: str
    logged: _containers.RepeatedCompositeFieldContainer[Logged]
    def __init__(self, request_id: _Optional[str] = ..., served_at: _Optional[int] = ..., bundle: _Optional[str] = ..., rung: _Optional[str] = ..., same: _Optional[bool] = ..., words: _Optional[str] = ..., logged: _Optional[_Iterable[_Union[Logged, _Mapping]]] = ...) -> None: ...

class InspectResponse(_message.Message):
    __slots__ = ("request_id", "bundle", "role", "ranker", "rung", "words", "user_id", "shelf", "log_shelf", "device", "as_of", "position", "history_position", "fingerprint", "done_without", "weights", "items", "asked", "unknown", "candidates", "dropped", "features", "history", "judged", "evidence", "past", "stages")
    class WeightsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    class JudgedEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    BUNDLE_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    RANKER_FIELD_NUMBER: _ClassVar[int]
    RUNG_FIELD_NUMBER: _ClassVar[int]
    WORDS_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    SHELF_FIELD_NUMBER: _ClassVar[int]
    LOG_SHELF_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    AS_OF_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    HISTORY_POSITION_FIELD_NUMBER: _ClassVar[int]
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    DONE_WITHOUT_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    ASKED_FIELD_NUMBER: _ClassVar[int]
    UNKNOWN_FIELD_NUMBER: _ClassVar[int]
    CANDIDATES_FIELD_NUMBER: _ClassVar[int]
    DROPPED_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    HISTORY_FIELD_NUMBER: _ClassVar[int]
    JUDGED_FIELD_NUMBER: _ClassVar[int]
    EVIDENCE_FIELD_NUMBER: _ClassVar[int]
    PAST_FIELD_NUMBER: _ClassVar[int]
    STAGES_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    bundle: str
    role: str
    ranker: str
    rung: str
    words: str
    user_id: str
    shelf: str
    log_shelf: str
    device: str
    as_of: int
    position: int
    history_position: int
    fingerprint: str
    done_without: _containers.RepeatedScalarFieldContainer[str]
    weights: _containers.ScalarMap[str, float]
    items: _containers.RepeatedCompositeFieldContainer[Explained]
    asked: _containers.RepeatedCompositeFieldContainer[Explained]
    unknown: _containers.RepeatedScalarFieldContainer[str]
    candidates: _containers.RepeatedCompositeFieldContainer[Candidate]
    dropped: _containers.RepeatedCompositeFieldContainer[Dropped]
    features: _containers.RepeatedCompositeFieldContainer[Feature]
    history: _containers.RepeatedCompositeFieldContainer[UserEvent]
    judged: _containers.ScalarMap[str, int]
    evidence: _containers.RepeatedCompositeFieldContainer[Evidence]
    past: PastRequest
    stages: _containers.RepeatedCompositeFieldContainer[Stage]
    def __init__(self, request_id: _Optional[str] = ..., bundle: _Optional[str] = ..., role: _Optional[str] = ..., ranker: _Optional[str] = ..., rung: _Optional[str] = ..., words: _Optional[str] = ..., user_id: _Optional[str] = ..., shelf: _Optional[str] = ..., log_shelf: _Optional[str] = ..., device: _Optional[str] = ..., as_of: _Optional[int] = ..., position: _Optional[int] = ..., history_position: _Optional[int] = ..., fingerprint: _Optional[str] = ..., done_without: _Optional[_Iterable[str]] = ..., weights: _Optional[_Mapping[str, float]] = ..., items: _Optional[_Iterable[_Union[Explained, _Mapping]]] = ..., asked: _Optional[_Iterable[_Union[Explained, _Mapping]]] = ..., unknown: _Optional[_Iterable[str]] = ..., candidates: _Optional[_Iterable[_Union[Candidate, _Mapping]]] = ..., dropped: _Optional[_Iterable[_Union[Dropped, _Mapping]]] = ..., features: _Optional[_Iterable[_Union[Feature, _Mapping]]] = ..., history: _Optional[_Iterable[_Union[UserEvent, _Mapping]]] = ..., judged: _Optional[_Mapping[str, int]] = ..., evidence: _Optional[_Iterable[_Union[Evidence, _Mapping]]] = ..., past: _Optional[_Union[PastRequest, _Mapping]] = ..., stages: _Optional[_Iterable[_Union[Stage, _Mapping]]] = ...) -> None: ...
