"""A Redis server of our own for a test session, on a free port, durable as the store asks."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import redis


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class RedisServer:
    """`with RedisServer(folder) as server`: server.url, and kill() and start() to see what a crash does."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.port = free_port()
        self._folder, self._options = folder, options
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def __enter__(self) -> RedisServer:
        try:
            self.start()
        except RuntimeError:  # another process has taken the port meanwhile
            self.port = free_port()
            self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def client(self) -> Any:
        return redis.Redis.from_url(self.url)

    def flush(self) -> None:
        self.client().flushall()

    def lives(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        if self.lives():
            return
        self._process = subprocess.Popen(
            ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self._folder), "--save", "",
             "--appendonly", "yes", "--appendfsync", "always", *self._options],
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        for _ in range(600):
            try:
                self.client().ping()
                return
            except redis.ConnectionError:  # not up yet, or still loading
                time.sleep(0.05)
            if not self.lives():
                break
        raise RuntimeError("redis-server did not start")

    def wipe(self) -> None:
        """Its disk is gone; it is dead already."""
        shutil.rmtree(self._folder)
        self._folder.mkdir()

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()
