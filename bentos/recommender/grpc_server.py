"""The gRPC front: recsys.v1.Recommender with health and reflection, in each worker, answered by the same calls as HTTP.

BentoML serves no gRPC, so a grpc.aio server runs beside it in the worker's event loop; workers share the port
(SO_REUSEPORT). Requests go through the same models as over HTTP, so both fronts refuse the same things.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import logging
import math
import traceback
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final, TypeVar
from urllib.parse import unquote

import grpc
from google.protobuf import json_format
from google.protobuf.message import DecodeError, Message
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from pydantic import ValidationError

from bentos.recommender.calls import Calls, Overloaded, Starting, TooSlow
from bentos.recommender.ending import LINGER_SECONDS, leave_unanswered, listeners_on
from bentos.recommender.front_door import said_id
from bentos.recommender.gate import FORWARDED, LARGE, Caller, Gate, TooOften, Unauthorized
from bentos.recommender.inside import Inside
from bentos.recommender.observer import Observer
from bentos.recommender.recsys_v1 import recommender_pb2 as pb
from bentos.recommender.roles import Forbidden
from recsys.events import MAX_EMBEDDING, is_integer_id
from recsys.serving.course import Course
from recsys.serving.inspected import InspectRequest
from recsys.serving.pipeline import Unavailable
from recsys.serving.schema import (
    MAX_EVENTS,
    BadRequest,
    BatchRequest,
    BlockRequest,
    BlocksRequest,
    EventsRequest,
    FeaturesRequest,
    ItemsRequest,
    RecommendRequest,
    RecommendResponse,
    one_line,
)

SERVICE: Final = pb.DESCRIPTOR.services_by_name["Recommender"].full_name
MESSAGE_BYTES: Final = 2 << 20
OPTIONS: Final = (
    ("grpc.so_reuseport", 1),
    ("grpc.max_receive_message_length", MESSAGE_BYTES),
    ("grpc.max_connection_age_ms", 600_000),  # clients come back, perhaps to another worker
    ("grpc.max_connection_age_grace_ms", 30_000),
    # Not the 256 that are answered at once: beyond this limit gRPC's own client (1.85) has calls refused, UNAVAILABLE
    # with RST_STREAM 7, where ours says RESOURCE_EXHAUSTED and why.
    ("grpc.max_concurrent_streams", 2_048),
)
GRACE_SECONDS: Final = 10.0
T = TypeVar("T")
Call = Callable[[Any, Course, Caller], Awaitable[Message]]
log = logging.getLogger("recsys.grpc")


class Servicer:
    """Protobuf in, the core's call, protobuf out.

    Requests are taken as bytes and parsed here: grpc's own parsing of what is no message ends in UNKNOWN and a
    traceback in the log, before any interceptor.
    """

    def __init__(self, calls: Calls, observer: Observer, gate: Gate, inside: Inside) -> None:
        self._calls = calls
        self._inside = inside
        self._gate = gate
        self._observer = observer
        self._large = asyncio.Semaphore(1)  # messages that are read off the loop, one after the other

    def handler(self) -> grpc.GenericRpcHandler:
        """What a server needs to route the methods here."""
        methods: dict[str, tuple[str, type[Message], Call]] = {
            "Recommend": ("recommend", pb.RecommendRequest, self._recommend),
            "RecommendBatch": ("batch", pb.RecommendBatchRequest, self._batch),
            "RecordEvents": ("events", pb.RecordEventsRequest, self._events),
            "Features": ("features", pb.FeaturesRequest, self._features),
            "Block": ("block", pb.BlockRequest, self._block),
            "Blocks": ("blocks", pb.BlocksRequest, self._blocks),
            "PutItems": ("items", pb.PutItemsRequest, self._items),
        }
        if self._inside.is_on:
            methods["Inspect"] = ("inspect", pb.InspectRequest, self._inspect)
        return grpc.method_handlers_generic_handler(
            SERVICE,
            {
                name: grpc.unary_unary_rpc_method_handler(
                    functools.partial(self._answer, *method), response_serializer=_serialized
                )
                for name, method in methods.items()
            },
        )

    async def _recommend(self, message: pb.RecommendRequest, course: Course, caller: Caller) -> pb.RecommendResponse:
        request = RecommendRequest.model_validate(_fields(message))
        answer = await self._calls.recommend(request, course)
        self._observer.slate(answer, course)
        return _slate(answer)

    async def _batch(
        self, message: pb.RecommendBatchRequest, course: Course, caller: Caller
    ) -> pb.RecommendBatchResponse:
        request = BatchRequest.model_validate(_fields(message))
        self._gate.count(caller, len(request.requests) - 1)
        answers = await self._calls.batch(request.requests, course, self._observer.slate)
        return pb.RecommendBatchResponse(responses=map(_slate, answers))

    async def _events(self, message: pb.RecordEventsRequest, course: Course, caller: Caller) -> pb.RecordEventsResponse:
        request = EventsRequest.model_validate({"events": [_fields(event) for event in _first(message.events)]})
        answer = await self._calls.events(request, course)
        self._observer.events(answer)
        rejected = [pb.Rejected(**row.model_dump()) for row in answer.rejected]
        return pb.RecordEventsResponse(**answer.model_dump(exclude={"rejected"}), rejected=rejected)

    async def _features(self, message: pb.FeaturesRequest, course: Course, caller: Caller) -> pb.FeaturesResponse:
        read = await self._calls.features(FeaturesRequest.model_validate(_fields(message)), course)
        return pb.FeaturesResponse(
            position=read.position,
            at=read.at,
            fingerprint=read.fingerprint,
            names=read.names,
            rows=[pb.FeatureRow(values=row) for row in read.rows],
        )

    async def _items(self, message: pb.PutItemsRequest, course: Course, caller: Caller) -> pb.PutItemsResponse:
        request = ItemsRequest.model_validate({"items": [_item(item) for item in _first(message.items)]})
        answer = await self._calls.items(request, course)
        self._observer.items(answer)
        return pb.PutItemsResponse(**answer.model_dump())

    async def _block(self, message: pb.BlockRequest, course: Course, caller: Caller) -> pb.BlockResponse:
        answer = await self._calls.block(BlockRequest.model_validate(_fields(message)), course)
        return pb.BlockResponse(**answer.model_dump())

    async def _blocks(self, message: pb.BlocksRequest, course: Course, caller: Caller) -> pb.BlocksResponse:
        answer = await self._calls.blocks(BlocksRequest.model_validate(_fields(message)), course)
        return pb.BlocksResponse(**{**answer.model_dump(), "item_ids": map(str, answer.item_ids)})

    async def _inspect(self, message: pb.InspectRequest, course: Course, caller: Caller) -> pb.InspectResponse:
        answer = await self._inside.inspect(InspectRequest.model_validate(_fields(message)), course, caller)
        return json_format.ParseDict(_plain(answer.model_dump()), pb.InspectResponse())

    async def _read(self, kind: type[Message], request: bytes, caller: Caller) -> Message:
        if len(request) <= LARGE:
            return kind.FromString(request)
        self._gate.admit_large(caller)
        async with self._large:
            return await asyncio.to_thread(kind.FromString, request)

    async def _answer(
        self,
        route: str,
        kind: type[Message],
        call: Call,
        request: bytes,
        context: Any,
    ) -> Message:
        course = Course()
        status, words = grpc.StatusCode.OK, ""
        answer: Message | None = None
        caller: Caller | None = None
        metadata = dict(context.invocation_metadata() or ())
        said, course.traceparent = metadata.get("authorization"), metadata.get("traceparent")
        course.said_id = said_id(metadata.get("x-request-id", ""))
        course.accept_language = metadata.get("accept-language", "")
        context.set_trailing_metadata((("x-request-id", course.said_id or course.request_id),))
        try:
            path = f"/{route}".replace("/batch", "/recommend/batch")
            key, forwarded = said if isinstance(said, str) else None, any(name in metadata for name in FORWARDED)
            caller = self._gate.admit(key, _address(context.peer()), path, forwarded)
            course.key_id = caller.key_id
            answer = await call(await self._read(kind, request, caller), course, caller)
        except asyncio.CancelledError:
            self._observer.answered("grpc", route, grpc.StatusCode.CANCELLED.name, course)
            raise
        except Forbidden as error:
            status, words = grpc.StatusCode.PERMISSION_DENIED, str(error)
        except Unauthorized as error:
            status, words = grpc.StatusCode.UNAUTHENTICATED, str(error)
        except TooOften as error:
            status, words = grpc.StatusCode.RESOURCE_EXHAUSTED, str(error)
        except DecodeError:
            status, words = grpc.StatusCode.INVALID_ARGUMENT, f"these bytes are no {kind.DESCRIPTOR.full_name}"
        except ValidationError as error:
            status, words = grpc.StatusCode.INVALID_ARGUMENT, one_line(error)
        except BadRequest as error:
            status, words = grpc.StatusCode.INVALID_ARGUMENT, str(error)
        except Overloaded as error:
            status, words = grpc.StatusCode.RESOURCE_EXHAUSTED, str(error)
        except (Starting, Unavailable, TooSlow) as error:
            status, words = grpc.StatusCode.UNAVAILABLE, str(error)
        except Exception as error:
            stack = "".join(traceback.format_tb(error.__traceback__))  # no message: it may hold what the caller sent
            log.error("request %s to %s failed: %s\n%s", course.request_id, route, type(error).__name__, stack)
            status, words = grpc.StatusCode.INTERNAL, f"something went wrong here; it was noted as {course.request_id}"
        self._observer.answered("grpc", route, status.name, course)
        if answer is None:
            if status is grpc.StatusCode.INVALID_ARGUMENT and caller is not None and len(request) > LARGE:
                await asyncio.sleep(self._gate.refused_large(caller))
            await context.abort(status, words)
            raise AssertionError("abort returned")
        return answer


def _address(peer: str) -> str:
    """Of `ipv4:127.0.0.1:5000` or `ipv6:%5B::1%5D:5000` what stays when a client connects anew, as HTTP names it."""
    return unquote(peer.partition(":")[2].rpartition(":")[0]).strip("[]") or peer


def _slate(answer: RecommendResponse) -> pb.RecommendResponse:
    items = [
        pb.RecommendedItem(**{**item.model_dump(exclude_none=True), "item_id": str(item.item_id)})
        for item in answer.items
    ]
    return pb.RecommendResponse(**answer.model_dump(exclude={"items"}), items=items)


def _first(repeated: Iterable[T]) -> list[T]:
    """No more than what is refused for its number: two megabytes hold a million empty messages."""
    return list(itertools.islice(repeated, max(MAX_EVENTS, MAX_EMBEDDING) + 1))


def _serialized(message: Message) -> bytes:
    return message.SerializeToString()


def _fields(message: Message) -> dict[str, Any]:
    """The fields that were sent, messages as dictionaries; an empty plain string counts as not sent."""
    fields: dict[str, Any] = {}
    for descriptor, value in message.ListFields():
        if descriptor.type == descriptor.TYPE_MESSAGE:
            fields[descriptor.name] = [*map(_fields, _first(value))] if descriptor.is_repeated else _fields(value)
        else:
            fields[descriptor.name] = _first(value) if descriptor.is_repeated else value
    return fields


def _plain(payload: Any, name: str = "") -> Any:
    """An answer as protobuf's JSON has it: ids as text, NaN for a value that does not apply, nothing for null."""
    if isinstance(payload, dict):
        return {key: _plain(value, key) for key, value in payload.items() if value is not None}
    if isinstance(payload, list):
        return [math.nan if one is None else _plain(one) for one in payload]
    return str(payload) if name == "item_id" else payload


