"""The outermost ASGI application: every HTTP request ends here, in an answer or in one shape of error.

It is a middleware before BentoML's own application (which keeps the worker's life cycle), because that one has no
limits on bodies and answers errors in several shapes.
"""

from __future__ import annotations

import asyncio
import functools
import gzip
import json
import logging
import math
import platform
import traceback
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar
from urllib.parse import parse_qs

from pydantic import BaseModel

from bentos.recommender.calls import Calls, Overloaded, Starting, TooSlow
from bentos.recommender.gate import FORWARDED, LARGE, Caller, Gate, TooOften, Unauthorized
from bentos.recommender.health import Health
from bentos.recommender.inside import HEADERS, REPORT_POLICY, Inside
from bentos.recommender.observer import Observer
from bentos.recommender.openapi import document
from bentos.recommender.roles import Forbidden
from recsys import __version__
from recsys.features.catalog import FINGERPRINT
from recsys.serving.course import Course
from recsys.serving.diff import DiffRequest
from recsys.serving.inspected import InspectRequest
from recsys.serving.pipeline import Unavailable
from recsys.serving.rooms import FindRequest, ItemRequest, RoomsRequest
from recsys.serving.schema import (
    BadRequest,
    BatchRequest,
    BatchResponse,
    BlockRequest,
    BlocksRequest,
    EventsRequest,
    FeaturesRequest,
    FeaturesResponse,
    ItemsRequest,
    R,
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
VERSION: Final = "/v1"  # before any path; a path without it is the same one
HUNG_UP: Final = 499  # in metrics: nobody reads it
GZIP_FROM: Final = 1_024  # bytes of an answer
GZIP_ALOUD: Final = 64 << 10  # larger ones are compressed off the event loop
LOOKS: Final = 3  # turns of the event loop in which a caller who has gone already is seen before any work is begun
T = TypeVar("T")
ROUTES: Final = {  # path -> name in metrics and logs
    "/recommend": "recommend",
    "/recommend/batch": "batch",
    "/events": "events",
    "/features": "features",
    "/items": "items",
    "/block": "block",
    "/blocks": "blocks",
    "/inspect": "inspect",
    "/find": "find",
    "/item": "item",
    "/diff": "diff",
    "/rooms": "rooms",
}
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
    """The client hung up."""


class FrontDoor:
    """Routes, limits and errors of the HTTP front; BentoML's application behind it gets the life cycle only."""

    def __init__(
        self, inner: ASGI, calls: Calls, observer: Observer, gate: Gate, health: Health, inside: Inside
    ) -> None:
        self._inner = inner
        self._gate = gate
        self._calls = calls
        self._observer = observer
        self._health = health
        self._large = asyncio.Semaphore(1)  # bodies that are read off the loop, one after the other
        self._posts: dict[str, Callable[[bytes, Course, Caller], Awaitable[bytes]]] = {
            "/recommend": self._recommend,
            "/recommend/batch": self._batch,
            "/events": self._events,
            "/features": self._features,
            "/items": self._items,
            "/block": self._block,
            "/blocks": self._blocks,
        }
        self._inside = inside
        if inside.is_on:
            self._posts |= {
                "/inspect": self._look(InspectRequest, inside.inspect),
                "/find": self._look(FindRequest, inside.find),
                "/item": self._look(ItemRequest, inside.item),
                "/diff": self._look(DiffRequest, inside.diff),
                "/rooms": self._look(RoomsRequest, inside.rooms),
            }
        self._gets: dict[str, Callable[[Scope], Awaitable[Answer]]] = {
            "/livez": _alive,
            "/healthz": self._ready,
            "/readyz": self._ready,
            "/metrics": self._metrics,
            "/version": self._version,
            "/openapi.json": _description,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            # The start. From here on its application hands calls to the door alone: the middlewares that BentoML has
            # before it (spans, a time-out whose timer outlives its call, errors of their shape) took .04 ms of each.
            if "app" in scope:
                scope["app"].middleware_stack = self
            await self._inner(scope, receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        course = Course()
        headers = {name.lower(): value for name, value in scope["headers"]}
        course.said_id = said_id(headers.get(b"x-request-id", b"").decode("latin-1"))
        course.accept_language = headers.get(b"accept-language", b"").decode("latin-1")
        path = scope["path"].removeprefix(VERSION) if scope["path"].startswith(f"{VERSION}/") else scope["path"]
        route = ROUTES.get(path, "other")
        try:
            answer = await self._answer(path, scope, headers, receive, course)
        except _Gone:
            answer = Answer(HUNG_UP, b"")
        except Refused as refused:
            answer = _error(refused, course.request_id)
        self._observer.answered("http", route, str(answer.status), course)
        answer = await _packed(answer, headers)
        told = {
            "content-type": answer.content_type,
            "content-length": str(len(answer.body)),
            "x-request-id": course.said_id or course.request_id,
            "x-content-type-options": "nosniff",
            **answer.headers,
        }
        if self._health.ending.begun:
            told["connection"] = "close"
        raw = [(name.encode(), value.encode("latin-1")) for name, value in told.items()]
        await send({"type": "http.response.start", "status": answer.status, "headers": raw})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else answer.body})

    async def _answer(
        self, path: str, scope: Scope, headers: Mapping[bytes, bytes], receive: Receive, course: Course
    ) -> Answer:
        method = scope["method"]
        course.traceparent = headers.get(b"traceparent", b"").decode("latin-1") or None
        if path in self._gets:
            _require_method(method, ("GET", "HEAD"))
            if path == "/metrics":
                self._admit(scope, headers, path)
            return await self._gets[path](scope)
        if self._inside.is_on and (path == "/" or path.startswith(("/static/", "/reports/"))):
            _require_method(method, ("GET", "HEAD"))
            return self._file(path, scope, headers)
        if path not in self._posts:
            raise Refused(404, "not_found", f"there is no such path; try {', '.join([*self._posts, *self._gets])}")
        _require_method(method, ("POST",))
        caller = self._admit(scope, headers, path)
        course.key_id = caller.key_id
        try:
            body = await _body(headers, receive, functools.partial(self._admit_large, caller))
            return Answer(200, await _unless_gone(receive, self._posts[path](body, course, caller)))
        except BadRequest as error:
            if len(body) > LARGE:
                await asyncio.sleep(self._gate.refused_large(caller))
            malformed = error.code == "invalid_json"
            raise Refused(400 if malformed else 422, error.code, str(error)) from None
        except TooOften as error:
            raise _too_often(error) from None
        except Overloaded as error:
            raise Refused(429, "overloaded", str(error), {"retry-after": "1"}) from None
        except (Starting, Unavailable, TooSlow) as error:
            raise _unavailable(error) from None
        except (Refused, _Gone):
            raise
        except Exception as error:
            # the type and the stack, never the message: it may hold what the caller sent
            stack = "".join(traceback.format_tb(error.__traceback__))
            log.error("request %s to %s failed: %s\n%s", course.request_id, path, type(error).__name__, stack)
            message = "something went wrong here; it was noted under this request_id"
            raise Refused(500, "internal", message) from None

    def _admit(self, scope: Scope, headers: Mapping[bytes, bytes], path: str) -> Caller:
        said = headers.get(b"authorization")
        peer = (scope.get("client") or ("unknown",))[0]
        try:
            key = said.decode("latin-1") if said is not None else None
            return self._gate.admit(key, peer, path, any(name.encode() in headers for name in FORWARDED))
        except Unauthorized as error:
            raise Refused(401, "unauthorized", str(error), {"www-authenticate": "Bearer"}) from None
        except Forbidden as error:
            raise Refused(403, "forbidden", str(error)) from None
        except TooOften as error:
            raise _too_often(error) from None

    async def _admit_large(self, caller: Caller) -> None:
        try:
            self._gate.admit_large(caller)
        except TooOften as error:
            await asyncio.sleep(error.seconds)  # told at once, a sender in a loop would come back at once
            refused = _too_often(error)
            refused.headers["connection"] = "close"  # or the rest of the body would have to be read
            raise refused from None

    async def _parsed(self, model: type[R], body: bytes) -> R:
        if len(body) <= LARGE:
            return parse(model, body)
        async with self._large:
            return await asyncio.to_thread(parse, model, body)

    async def _recommend(self, body: bytes, course: Course, caller: Caller) -> bytes:
        response = await self._calls.recommend(await self._parsed(RecommendRequest, body), course)
        self._observer.slate(response, course)
        return response.model_dump_json().encode()

    async def _batch(self, body: bytes, course: Course, caller: Caller) -> bytes:
        requests = (await self._parsed(BatchRequest, body)).requests
        self._gate.count(caller, len(requests) - 1)
        responses = await self._calls.batch(requests, course, self._observer.slate)
        return BatchResponse(responses=responses).model_dump_json().encode()

    async def _events(self, body: bytes, course: Course, caller: Caller) -> bytes:
        response = await self._calls.events(await self._parsed(EventsRequest, body), course)
        self._observer.events(response)
        return response.model_dump_json().encode()

    async def _features(self, body: bytes, course: Course, caller: Caller) -> bytes:
        read = await self._calls.features(await self._parsed(FeaturesRequest, body), course)
        response = FeaturesResponse.model_construct(
            position=read.position,
            at=read.at,
            fingerprint=read.fingerprint,
            names=list(read.names),
            rows=read.rows.astype(float).tolist(),  # a double holds a float32 exactly; NaN is written as null
        )
        return response.model_dump_json().encode()

    async def _items(self, body: bytes, course: Course, caller: Caller) -> bytes:
        response = await self._calls.items(await self._parsed(ItemsRequest, body), course)
        self._observer.items(response)
        return response.model_dump_json().encode()

    async def _block(self, body: bytes, course: Course, caller: Caller) -> bytes:
        return (await self._calls.block(await self._parsed(BlockRequest, body), course)).model_dump_json().encode()

    async def _blocks(self, body: bytes, course: Course, caller: Caller) -> bytes:
        return (await self._calls.blocks(await self._parsed(BlocksRequest, body), course)).model_dump_json().encode()

    def _look(
        self, model: type[R], call: Callable[[R, Course, Caller], Awaitable[BaseModel]]
    ) -> Callable[[bytes, Course, Caller], Awaitable[bytes]]:
        """A call of the page: from its JSON to its answer's."""

        async def look(body: bytes, course: Course, caller: Caller) -> bytes:
            return (await call(await self._parsed(model, body), course, caller)).model_dump_json().encode()

        return look

    def _file(self, path: str, scope: Scope, headers: Mapping[bytes, bytes]) -> Answer:
        """One of the page's own files, or a report."""
        if path.startswith("/reports/"):
            self._admit(scope, headers, "/reports")
            report = self._inside.report(path.removeprefix("/reports/"))
            if report is None:
                raise Refused(404, "not_found", "there is no such report yet: `make run` writes them")
            return Answer(200, report, "text/html; charset=utf-8", {"content-security-policy": REPORT_POLICY})
        file = self._inside.file(path)
        if file is None:
            raise Refused(404, "not_found", "the page has no such file")
        content, content_type, tag = file
        if headers.get(b"if-none-match", b"").decode("latin-1") == tag:
            return Answer(304, b"", content_type, {**HEADERS, "etag": tag})
        return Answer(200, content, content_type, {**HEADERS, "etag": tag})

    async def _ready(self, scope: Scope) -> Answer:
        try:
            state = self._health.state()
        except Starting as error:
            raise _unavailable(error) from None
        if state["down"] and "full" in parse_qs(scope.get("query_string", b"").decode("latin-1"), True):
            raise Refused(503, "degraded", f"done without: {', '.join(state['down'])}", {"retry-after": "2"})
        return Answer(200, json.dumps(state).encode())

    async def _metrics(self, scope: Scope) -> Answer:
        return Answer(200, *await self._observer.exposition())

    async def _version(self, scope: Scope) -> Answer:
        told = {
            "api": VERSION[1:],
            "version": __version__,
            "python": platform.python_version(),
            "features": FINGERPRINT,
        }
        if self._calls.is_open:
            told["bundle"] = self._calls.recommender.state()["bundle"]
        return Answer(200, json.dumps(told).encode())


async def _alive(scope: Scope) -> Answer:
    return Answer(200, b'{"status":"alive"}')


async def _description(scope: Scope) -> Answer:
    return Answer(200, document())


def said_id(given: str) -> str:
    """The caller's own id of a request, where it is one: visible ASCII, 128 characters at most; else nothing."""
    return given if 0 < len(given) <= 128 and all("!" <= character <= "~" for character in given) else ""


async def _unless_gone(receive: Receive, work: Awaitable[T]) -> T:
    """`work`, which is cancelled when its caller hangs up.

    Raises:
        _Gone: the caller did.
    """
    task, gone = asyncio.current_task(), False
    assert task is not None

    async def watch() -> None:
        nonlocal gone
        while (await receive())["type"] != "http.disconnect":
            continue
        gone = True
        task.cancel()

    watcher = asyncio.create_task(watch())
    try:
        for _ in range(LOOKS):
            await asyncio.sleep(0)
        return await work
    except asyncio.CancelledError:
        if not gone:
            raise
        task.uncancel()
        raise _Gone from None
    finally:
        watcher.cancel()


async def _packed(answer: Answer, headers: Mapping[bytes, bytes]) -> Answer:
    """The answer in gzip, where its caller takes that and it is large enough to gain."""
    if len(answer.body) < GZIP_FROM or not takes_gzip(headers.get(b"accept-encoding", b"").decode("latin-1")):
        return answer
    if len(answer.body) <= GZIP_ALOUD:
        body = gzip.compress(answer.body, 1, mtime=0)
    else:
        body = await asyncio.to_thread(gzip.compress, answer.body, 1, mtime=0)
    told = {**answer.headers, "content-encoding": "gzip", "vary": "accept-encoding"}
    return Answer(answer.status, body, answer.content_type, told)


def takes_gzip(accepted: str) -> bool:
    """Whether an Accept-Encoding header names gzip, and not to refuse it."""
    for part in accepted.lower().split(","):
        name, _, parameter = part.partition(";")
        if name.strip() in ("gzip", "*"):
            return parameter.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False


def _too_often(error: TooOften) -> Refused:
    return Refused(429, "too_often", str(error), {"retry-after": str(math.ceil(error.seconds))})


def _unavailable(error: Exception) -> Refused:
    return Refused(503, "unavailable", str(error), {"retry-after": "2"})


def _require_method(method: str, allowed: tuple[str, ...]) -> None:
    if method not in allowed:
        names = ", ".join(allowed)
        raise Refused(405, "method_not_allowed", f"this path takes {names}", {"allow": names})


async def _body(headers: Mapping[bytes, bytes], receive: Receive, admit_large: Callable[[], Awaitable[None]]) -> bytes:
    """The body, held to JSON, a size and a time; `admit_large` is asked before more than LARGE of it is read."""
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
    asked = declared.isdigit() and int(declared) > LARGE
    if asked:
        await admit_large()
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
                if len(body) > LARGE and not asked:
                    asked = True
                    await admit_large()
                if not message.get("more_body"):
                    return bytes(body)
    except TimeoutError:
        message_text = f"the body did not arrive within {BODY_SECONDS:.0f} s"
        raise Refused(408, "timeout", message_text, {"connection": "close"}) from None


def _error(refused: Refused, request_id: str) -> Answer:
    error = {"code": refused.code, "message": refused.message, "request_id": request_id}
    return Answer(refused.status, json.dumps({"error": error}).encode(), headers=refused.headers)
