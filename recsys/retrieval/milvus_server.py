"""The embedded Milvus: one Milvus Lite process per home that every other process shares through a URI.

Milvus Lite's own server binds every interface, shares a port with a stranger (SO_REUSEPORT), comes back with its
collections released and drops requests in flight when it is told to stop. This launcher closes those four:

    python -m recsys.retrieval.milvus_server FOLDER [--host 127.0.0.1] [--port 0]

`FOLDER/server.json` is both its lock (flock, for as long as the process lives) and its address. The settings'
`milvus_uri` names a real Milvus server instead; nothing else changes.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from recsys.lake import Lake
from recsys.settings import Settings

ADDRESS_FILE: Final = "server.json"
HEALTH: Final = "/milvus.proto.milvus.MilvusService/GetVersion"  # answers on Lite and on a cluster alike
ANSWER_SECONDS: Final = 5.0  # a server that is up answers in milliseconds
GRACE_SECONDS: Final = 10.0  # requests in flight get this long after SIGTERM
START_SECONDS: Final = 60.0  # imports take 1-2 s of CPU; a loaded machine and a large folder take the rest
WORKERS: Final = 8
MESSAGE_BYTES: Final = 256 << 20  # what a Milvus server takes


class MilvusServerError(RuntimeError):
    """The embedded server cannot run or be reached; the message says what holds it and what to do."""


@dataclass(frozen=True)
class MilvusAddress:
    """Where the item index is: the URI that pymilvus takes, and the process when it is the embedded one."""

    uri: str
    pid: int | None = None


def ensure_milvus(settings: Settings) -> MilvusAddress:
    """The Milvus of these settings, answering; the embedded one is started as a process of its own if it is not up.

    Raises:
        MilvusServerError: nothing answers at `milvus_uri`, or the embedded server does not come up.
    """
    if settings.milvus_uri:
        if not answers(settings.milvus_uri.get_secret_value(), seconds=ANSWER_SECONDS):
            raise MilvusServerError(
                f"no Milvus answers at RECSYS_MILVUS_URI={settings.milvus_uri}: start it, or unset the variable to use "
                "the embedded one"
            )
        return MilvusAddress(settings.milvus_uri.get_secret_value())
    folder = Lake(settings.home).milvus
    running = running_milvus(folder)
    if running is None:
        return _start(folder)
    if not answers(running.uri, seconds=START_SECONDS):
        raise MilvusServerError(
            f"the embedded Milvus of {folder} (process {running.pid}) does not answer at {running.uri}: end that "
            "process and try again"
        )
    return running


def stop_milvus(settings: Settings) -> bool:
    """Ask the embedded server of this home to drain and end; True when one was running. Never touches a foreign one.

    Raises:
        MilvusServerError: it is still there after its grace.
    """
    folder = Lake(settings.home).milvus
    running = running_milvus(folder)
    if running is None or running.pid is None:
        return False
    os.kill(running.pid, signal.SIGTERM)
    deadline = time.monotonic() + GRACE_SECONDS + 10.0
    while time.monotonic() < deadline:
        if running_milvus(folder) is None:
            return True
        time.sleep(0.05)
    raise MilvusServerError(f"the embedded Milvus (process {running.pid}) does not end: kill -9 {running.pid}")


def running_milvus(folder: Path) -> MilvusAddress | None:
    """The embedded server that holds `folder`, None when none does. A file left behind by kill -9 is not one."""
    try:
        with (folder / ADDRESS_FILE).open("r+") as file:
            for _ in range(200):  # a holder that has not written its address yet is starting
                try:
                    fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                    return None
                except BlockingIOError:
                    file.seek(0)
                    try:
                        address = json.loads(file.read())
                        return MilvusAddress(address["uri"], address["pid"])
                    except ValueError:
                        time.sleep(0.1)
    except FileNotFoundError:
        return None
    raise MilvusServerError(f"{folder} is held by a process that gives no address: end it and try again")


def _start(folder: Path) -> MilvusAddress:
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "server.log"
    with log.open("ab") as output:
        start = output.tell()
        child = subprocess.Popen(
            [sys.executable, "-m", "recsys.retrieval.milvus_server", str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,  # Ctrl-C in the terminal that started it is not for it
            cwd=Path(__file__).parents[2],
        )
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        ended = child.poll() is not None
        running = running_milvus(folder)
        if running is not None and answers(running.uri, seconds=ANSWER_SECONDS):
            return running  # ours, or the one of a process that started it at the same moment
        if ended and running is None:
            lines = log.read_bytes()[start:].decode(errors="replace").strip().splitlines()
            raise MilvusServerError(lines[-1] if lines else f"the embedded Milvus ended at once: see {log}")
        time.sleep(0.05)
    raise MilvusServerError(f"the embedded Milvus did not answer within {START_SECONDS:.0f} s: see {log}")


def answers(uri: str, seconds: float) -> bool:
    """Whether a Milvus answers a call there within the time (a client that constructs is no sign of that)."""
    import grpc

    address = uri.split("://", 1)[-1].rstrip("/")
    secure = uri.startswith("https://")
    options = [] if secure else [("grpc.enable_http_proxy", 0)]
    channel = (
        grpc.secure_channel(address, grpc.ssl_channel_credentials(), options=options)
        if secure
        else grpc.insecure_channel(address, options=options)
    )
    with channel:
        try:
            channel.unary_unary(HEALTH)(b"", timeout=seconds, wait_for_ready=True)
        except grpc.RpcError as error:
            # refused for lack of a token is an answer too: the server is there
            return bool(error.code() == grpc.StatusCode.UNAUTHENTICATED)
    return True


def serve(folder: Path, host: str, port: int) -> None:
    """Hold `folder`, load its collections, then bind, and answer until SIGTERM or SIGINT.

    Port 0 takes the port of the last run when that is free (clients that outlived a crash find it again), else any.

    Raises:
        MilvusServerError: another process holds the folder, or the port is taken.
    """
    import grpc
    from milvus_lite.adapter.grpc.server import milvus_pb2_grpc
    from milvus_lite.adapter.grpc.servicer import MilvusServicer
    from milvus_lite.db import MilvusLite
    from milvus_lite.exceptions import DataDirLockedError, MilvusLiteError

    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())

    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ADDRESS_FILE).open("a+") as file:
        _hold(file.fileno(), folder)
        last = _last_port(folder / ADDRESS_FILE)
        file.truncate(0)
        try:
            database = MilvusLite(str(folder / "data"))
        except DataDirLockedError:
            raise MilvusServerError(
                f"{folder / 'data'} is held by another process (a Milvus client on the bare folder?): end it, or give "
                "this run a home of its own with RECSYS_HOME"
            ) from None
        try:
            for name in database.list_collections():
                try:
                    database.get_collection(name).load()
                except MilvusLiteError as error:
                    print(f"collection {name} cannot be loaded ({error}): publish it again", flush=True)
            server = grpc.server(
                ThreadPoolExecutor(max_workers=WORKERS),
                options=[
                    ("grpc.so_reuseport", 0),
                    ("grpc.http2.max_ping_strikes", 0),  # else a call of over ~200 s dies by its client's pings
                    ("grpc.max_receive_message_length", MESSAGE_BYTES),
                    ("grpc.max_send_message_length", MESSAGE_BYTES),
                ],
            )
            milvus_pb2_grpc.add_MilvusServiceServicer_to_server(MilvusServicer(database), server)
            bound = _bind(server, host, port, last)
            server.start()
            file.write(json.dumps({"pid": os.getpid(), "uri": f"http://{host}:{bound}"}))
            file.flush()
            print(f"Milvus Lite at http://{host}:{bound}, folder {folder}", flush=True)
            stop.wait()
            server.stop(grace=GRACE_SECONDS).wait()
        finally:
            database.close()


def _hold(descriptor: int, folder: Path) -> None:
    for _ in range(20):  # somebody who asks whether a server runs holds it for a moment
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            time.sleep(0.05)
    raise MilvusServerError(
        f"another Milvus server holds {folder}: use that one, stop it, or give this run its own home with RECSYS_HOME"
    )


def _last_port(file: Path) -> int:
    try:
        return int(json.loads(file.read_text())["uri"].rsplit(":", 1)[1])
    except (ValueError, KeyError, IndexError):
        return 0


def _bind(server: object, host: str, port: int, last: int) -> int:
    for candidate in [port] if port else [last, 0]:
        try:
            bound: int = server.add_insecure_port(f"{host}:{candidate}")  # type: ignore[attr-defined]
        except RuntimeError:
            bound = 0
        if bound:
            return bound
    raise MilvusServerError(f"port {port} of {host} is taken: choose another with --port, or 0 for any free one")


def main() -> None:
    """Command line of the launcher; a refusal is one line on stderr and status 1."""
    parser = argparse.ArgumentParser(prog="milvus_server", description="the embedded Milvus of one home")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    arguments = parser.parse_args()
    try:
        serve(arguments.folder, arguments.host, arguments.port)
    except (MilvusServerError, OSError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
