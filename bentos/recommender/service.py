"""The BentoML service: parse, call recsys.serving, reply. `make serve` starts it (see serve.py)."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import bentoml
from _bentoml_sdk.service import Service

from bentos.recommender import logs, ports, tls
from bentos.recommender.calls import Calls
from bentos.recommender.front_door import ASGI, FrontDoor
from bentos.recommender.gate import Gate
from bentos.recommender.observer import Observer
from recsys.settings import from_environment

SETTINGS = from_environment()


class FrontDoorService(Service[Any]):
    """BentoML's service with our own outermost ASGI application; made anew in each worker."""

    def to_asgi(self, is_main: bool = True) -> ASGI:
        worker = Worker.current()
        return FrontDoor(super().to_asgi(is_main=is_main), worker.calls, worker.observer, worker.gate)


class Worker:
    """What one worker process holds."""

    _current: Worker | None = None

    def __init__(self) -> None:
        self.calls = Calls(SETTINGS.budget_ms / 1000)
        self.observer = Observer.of(SETTINGS, self.calls)
        self.gate = Gate.of(SETTINGS)
        self.grpc: Any = None

    @classmethod
    def current(cls) -> Worker:
        if cls._current is None:
            cls._current = cls()
        return cls._current


@bentoml.service(
    name="recommender",
    service_class=FrontDoorService,
    workers=SETTINGS.workers,
    traffic={"timeout": 30},
    tracing={"excluded_urls": ".*"},  # 60 % of BentoML's overhead, even unsampled
    logging={"access": {"enabled": False}},
    metrics={"enabled": False},  # its labels hold raw paths; ours are in metrics.py
)
class RecommenderService:
    """Both fronts over one Recommender; HTTP by the front door, gRPC beside it."""

    @bentoml.on_deployment
    @staticmethod
    def check_ports() -> None:
        """Two servers would silently share the gRPC port, so find out before the first worker starts."""
        ports.require_free(SETTINGS.host, SETTINGS.grpc_port, "RECSYS_GRPC_PORT")

    @bentoml.on_startup
    async def start(self) -> None:
        from bentos.recommender import grpc_server
        from recsys.features.privacy import Border
        from recsys.serving.opening import open_recommender

        logs.to_stderr()
        worker = Worker.current()
        worker.calls.open(await asyncio.to_thread(open_recommender, SETTINGS, border=Border.of(SETTINGS)))
        gc.collect()
        # Half a million objects that stay: a walk over them holds every request up for 0.35 s. The first bundle's
        # recorded networks are in cycles and stay with them, a few MiB once.
        gc.freeze()
        host = ports.address(SETTINGS.host)
        worker.calls.recommender.on_shadow = worker.observer.shadowed
        secret = tls.credentials(SETTINGS)
        worker.grpc = await grpc_server.start(
            worker.calls, worker.observer, worker.gate, host, SETTINGS.grpc_port, secret
        )

    @bentoml.on_shutdown
    async def stop(self) -> None:
        from bentos.recommender import grpc_server

        worker = Worker.current()
        if worker.grpc is not None:
            await grpc_server.stop(*worker.grpc)
        await asyncio.to_thread(worker.calls.close)
        await asyncio.to_thread(worker.observer.close)
