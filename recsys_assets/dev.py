"""`make dev`: the Dagster UI and daemon on the real graph, keeping their state under RECSYS_HOME.

It says its address. On Ctrl-C or SIGTERM it ends with every process that it began; `dagster dev` leaves code servers
and their children behind.

New days, from a folder that grew or a service that was told, appear by themselves: it takes stock in every minute in
which folder or store changed, and asks the UI to load the definitions again when the days are others.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import psutil

from recsys.lake import Lake
from recsys.settings import Settings, SettingsError, from_environment
from recsys.sources.source import SourceError
from recsys.store.errors import StoreError
from recsys_assets.home import HomeError, prepare
from recsys_assets.stock import fresh, take_stock

EVERY = 60  # seconds
# Dagster warns of its own command (another package has a newer one), of what it calls beta, and, in the log of the
# daemon, of each kind of event that it meets first.
QUIET = "ignore:Function `dev_command` is superseded,ignore:Parameter `"
GRACE = 5.0  # seconds in which the UI and the daemon may end by themselves
LOCATION = "recsys"  # as in workspace.yaml


def main() -> int:
    try:
        settings = from_environment()
        prepare(settings)
        offered = list(take_stock(settings).days)
    except (SettingsError, HomeError, SourceError, StoreError) as error:
        print(error, file=sys.stderr)
        return 2
    dagster = Path(sys.executable).with_name("dagster")
    port = settings.dagster_port
    command = [str(dagster), "dev", "-w", "workspace.yaml", "-h", "127.0.0.1", "-p", str(port), "--log-level", "error"]
    asked = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: asked.set())
    # a session of its own: Ctrl-C reaches it through us alone, once, and is passed on in order
    with subprocess.Popen(command, env={**os.environ, "PYTHONWARNINGS": QUIET}, start_new_session=True) as ui:
        print(f"the Dagster UI is at http://127.0.0.1:{port} in a minute; Ctrl-C ends it", flush=True)
        seen, looked = changed(settings), time.monotonic()
        while ui.poll() is None and not asked.wait(0.2):
            if time.monotonic() - looked > EVERY:
                (seen, before), looked = (changed(settings), seen), time.monotonic()
                if seen != before:
                    offered = follow(settings, offered, port)
        if asked.is_set():
            end(ui)
            return 0
        return ui.returncode


def end(ui: subprocess.Popen[bytes]) -> None:
    """End it and all that it began, within GRACE and two seconds."""
    begun = psutil.Process(ui.pid).children(recursive=True)
    ui.send_signal(signal.SIGINT)
    _, left = psutil.wait_procs([psutil.Process(ui.pid), *begun], GRACE)
    for process in left:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(left, 2.0)


def changed(settings: Settings) -> float:
    """When folder or store changed last, in seconds since the epoch; files that are replaced count as changed."""
    roots = [settings.data, Lake(settings.home).store]
    paths = [path for root in roots if root is not None and root.exists() for path in (root, *root.rglob("*"))]
    return max((path.stat().st_mtime for path in paths if path.exists()), default=0.0)


def follow(settings: Settings, offered: list[str], port: int) -> list[str]:
    """Take stock, and have the definitions loaded again where other days are there; returns the days on offer."""
    from dagster_graphql import DagsterGraphQLClient, DagsterGraphQLClientError

    try:
        days = list(fresh(settings).days)
        if days != offered:
            DagsterGraphQLClient("127.0.0.1", port_number=port).reload_repository_location(LOCATION)
    except (SourceError, DagsterGraphQLClientError, OSError) as error:
        print(f"{time.strftime('%H:%M:%S')} the days could not be looked at again: {error}", file=sys.stderr)
        return offered
    return days


if __name__ == "__main__":
    sys.exit(main())
