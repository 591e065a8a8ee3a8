"""What one worker process holds; the launcher, which serves nothing, does not import it."""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
from typing import Any, Final

from bentos.recommender import faults, grpc_server, ports, tls
from bentos.recommender.calls import Calls
from bentos.recommender.ending import Ending
from bentos.recommender.front_door import ASGI, FrontDoor
from bentos.recommender.gate import Gate
from bentos.recommender.health import Health
from bentos.recommender.inside import Inside
from bentos.recommender.observer import Observer
from recsys.privacy.border import Border
from recsys.serving.opening import open_both
from recsys.settings import Settings

TICK_SECONDS: Final = 1.0  # gauges are set, and keys looked at, at such times
RETRY_SECONDS: Final = (1.0, 2.0, 4.0, 8.0, 15.0)  # between two tries to open
log = logging.getLogger("recsys.service")


class Worker:
    """Both fronts over one Recommender; HTTP by the front door, gRPC beside it."""

    def __init__(self, settings: Settings, certificates: tls.Certificates) -> None:
        self._settings, self._certificates = settings, certificates
        self.ending = Ending()
        self.calls = Calls(settings.budget_ms / 1000)
        self.gate = Gate.of(settings)
        self.inside = Inside(settings)
        self.health = Health(settings, self.calls, self.ending)
        self.observer = Observer.of(settings, self.calls)
        self.grpc: Any = None
        self.ticking: asyncio.Task[None] | None = None

    def door(self, app: ASGI) -> FrontDoor:
        """The front door, before BentoML's own application."""
        return FrontDoor(app, self.calls, self.observer, self.gate, self.health, self.inside)

    async def start(self) -> None:
        """Open, and follow what changes."""
        self.ending.watch(self.begin_to_end)
        await self.open()
        if self.grpc is not None:  # else it ends
            self.health.start()
            self.ticking = asyncio.create_task(self.tick())

    async def stop(self) -> None:
        """Let go of everything."""
        if self.ticking is not None:
            self.ticking.cancel()
        self.health.stop()
        if self.grpc is not None:
            await grpc_server.stop(*self.grpc)
        self.inside.close()
        await asyncio.to_thread(self.calls.close)
        await asyncio.to_thread(self.observer.close)

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
        if not self.calls.is_open:
            border = Border.of(self._settings)
            recommender, inspector = await asyncio.to_thread(open_both, self._settings, border=border)
            self.calls.open(recommender)
            self.inside.open(recommender, inspector)
        gc.collect()
        # Half a million objects that stay: a walk over them holds every request up for 0.35 s. The first bundle's
        # recorded networks are in cycles and stay with them, a few MiB once.
        gc.freeze()
        self.calls.recommender.on_shadow = self.observer.shadowed
        servicer = grpc_server.Servicer(self.calls, self.observer, self.gate, self.inside)
        host, secret = ports.address(self._settings.host), self._certificates.credentials()
        self.grpc = await grpc_server.start(servicer, host, self._settings.grpc_port, secret)

    def begin_to_end(self) -> None:
        """Close gRPC's door; HTTP's is the supervisor's to close."""
        if self.grpc is not None:
            self._telling = asyncio.ensure_future(grpc_server.close_door(self.grpc[1], self._settings.grpc_port))

    async def tick(self) -> None:
        """Keep gauges, keys and certificates as they are, as long as the worker lives."""
        while True:
            await asyncio.sleep(TICK_SECONDS)
            try:
                self.observer.tick(self.health.down())
                self._certificates.renew()
                await asyncio.to_thread(self.gate.renew)
            except Exception as error:
                log.error("a tick failed with %s", type(error).__name__)
