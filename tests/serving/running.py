"""A service of a test's own: started by the launcher, with clients of both fronts."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import httpx

from bentos.recommender.recsys_v1 import recommender_pb2_grpc as pb_grpc
from tests.conftest import ROOT
from tests.serving.world import World


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def environment(home: Path, http_port: int, grpc_port: int) -> dict[str, str]:
    return {
        **os.environ,
        "RECSYS_HOME": str(home),
        "RECSYS_HTTP_PORT": str(http_port),
        "RECSYS_GRPC_PORT": str(grpc_port),
        "OMP_NUM_THREADS": "1",
        "RECSYS_BUDGET_MS": "10000",  # the machine may be busy; tests of the budget set their own
    }


@dataclass
class Service:
    process: subprocess.Popen[str]
    http: httpx.Client
    channel: grpc.Channel
    stub: Any
    output: Path
    ports: tuple[int, int]


@contextmanager
def serving(world: World, folder: Path, certificates: Path | None = None, **extra: str) -> Iterator[Service]:
    """A service of its own; `certificates`: folder with ca.pem and the client's pair, where it speaks TLS."""
    http_port, grpc_port = free_port(), free_port()
    output = folder / f"serve-{http_port}.log"
    with output.open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "bentos.recommender.serve"],
            env={**environment(world.settings.home, http_port, grpc_port), **extra},
            stdout=log,
            stderr=log,
            text=True,
            cwd=ROOT,
        )
    options = [("grpc.use_local_subchannel_pool", 1)]
    if certificates is None:
        client = httpx.Client(base_url=f"http://127.0.0.1:{http_port}", timeout=30)
        channel = grpc.insecure_channel(f"127.0.0.1:{grpc_port}", options=options)
    else:
        pair = certificates / "client.pem", certificates / "client.key"
        context = ssl.create_default_context(cafile=str(certificates / "ca.pem"))
        context.load_cert_chain(*pair)
        client = httpx.Client(base_url=f"https://127.0.0.1:{http_port}", timeout=30, verify=context)
        secret = grpc.ssl_channel_credentials(
            (certificates / "ca.pem").read_bytes(), pair[1].read_bytes(), pair[0].read_bytes()
        )
        channel = grpc.secure_channel(f"127.0.0.1:{grpc_port}", secret, options=options)
    try:
        deadline = time.monotonic() + 300
        while True:
            try:
                if client.get("/readyz").status_code == 200:
                    break
            except httpx.TransportError:
                pass
            assert process.poll() is None and time.monotonic() < deadline, output.read_text()
            time.sleep(0.2)
        yield Service(process, client, channel, pb_grpc.RecommenderStub(channel), output, (http_port, grpc_port))
    finally:
        channel.close()
        client.close()
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)
