"""`make serve`: check what the service needs, say how to ask it, then be BentoML's supervisor.

python -m bentos.recommender.serve
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from bentos.recommender import ports, tls
from bentos.recommender.gate import Gate
from recsys.lake import Lake
from recsys.registry import Bundle, Registry, RegistryError
from recsys.retrieval.milvus_server import MilvusServerError, ensure_milvus, running_milvus, stop_milvus
from recsys.serving.schema import written
from recsys.settings import Settings, SettingsError, from_environment

ROOT = Path(__file__).parents[2]
DRAIN_SECONDS = 10  # a worker that is told to end answers what it has begun
LOOPBACK = ("127.0.0.1", "::1", "localhost")


class NoBundle(RuntimeError):
    """There is nothing to serve yet."""


def main() -> None:
    """Everything wrong ends here as one line on stderr and status 2."""
    try:
        settings = from_environment()
        Gate.of(settings)
        tls.require_whole(settings)
        bundle = champion(settings)
        ports.require_free(settings.host, settings.http_port, "RECSYS_HTTP_PORT")
        ports.require_free(settings.host, settings.grpc_port, "RECSYS_GRPC_PORT")
        was_running = running_milvus(Lake(settings.home).milvus) is not None
        uri = ensure_milvus(settings).uri
    except (SettingsError, NoBundle, RegistryError, ports.PortTaken, MilvusServerError, OSError) as error:
        sys.exit(_say(str(error)))
    try:
        print(greeting(settings, bundle), flush=True)
        serve(settings, uri)
    finally:
        if not was_running and not settings.milvus_uri:
            stop_milvus(settings)


def serve(settings: Settings, milvus_uri: str) -> None:
    """BentoML's supervisor with its workers, in this process, until SIGTERM or Ctrl-C."""
    home = settings.home / "serving" / str(settings.http_port)  # servers on one BENTOML_HOME wipe each other's metrics
    home.mkdir(parents=True, exist_ok=True)
    os.environ.update(
        RECSYS_HOME=str(settings.home),
        RECSYS_MILVUS_URI=milvus_uri,
        BENTOML_HOME=str(home),
        BENTOML_DO_NOT_TRACK="true",  # the word: 1 does not count
        DO_NOT_TRACK="1",
    )
    os.chdir(ROOT)
    from bentoml_cli.cli import cli  # after the environment, which it reads when imported

    command = ["serve", "bentos.recommender.service:RecommenderService", "--working-dir", str(ROOT)]
    command += ["--host", ports.address(settings.host), "--port", str(settings.http_port), *tls.arguments(settings)]
    command += ["--timeout-graceful-shutdown", str(DRAIN_SECONDS)]
    cli(command, standalone_mode=False)


def champion(settings: Settings) -> Bundle:
    """The bundle to serve.

    Raises:
        NoBundle: nothing was promoted yet.
    """
    registry = Registry(Lake(settings.home).registry)
    bundle = registry.champion()
    if bundle is None:
        passed_over = "a bundle was built but its gates failed (reports/verdict.json says why)"
        raise NoBundle(f"{passed_over if registry.bundles() else 'no bundle yet'}: run `make run` first")
    return bundle


def greeting(settings: Settings, bundle: Bundle) -> str:
    """How to ask, with a user and an item that this bundle knows: each line works as it stands."""
    trending = json.loads((bundle.path / "sources" / "sources.json").read_text())["lists"]["trending"]
    items = [item for listed in trending.values() for item in listed] or ["1"]
    users = bundle.lineage.get("example_users") or ["1"]
    user = written(str(users[0]), bundle.facts.id_type)
    item = written(str(items[0]), bundle.facts.id_type)
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
            f"  curl -s {url}/{path} {key}-H 'Content-Type: application/json' -d '{json.dumps(body)}'"
            for path, body in bodies.items()
        ),
    ]
    if not settings.api_keys and settings.host not in LOOPBACK:
        lines.append(f"  anybody who reaches {settings.host} may call: set RECSYS_API_KEYS to keep others out")
    return "\n".join(lines)


def _say(words: str) -> int:
    print(words.splitlines()[0] if words else "the service cannot start", file=sys.stderr, flush=True)
    return 2


if __name__ == "__main__":
    main()