def _item(message: Message) -> dict[str, Any]:
    """As `_fields`; gRPC has ids as text alone, so one that reads as an integer is one, as in a CSV."""
    fields = _fields(message)
    item_id = fields.get("item_id", "")
    return {**fields, "item_id": int(item_id)} if is_integer_id(item_id) else fields


async def start(
    servicer: Servicer, host: str, port: int, credentials: grpc.ServerCredentials | None = None
) -> tuple[grpc.aio.Server, health.HealthServicer]:
    """Bind and answer.

    Raises:
        RuntimeError: the port is taken.
    """
    server = grpc.aio.server(options=OPTIONS)
    server.add_generic_rpc_handlers((servicer.handler(),))
    checks = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(checks, server)
    for name in (SERVICE, ""):
        await checks.set(name, health_pb2.HealthCheckResponse.SERVING)
    reflection.enable_server_reflection((SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME), server)
    bracketed = f"[{host}]" if ":" in host else host
    if credentials is None:
        server.add_insecure_port(f"{bracketed}:{port}")
    else:
        server.add_secure_port(f"{bracketed}:{port}", credentials)
    await server.start()
    return server, checks


async def close_door(checks: health.HealthServicer, port: int) -> None:
    """Say to health checks that this server ends, and a moment later let nobody new in.

    A server that stops while somebody connects cancels the call unread, and CANCELLED does not say that another try is
    safe. Who is not let in reads UNAVAILABLE.
    """
    await checks.enter_graceful_shutdown()
    listeners = listeners_on(port)
    await asyncio.gather(*(asyncio.to_thread(leave_unanswered, one, LINGER_SECONDS) for one in listeners))
    for one in listeners:
        one.close()


async def stop(server: grpc.aio.Server, checks: health.HealthServicer) -> None:
    """Say so to health checks, answer what was begun, then end."""
    await checks.enter_graceful_shutdown()
    await server.stop(GRACE_SECONDS)
