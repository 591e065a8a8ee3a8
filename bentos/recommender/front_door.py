"""The outermost ASGI application: every HTTP request ends here, in an answer or in one shape of error.

It stands before BentoML's own application (which keeps the worker's life cycle), because that one has no limits on
bodies, answers errors in several shapes, and costs several times the request itself (docs/operations.md).
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import traceback
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any, Final

from bentos.recommender.calls import Calls, Overloaded, Starting, TooSlow
from bentos.recommender.gate import Gate, TooOften, Unauthorized
from bentos.recommender.observer import Observer
from bentos.recommender.openapi import document
from bentos.recommender.page import PAGE
from recsys.serving.course import Course
from recsys.serving.pipeline import Unavailable
from recsys.serving.schema import (
    BadRequest,
    BlockRequest,
    EventsRequest,
    FeaturesRequest,
    FeaturesResponse,
    ItemsRequest,
    RecommendRequest,
    parse,
)

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
ASGI = Callable[[Scope, Receive, Send], Awaitable[None]]

BODY_BYTES: Final = 2 << 20  # 1,000 events of 2 kB
BODY_SECONDS: Final = 10.0
JSON: Final = "application/json"
log = logging.getLogger("recsys.http")


@dataclass(frozen=True)
class Answer:
    status: int
    body: bytes
    content_type: str = JSON
    headers: Mapping[str, str] = field(default_factory=dict)


class Refused(Exception):
    """A request that gets an error: status, code and a message for its sender."""

    def __init__(self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.headers = status, code, message, dict(headers or {})


class _Gone(Exception):
    """The client hung up while sending."""


class FrontDoor:
    """Routes, limits and errors of the HTTP front; BentoML's application behind it gets the life cycle only."""

    def __init__(self, inner: ASGI, calls: Calls, observer: Observer, gate: Gate) -> None:
        self._inner = inner
        self._gate = gate
        self._calls = calls
        self._observer = observer
        self._posts: dict[str, Callable[[bytes, Course], Awaitable[bytes]]] = {
            "/recommend": self._recommend,
            "/events": self._events,
            "/features": self._features,
            "/items": self._items,
            "/block": self._block,
        }
        self._gets: dict[str, Callable[[], Answer]] = {
            "/": lambda: Answer(200, PAGE, "text/html; charset=utf-8"),
            "/livez": lambda: Answer(200, b'{"status":"alive"}'),
            "/healthz": self._ready,
            "/readyz": self._ready,
            "/metrics": lambda: Answer(200, *self._observer.exposition()),
            "/openapi.json": lambda: Answer(200, document()),
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            await self._inner(scope, receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        course = Course()
        path = scope["path"]
        route = path[1:] if path in self._posts else "other"
        try:
            answer = await self._answer(scope, receive, course)
        except _Gone:
            return
        except Refused as refused:
            answer = _error(refused, course.request_id)
        self._observer.answered("http", route, str(answer.status), course)
        headers = {
            "content-type": answer.content_type,
            "content-length": str(len(answer.body)),
            "x-request-id": course.request_id,
            "x-content-type-options": "nosniff",
            **answer.headers,
        }
        raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": answer.status, "headers": raw})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else answer.body})

    async def _answer(self, scope: Scope, receive: Receive, course: Course) -> Answer:
        path, method = scope["path"], scope["method"]
        headers = {name.lower(): value for name, value in scope["headers"]}
        course.traceparent = headers.get(b"traceparent", b"").decode("latin-1") or None
        if path in self._gets:
            _require_method(method, ("GET", "HEAD"))
            if path == "/metrics":
                self._admit(scope, headers)
            return self._gets[path]()
        if path not in self._posts:
            raise Refused(404, "not_found", f"there is no such path; try {', '.join([*self._posts, *self._gets])}")
        _require_method(method, ("POST",))
        self._admit(scope, headers)
        body = await _body(headers, receive)
        try:
            return Answer(200, await self._posts[path](body, course))
        except BadRequest as error:
            malformed = error.code == "invalid_json"
            raise Refused(400 if malformed else 422, error.code, str(error)) from None
        except Overloaded as error:
            raise Refused(429, "overloaded", str(error), {"retry-after": "1"}) from None
        except (Starting, Unavailable, TooSlow) as error:
            raise Refused(503, "unavailable", str(error), {"retry-after": "2"}) from None
        except Exception as error:
            # the type and the stack, never the message: it may hold what the caller sent
            stack = "".join(traceback.format_tb(error.__traceback__))
            log.error("request %s to %s failed: %s\n%s", course.request_id, path, type(error).__name__, stack)
            message = "something went wrong here; it was noted under this request_id"
            raise Refused(500, "internal", message) from None

    def _admit(self, scope: Scope, headers: Mapping[bytes, bytes]) -> None:
        said = headers.get(b"authorization")
        peer = (scope.get("client") or ("unknown",))[0]
        try:
            self._gate.admit(said.decode("latin-1") if said is not None else None, peer)
        except Unauthorized as error:
            raise Refused(401, "unauthorized", str(error), {"www-authenticate": "Bearer"}) from None
        except TooOften as error:
            raise Refused(429, "too_often", str(error), {"retry-after": str(math.ceil(error.seconds))}) from None

    async def _recommend(self, body: bytes, course: Course) -> bytes:
        response = await self._calls.recommend(parse(RecommendRequest, body), course)
        self._observer.slate(response, course)
        return response.model_dump_json().encode()

    async def _events(self, body: bytes, course: Course) -> bytes:
        response = await self._calls.events(parse(EventsRequest, body), course)
        self._observer.events(response)
        return response.model_dump_json().encode()

    async def _features(self, body: bytes, course: Course) -> bytes:
        read = await self._calls.features(parse(FeaturesRequest, body), course)
        response = FeaturesResponse.model_construct(
            position=read.position,
            at=read.at,
            fingerprint=read.fingerprint,
            names=list(read.names),
            rows=read.rows.astype(float).tolist(),  # a double holds a float32 exactly; NaN is written as null
        )
        return response.model_dump_json().encode()

    async def _items(self, body: bytes, course: Course) -> bytes:
        response = await self._calls.items(parse(ItemsRequest, body), course)
        self._observer.items(response)
        return response.model_dump_json().encode()

    async def _block(self, body: bytes, course: Course) -> bytes:
        return (await self._calls.block(parse(BlockRequest, body), course)).model_dump_json().encode()

    def _ready(self) -> Answer:
        try:
            state = self._calls.recommender.state()
        except Starting as error:
            raise Refused(503, "unavailable", str(error), {"retry-after": "2"}) from None
        return Answer(200, json.dumps({"status": "ready", **state}).encode())


def _require_method(method: str, allowed: tuple[str, ...]) -> None:
    if method not in allowed:
        names = ", ".join(allowed)
        raise Refused(405, "method_not_allowed", f"this path takes {names}", {"allow": names})


async def _body(headers: Mapping[bytes, bytes], receive: Receive) -> bytes:
    """The request's body, held to JSON, a size and a time."""
    content_type = headers.get(b"content-type", JSON.encode()).decode("latin-1").partition(";")[0].strip().lower()
    if content_type != JSON:
        raise Refused(415, "unsupported_media_type", "send JSON, with the header Content-Type: application/json")
    if headers.get(b"content-encoding", b"identity").lower() != b"identity":
        raise Refused(415, "unsupported_media_type", "send the body without a Content-Encoding")
    too_large = Refused(
        413, "too_large", f"a body may have {BODY_BYTES} bytes: send fewer events at once", {"connection": "close"}
    )
    declared = headers.get(b"content-length", b"0")
    if declared.isdigit() and int(declared) > BODY_BYTES:
        raise too_large
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise _Gone
                body += message.get("body", b"")
                if len(body) > BODY_BYTES:
                    raise too_large
                if not message.get("more_body"):
                    return bytes(body)
    except TimeoutError:
        message_text = f"the body did not arrive within {BODY_SECONDS:.0f} s"
        raise Refused(408, "timeout", message_text, {"connection": "close"}) from None


def _error(refused: Refused, request_id: str) -> Answer:
    error = {"code": refused.code, "message": refused.message, "request_id": request_id}
    return Answer(refused.status, json.dumps({"error": error}).encode(), headers=refused.headers)
