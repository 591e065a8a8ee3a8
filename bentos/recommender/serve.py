"""`make serve`: check what the service needs, say how to ask it, then be BentoML's supervisor.

python -m bentos.recommender.serve [--check]
"""

from __future__ import annotations

import argparse
import importlib
import json
import logging
import os
import runpy
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from bentos.recommender import faults, logs, ports, tls
from bentos.recommender.ending import SUPERVISOR
from bentos.recommender.scratch import scratch
from recsys.lake import Lake
from recsys.privacy.border import Border
from recsys.registry import Bundle, Registry
from recsys.retrieval.milvus_server import MilvusServerError, ensure_milvus, running_milvus, stop_milvus
from recsys.settings import Settings, from_environment, variable

ROOT = Path(__file__).parents[2]
DRAIN_SECONDS = 10  # a worker that is told to end answers what it has begun
MILVUS_SECONDS = 2.0  # between two looks whether the embedded server lives
LOOPBACK = ("127.0.0.1", "::1", "localhost")
log = logging.getLogger("recsys.service")


class NoBundle(RuntimeError):
    """There is nothing to serve yet."""


def main() -> None:
    """Everything wrong ends here as one line on stderr and status 2."""
    parser = argparse.ArgumentParser(prog="serve", description="answer over HTTP and gRPC")
    parser.add_argument("--check", action="store_true", help="open everything once, say whether it can serve, and end")
    only_check = parser.parse_args().check
    try:
        settings = from_environment()
        tls.require_whole(settings)
        bundle, border = champion(settings), Border.of(settings)
        if only_check:
            print(check(settings, bundle, border), flush=True)
            return
        ports.require_free(settings.host, settings.http_port, "RECSYS_HTTP_PORT")
        ports.require_free(settings.host, settings.grpc_port, "RECSYS_GRPC_PORT")
        was_running = running_milvus(Lake(settings.home).milvus) is not None
    except (NoBundle, *faults.SPEAKING) as error:
        sys.exit(_say(str(error)))
    try:
        with ThreadPoolExecutor(1) as beside, scratch() as folder:
            answering = beside.submit(ensure_milvus, settings)
            prepare(settings, folder)
            os.environ["RECSYS_MILVUS_URI"] = answering.result().uri
            print(greeting(settings, bundle), flush=True)
            with keeping_milvus(settings):
                serve()
            fault = faults.told(folder)
    except MilvusServerError as error:
        fault = str(error)
    finally:
        if not was_running and settings.milvus_uri is None:
            stop_milvus(settings)
    if fault is not None:
        sys.exit(_say(fault))


def check(settings: Settings, bundle: Bundle, border: Border) -> str:
    """Open store, bundle and index as a worker does, once.

    Raises:
        SystemExit: with status 2, after one line that says what keeps them from it.
    """
    from recsys.serving.opening import open_recommender
    from recsys.stream.kafka import Kafka

    try:
        if settings.milvus_uri is not None:
            ensure_milvus(settings)  # it must answer at the start, and may go later: a bundle carries its vectors
        open_recommender(settings, follow=False, logged=False, border=border).close()
    except Exception as error:
        sys.exit(_say(faults.line_of(error)))
    stream = f", and stream with Kafka at {kafka.look()}" if (kafka := Kafka.of(settings)) is not None else ""
    return f"can serve bundle {bundle.bundle_id} from {settings.home} with the store {settings.store}{stream}"


def prepare(settings: Settings, folder: Path) -> None:
    """Make this process one that can be BentoML's supervisor; its imports take as long as Milvus to start.

    Args:
        folder: the launch's scratch, where BentoML keeps its own and workers add up their counters
    """
    paths = {name: value for name, value in settings if isinstance(value, Path)}
    os.environ.update({variable(name): str(path.resolve()) for name, path in paths.items()})  # the folder changes
    os.environ.update(
        {SUPERVISOR: str(os.getpid()), faults.FOLDER: str(folder)},
        OMP_NUM_THREADS="1",  # one request, one thread: workers are how this scales
        # Each arena of malloc keeps the most that its threads ever took. Of the 16 that glibc gives two cores a worker
        # held 44 MB for nothing after a quarter of an hour, 2 MB more each minute; of two it holds 3 to 10.
        MALLOC_ARENA_MAX="2",
        BENTOML_HOME=str(folder),
        BENTOML_DO_NOT_TRACK="true",  # the word: 1 does not count
        DO_NOT_TRACK="1",
        # uvicorn's own default believes whoever calls from this machine, who could then name a new caller each time
        FORWARDED_ALLOW_IPS=settings.trusted_proxies,
    )
    sys.argv = ["bentoml", "serve", "bentos.recommender.service:RecommenderService", "--working-dir", str(ROOT)]
    sys.argv += ["--host", ports.address(settings.host), "--port", str(settings.http_port), *tls.arguments(settings)]
    sys.argv += ["--timeout-graceful-shutdown", str(DRAIN_SECONDS), "--timeout-keep-alive", str(settings.keep_alive)]
    importlib.import_module("bentos.recommender.service")


