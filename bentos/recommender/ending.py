"""How the service ends: it tells everybody who calls, answers for a moment longer, and only then closes.

A server that closes idle connections the moment it is told to end resets those whose request is on its way. For
LINGER_SECONDS each answer says `Connection: close` instead, `/readyz` and the health service say that it ends, and
callers go elsewhere by themselves. Then nobody new is let in, those who were let in are answered, and the server
closes. A worker whose supervisor was killed ends the same way.
"""

from __future__ import annotations

import asyncio
import ctypes
import functools
import os
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import TYPE_CHECKING, Any, Final

import psutil

if TYPE_CHECKING:
    import uvicorn

LINGER_SECONDS: Final = 2.0
HANDSHAKE_SECONDS: Final = 0.5  # for connections half made when no more are let in
QUEUE_SECONDS: Final = 3.0  # for workers to take what waits for them
LAST_SECONDS: Final = 2.0  # for the requests of the last who were let in
BUSY_SECONDS: Final = 0.05  # between two tries while the supervisor starts a worker
WATCH_SECONDS: Final = 1.0
HARD_SECONDS: Final = 30.0  # an orphan that cannot end in order is ended
SUPERVISOR: Final = "RECOMMENDER_SUPERVISOR"  # its process, in the environment of workers

SO_ATTACH_FILTER: Final = 26  # of Linux; Python does not name it
# Classic BPF over a TCP header: drop a SYN that is no answer, pass all else (code, jump if true, if false, operand).
NO_SYN: Final = ((0x30, 0, 0, 13), (0x54, 0, 0, 0x12), (0x15, 0, 1, 0x02), (0x06, 0, 0, 0), (0x06, 0, 0, 0xFFFF))


class Ending:
    """Whether this worker was told to end."""

    def __init__(self) -> None:
        self.begun = False
        self._by: int | None = None
        self._supervisor = int(os.environ.get(SUPERVISOR, os.getppid()))

    def watch(self, on_begin: Callable[[], Any]) -> None:
        """Stand before the server's own handlers of SIGTERM and SIGINT; call it on the loop, once they are set."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            theirs = signal.getsignal(number)

            def told(number: int, frame: FrameType | None, theirs: Any = theirs) -> None:
                if self._by == number:  # said twice: at once
                    theirs(number, frame)
                elif not self.begun:
                    self.begun, self._by = True, number
                    loop.call_soon_threadsafe(on_begin)
                    server: uvicorn.Server = theirs.__self__
                    asyncio.run_coroutine_threadsafe(self._end(server, functools.partial(theirs, number, None)), loop)

            signal.signal(number, told)
        threading.Thread(target=self._follow_supervisor, name="supervisor", daemon=True).start()

    async def _end(self, server: uvicorn.Server, close: Callable[[], Any]) -> None:
        await asyncio.sleep(LINGER_SECONDS)
        try:
            servers = getattr(server, "servers", [])  # none yet in a worker that is still starting
            listeners = [socket.socket(fileno=os.dup(one.fileno())) for every in servers for one in every.sockets]
            if self._is_orphan():  # nobody else does
                await asyncio.gather(*(asyncio.to_thread(let_in_no_more, one) for one in listeners))
            # of a worker that is told to end alone they stay open: the others accept
            await _until(lambda: not any(map(_listens, listeners)), HANDSHAKE_SECONDS + QUEUE_SECONDS)
            for one in (*listeners, *servers):
                one.close()
            await asyncio.sleep(HANDSHAKE_SECONDS)  # those of TLS are no connections yet
            await _until(lambda: not server.server_state.connections, LAST_SECONDS)
        finally:
            close()

    def _is_orphan(self) -> bool:
        return os.getppid() != self._supervisor

    def _follow_supervisor(self) -> None:
        while not self._is_orphan():
            time.sleep(WATCH_SECONDS)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(HARD_SECONDS)
        os._exit(1)


def end_in_order() -> None:
    """In the supervisor: let nobody new in before the workers close, and end though a worker is just being started.

    It is the workers who accept, but all share a socket. While one process holds it open, connections are made that
    nobody will accept, and the last to close resets them.
    """
    from circus.arbiter import Arbiter

    theirs = Arbiter.stop
    ending: list[asyncio.Future[None]] = []  # one at most, however often it is told

    @functools.wraps(theirs)
    def stop(arbiter: Arbiter) -> asyncio.Future[None]:
        if not ending:
            for listener in arbiter.sockets.values():
                threading.Thread(target=let_in_no_more, args=(listener, LINGER_SECONDS), daemon=True).start()
            ending.append(asyncio.ensure_future(_stop_when_free(arbiter, theirs)))
        return ending[0]

    Arbiter.stop = stop


async def _stop_when_free(arbiter: Any, stop: Callable[[Any], Any]) -> None:
    """Circus does one thing at a time: it refuses to stop while it replaces a worker, and SIGTERM is not said twice."""
    from circus.exc import ConflictError

    while True:
        try:
            stopped = stop(arbiter)
        except ConflictError:
            await asyncio.sleep(BUSY_SECONDS)
        else:
            return await stopped


def let_in_no_more(listener: socket.socket, after: float = 0.0) -> None:
    """Refuse who connects from now on, once those who wait to be accepted are."""
    leave_unanswered(listener, after)
    with suppress(OSError):  # another process was faster
        listener.shutdown(socket.SHUT_RD)  # for all processes that hold it


def leave_unanswered(listener: socket.socket, after: float = 0.0) -> None:
    """Leave who connects from now on without an answer until the socket closes; return once nobody waits in its queue.

    Closing a listening socket resets what it has in its queue, and there is always a moment between a look at an empty
    queue and the close. A client without an answer asks again after a second, and is refused then. Where the system has
    no such filter, that moment stays.
    """
    time.sleep(after)
    with suppress(OSError):
        program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in NO_SYN))
        filtering = struct.pack("HP", len(NO_SYN), ctypes.addressof(program))
        listener.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, filtering)
        time.sleep(HANDSHAKE_SECONDS)
    deadline = time.monotonic() + QUEUE_SECONDS
    with suppress(OSError, AttributeError):  # a system that does not tell its queue
        while _waiting(listener) and time.monotonic() < deadline:
            time.sleep(0.02)


def listeners_on(port: int) -> list[socket.socket]:
    """Copies of the sockets of this process that listen on a port: gRPC opens its own and hands none out."""
    opened = psutil.Process().net_connections("tcp")
    return [
        socket.socket(fileno=os.dup(one.fd))
        for one in opened
        if one.status == psutil.CONN_LISTEN and one.laddr.port == port
    ]


def _waiting(listener: socket.socket) -> int:
    """Connections that nobody has accepted yet: of a listening socket, Linux tells them as `tcpi_unacked`."""
    return int(struct.unpack_from("I", listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104), 24)[0])


async def _until(held: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not held() and time.monotonic() < deadline:
        await asyncio.sleep(0.02)


def _listens(listener: socket.socket) -> bool:
    return bool(listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
