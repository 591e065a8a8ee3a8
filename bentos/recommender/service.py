"""The BentoML service: parse, call recsys.serving, reply. `make serve` starts it (see serve.py).

BentoML's supervisor imports this too, to learn how many workers there are: what only they need comes with `_worker`.
"""

from __future__ import annotations

import functools
import sys
from typing import TYPE_CHECKING

import bentoml

from bentos.recommender import bare, logs, ports, tls  # noqa: F401
from bentos.recommender.ending import end_in_order
from bentos.recommender.heads import bound_heads
from recsys.settings import SettingsError, from_environment

if TYPE_CHECKING:
    from bentos.recommender.front_door import ASGI
    from bentos.recommender.worker import Worker

logs.to_stderr()
try:
    SETTINGS = from_environment()
except SettingsError as wrong:  # without the launcher, which would have said so
    print(wrong, file=sys.stderr)
    raise SystemExit(2) from None
if SETTINGS.has_embedded_store:  # purgatory imports redis where it finds it: .1 s and 7 MiB
    sys.modules.setdefault("redis", None)  # type: ignore[arg-type]
CERTIFICATES = tls.Certificates(SETTINGS)  # before uvicorn makes its context: the worker comes with the first call
bound_heads()


@functools.cache
def _worker() -> Worker:
    """That of this process."""
    from bentos.recommender.worker import Worker

    return Worker(SETTINGS, CERTIFICATES)


def door(app: ASGI) -> ASGI:
    """The front door of this worker, as the outermost of the middlewares that BentoML lets a service add."""
    return _worker().door(app)


@bentoml.service(
    name="recommender",
    workers=SETTINGS.workers,
    traffic={"timeout": 30},
    tracing={"excluded_urls": ".*"},  # 60 % of BentoML's overhead, even unsampled
    logging={"access": {"enabled": False}},
    metrics={"enabled": False},  # its labels hold raw paths; ours are in metrics.py
)
class RecommenderService:
    """See worker.py."""

    @bentoml.on_deployment
    @staticmethod
    def prepare_supervisor() -> None:
        """Two servers would silently share the gRPC port, so find out before the first worker starts."""
        logs.to_stderr()  # again: BentoML set its own, after the launcher had imported this
        ports.require_free(SETTINGS.host, SETTINGS.grpc_port, "RECSYS_GRPC_PORT")
        end_in_order()

    @bentoml.on_startup
    async def start(self) -> None:
        await _worker().start()

    @bentoml.on_shutdown
    async def stop(self) -> None:
        await _worker().stop()


RecommenderService.add_asgi_middleware(door)