def serve() -> None:
    """BentoML's supervisor with its workers, in this process, until SIGTERM or Ctrl-C."""
    os.chdir(ROOT)
    try:
        runpy.run_module("bentoml", run_name="__main__", alter_sys=True)  # as `python -m bentoml serve ...`
    except SystemExit as ended:
        if ended.code:
            raise


@contextmanager
def keeping_milvus(settings: Settings) -> Iterator[None]:
    """Start the embedded Milvus of this home again whenever it is gone; it comes back at its address."""
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(MILVUS_SECONDS):
            try:
                if running_milvus(Lake(settings.home).milvus) is None:
                    log.warning("the embedded Milvus is gone: starting it again")
                    ensure_milvus(settings)
            except (MilvusServerError, OSError) as error:
                log.error("the embedded Milvus cannot be started again: %s", " ".join(str(error).split()))

    watcher = threading.Thread(target=watch, name="milvus", daemon=True)
    if settings.milvus_uri is None:
        watcher.start()
    try:
        yield
    finally:
        stop.set()
        if watcher.is_alive():
            watcher.join(timeout=90)


def champion(settings: Settings) -> Bundle:
    """The bundle to serve.

    Raises:
        NoBundle: nothing was promoted yet.
    """
    registry = Registry(Lake(settings.home).registry)
    bundle = registry.champion()
    if bundle is None:
        built = registry.bundles()
        if not built:
            raise NoBundle("no bundle yet: run `make run` first")
        by_hand = f'make promote BUNDLE={built[-1].bundle_id} REASON="..."'
        raise NoBundle(f"no bundle is the champion yet: `make run` makes one, or by hand `{by_hand}` takes the newest")
    return bundle


def greeting(settings: Settings, bundle: Bundle) -> str:
    """How to ask, with a user and an item that this bundle knows: each line works as it stands."""
    trending = json.loads((bundle.path / "sources" / "sources.json").read_text())["lists"]["trending"]
    items = [item for listed in trending.values() for item in listed] or ["1"]
    users = bundle.lineage.get("example_users") or ["1"]
    user, item = str(users[0]), str(items[0])  # an integer may be sent as text
    url = f"{'https' if settings.tls_cert else 'http'}://{settings.host}:{settings.http_port}"
    bodies = {
        "recommend": {"user_id": user, "k": 5},
        "events": {"events": [{"event_id": "e1", "kind": "click", "user_id": user, "item_id": item}]},
        "features": {"user_id": user, "item_ids": [item]},
    }
    key = "-H 'Authorization: Bearer KEY' " if settings.api_keys else ""
    lines = [
        f"serving bundle {bundle.bundle_id} with {settings.workers} worker(s), ready in some seconds; Ctrl-C ends it",
        f"  HTTP {url}   gRPC {settings.host}:{settings.grpc_port} recsys.v1.Recommender (health, reflection)",
        *(
            f"  curl -s {url}/v1/{path} {key}-H 'Content-Type: application/json' -d '{json.dumps(body)}'"
            for path, body in bodies.items()
        ),
    ]
    if settings.page:
        lines.insert(2, f"  the page: {url}/ (see why, ask what if)")
    if not settings.api_keys and settings.host not in LOOPBACK:
        lines.append(f"  anybody who reaches {settings.host} may call: set RECSYS_API_KEYS to keep others out")
    return "\n".join(lines)


def _say(words: str) -> int:
    print(words.splitlines()[0] if words else "the service cannot start", file=sys.stderr, flush=True)
    return 2


if __name__ == "__main__":
    logs.to_stderr()
    main()
