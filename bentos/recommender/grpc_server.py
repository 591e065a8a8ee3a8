"""The gRPC front: recsys.v1.Recommender with health and reflection, in each worker, answered by the same calls as HTTP.

BentoML serves no gRPC, so a grpc.aio server runs beside it in the worker's event loop; workers share the port
(SO_REUSEPORT). Requests go through the same models as over HTTP, so both fronts refuse the same things.
"""

from __future__ import annotations

import functools
import logging
import traceback
from collections.abc import Awaitable, Callable
from typing import Any, Final
from urllib.parse import unquote

import grpc
from google.protobuf.message import DecodeError, Message
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from pydantic import ValidationError

from bentos.recommender.calls import Calls, Overloaded, Starting, TooSlow
from bentos.recommender.gate import Gate, TooOften, Unauthorized
from bentos.recommender.observer import Observer
from bentos.recommender.recsys_v1 import recommender_pb2 as pb
from recsys.serving.course import Course
from recsys.serving.pipeline import Unavailable
from recsys.serving.schema import (
    BadRequest,
    BlockRequest,
    EventsRequest,
    FeaturesRequest,
    ItemsRequest,
    RecommendRequest,
    one_line,
)

SERVICE: Final = pb.DESCRIPTOR.services_by_name["Recommender"].full_name
MESSAGE_BYTES: Final = 2 << 20
OPTIONS: Final = (
    ("grpc.so_reuseport", 1),
    ("grpc.max_receive_message_length", MESSAGE_BYTES),
    ("grpc.max_connection_age_ms", 600_000),  # clients come back, perhaps to another worker
    ("grpc.max_connection_age_grace_ms", 30_000),
    ("grpc.max_concurrent_streams", 256),
)
GRACE_SECONDS: Final = 10.0
log = logging.getLogger("recsys.grpc")


class Servicer:
    """Protobuf in, the core's call, protobuf out.

    Requests are taken as bytes and parsed here: grpc's own parsing of what is no message ends in UNKNOWN and a
    traceback in the log, before any interceptor.
    """

    def __init__(self, calls: Calls, observer: Observer, gate: Gate) -> None:
        self._calls = calls
        self._gate = gate
        self._observer = observer

    def handler(self) -> grpc.GenericRpcHandler:
        """What a server needs to route the methods here."""
        methods: dict[str, tuple[str, type[Message], Callable[[Any, Course], Awaitable[Message]]]] = {
            "Recommend": ("recommend", pb.RecommendRequest, self._recommend),
            "RecordEvents": ("events", pb.RecordEventsRequest, self._events),
            "Features": ("features", pb.FeaturesRequest, self._features),
            "Block": ("block", pb.BlockRequest, self._block),
            "PutItems": ("items", pb.PutItemsRequest, self._items),
        }
        return grpc.method_handlers_generic_handler(
            SERVICE,
            {
                name: grpc.unary_unary_rpc_method_handler(
                    functools.partial(self._answer, *method), response_serializer=_serialized
                )
                for name, method in methods.items()
            },
        )

    async def _recommend(self, message: pb.RecommendRequest, course: Course) -> pb.RecommendResponse:
        request = RecommendRequest.model_validate(_fields(message))
        answer = await self._calls.recommend(request, course)
        self._observer.slate(answer, course)
        items = [
            pb.RecommendedItem(**{**item.model_dump(exclude_none=True), "item_id": str(item.item_id)})
            for item in answer.items
        ]
        return pb.RecommendResponse(**answer.model_dump(exclude={"items"}), items=items)

    async def _events(self, message: pb.RecordEventsRequest, course: Course) -> pb.RecordEventsResponse:
        request = EventsRequest.model_validate({"events": [_fields(event) for event in message.events]})
        answer = await self._calls.events(request, course)
        self._observer.events(answer)
        rejected = [pb.Rejected(**row.model_dump()) for row in answer.rejected]
        return pb.RecordEventsResponse(**answer.model_dump(exclude={"rejected"}), rejected=rejected)

    async def _features(self, message: pb.FeaturesRequest, course: Course) -> pb.FeaturesResponse:
        read = await self._calls.features(FeaturesRequest.model_validate(_fields(message)), course)
        return pb.FeaturesResponse(
            position=read.position,
            at=read.at,
            fingerprint=read.fingerprint,
            names=read.names,
            rows=[pb.FeatureRow(values=row) for row in read.rows],
        )

    async def _items(self, message: pb.PutItemsRequest, course: Course) -> pb.PutItemsResponse:
        request = ItemsRequest.model_validate({"items": [_fields(item) for item in message.items]})
        answer = await self._calls.items(request, course)
        self._observer.items(answer)
        return pb.PutItemsResponse(**answer.model_dump())

    async def _block(self, message: pb.BlockRequest, course: Course) -> pb.BlockResponse:
        answer = await self._calls.block(BlockRequest.model_validate(_fields(message)), course)
        return pb.BlockResponse(**answer.model_dump())

    async def _answer(
        self,
        route: str,
        kind: type[Message],
        call: Callable[[Any, Course], Awaitable[Message]],
        request: bytes,
        context: Any,
    ) -> Message:
        course = Course()
        status, words = grpc.StatusCode.OK, ""
        answer: Message | None = None
        try:
            metadata = dict(context.invocation_metadata() or ())
            said, course.traceparent = metadata.get("authorization"), metadata.get("traceparent")
            self._gate.admit(said if isinstance(said, str) else None, _address(context.peer()))
            answer = await call(kind.FromString(request), course)
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
            await context.abort(status, words)
            raise AssertionError("abort returned")
        return answer


def _address(peer: str) -> str:
    """Of `ipv4:127.0.0.1:5000` or `ipv6:%5B::1%5D:5000` what stays when a client connects anew, as HTTP names it."""
    return unquote(peer.partition(":")[2].rpartition(":")[0]).strip("[]") or peer


def _serialized(message: Message) -> bytes:
    return message.SerializeToString()


def _fields(message: Message) -> dict[str, Any]:
    """The fields that were sent, messages as dictionaries; an empty plain string counts as not sent."""
    fields: dict[str, Any] = {}
    for descriptor, value in message.ListFields():
        if descriptor.type == descriptor.TYPE_MESSAGE:
            fields[descriptor.name] = _fields(value)
        else:
            fields[descriptor.name] = list(value) if descriptor.is_repeated else value
    return fields


async def start(
    calls: Calls,
    observer: Observer,
    gate: Gate,
    host: str,
    port: int,
    credentials: grpc.ServerCredentials | None = None,
) -> tuple[grpc.aio.Server, health.HealthServicer]:
    """Bind and answer.

    Raises:
        RuntimeError: the port is taken.
    """
    server = grpc.aio.server(options=OPTIONS)
    server.add_generic_rpc_handlers((Servicer(calls, observer, gate).handler(),))
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


async def stop(server: grpc.aio.Server, checks: health.HealthServicer) -> None:
    """Say so to health checks, answer what was begun, then end."""
    await checks.enter_graceful_shutdown()
    await server.stop(GRACE_SECONDS)
