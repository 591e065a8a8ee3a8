"""The BentoML service: parse, call recsys.serving, reply. `make serve` starts it (see serve.py)."""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
from typing import Any

import bentoml

from bentos.recommender import bare, faults, logs, ports, tls  # noqa: F401
from bentos.recommender.calls import Calls
from bentos.recommender.ending import Ending, end_in_order
from bentos.recommender.front_door import ASGI, FrontDoor
from bentos.recommender.gate import Gate
from bentos.recommender.heads import bound_heads
from bentos.recommender.health import Health
from bentos.recommender.inside import Inside
from bentos.recommender.observer import Observer
from recsys.settings import SettingsError, from_environment

logs.to_stderr()
log = logging.getLogger("recsys.service")
try:
    SETTINGS = from_environment()
except SettingsError as wrong:  # without the launcher, which would have said so
    print(wrong, file=sys.stderr)
    raise SystemExit(2) from None
CERTIFICATES = tls.Certificates(SETTINGS)  # before uvicorn makes its context: the worker comes with the first call
bound_heads()

TICK_SECONDS = 1.0  # gauges are set, and keys looked at, at such times
RETRY_SECONDS = (1.0, 2.0, 4.0, 8.0, 15.0)  # between two tries to open


class Worker:
    """What one worker process holds."""

    _current: Worker | None = None

    def __init__(self) -> None:
        self.ending = Ending()
        self.calls = Calls(SETTINGS.budget_ms / 1000)
        self.gate = Gate.of(SETTINGS)
        self.inside = Inside(SETTINGS)
        self.health = Health(SETTINGS, self.calls, self.ending)
        self.observer = Observer.of(SETTINGS, self.calls)
        self.grpc: Any = None
        self.ticking: asyncio.Task[None] | None = None

    @classmethod
    def current(cls) -> Worker:
        if cls._current is None:
            cls._current = cls()
        return cls._current

    async def open(self) -> None:
        """Open store, bundle and gRPC, again and again until it works; nobody is let in before.

        The first worker of a launch that cannot open ends the launch, in one line (see faults.py).
        """
        for tries in range(sys.maxsize):
            try:
                await self._open()
                faults.opened()
                return
            except Exception as error:
                line = faults.line_of(error)
                if faults.end_launch(line):
                    log.error("cannot start: %s", line)
                    return
                log.error("cannot start yet: %s", line)
            for _ in range(round(RETRY_SECONDS[min(tries, len(RETRY_SECONDS) - 1)] / 0.1)):
                if self.ending.begun:
                    return
                await asyncio.sleep(0.1)

    async def _open(self) -> None:
        from bentos.recommender import grpc_server
        from recsys.privacy.border import Border
        from recsys.serving.opening import open_both

        if not self.calls.is_open:
            recommender, inspector = await asyncio.to_thread(open_both, SETTINGS, border=Border.of(SETTINGS))
            self.calls.open(recommender)
            self.inside.open(recommender, inspector)
        gc.collect()
        # Half a million objects that stay: a walk over them holds every request up for 0.35 s. The first bundle's
        # recorded networks are in cycles and stay with them, a few MiB once.
        gc.freeze()
        self.calls.recommender.on_shadow = self.observer.shadowed
        servicer = grpc_server.Servicer(self.calls, self.observer, self.gate, self.inside)
        host, secret = ports.address(SETTINGS.host), CERTIFICATES.credentials()
        self.grpc = await grpc_server.start(servicer, host, SETTINGS.grpc_port, secret)

    def begin_to_end(self) -> None:
        """Close gRPC's door; HTTP's is the supervisor's to close."""
        from bentos.recommender import grpc_server

        if self.grpc is not None:
            self._telling = asyncio.ensure_future(grpc_server.close_door(self.grpc[1], SETTINGS.grpc_port))

    async def tick(self) -> None:
        """Keep gauges, keys and certificates as they are, as long as the worker lives."""
        while True:
            await asyncio.sleep(TICK_SECONDS)
            try:
                self.observer.tick(self.health.down())
                CERTIFICATES.renew()
                await asyncio.to_thread(self.gate.renew)
            except Exception as error:
                log.error("a tick failed with %s", type(error).__name__)


class Door(FrontDoor):
    """The front door of this worker, as the outermost of the middlewares that BentoML lets a service add."""

    def __init__(self, app: ASGI) -> None:
        worker = Worker.current()
        super().__init__(app, worker.calls, worker.observer, worker.gate, worker.health, worker.inside)


@bentoml.service(
    name="recommender",
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
    def prepare_supervisor() -> None:
        """Two servers would silently share the gRPC port, so find out before the first worker starts."""
        ports.require_free(SETTINGS.host, SETTINGS.grpc_port, "RECSYS_GRPC_PORT")
        end_in_order()

    @bentoml.on_startup
    async def start(self) -> None:
        worker = Worker.current()
        worker.ending.watch(worker.begin_to_end)
        await worker.open()
        if worker.grpc is not None:  # else it ends
            worker.health.start()
            worker.ticking = asyncio.create_task(worker.tick())

    @bentoml.on_shutdown
    async def stop(self) -> None:
        from bentos.recommender import grpc_server

        worker = Worker.current()
        if worker.ticking is not None:
            worker.ticking.cancel()
        worker.health.stop()
        if worker.grpc is not None:
            await grpc_server.stop(*worker.grpc)
        worker.inside.close()
        await asyncio.to_thread(worker.calls.close)
        await asyncio.to_thread(worker.observer.close)


RecommenderService.add_asgi_middleware(Door)
