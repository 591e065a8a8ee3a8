"""Callers who make trouble, as a process of their own: `python -m benchmarks.trouble KIND PORT SECONDS`.

It imports the standard library alone: whatever it costs is taken from the machine that is measured.
"""

from __future__ import annotations

import http.client
import json
import socket
import sys
import time
from contextlib import suppress

HUNG_UP = 2_000


def hostile(port: int, seconds: float) -> None:
    """One sender of 1.8 MB of unknown fields, as fast as it is answered."""
    body = ("{" + ",".join(f'"a{n}":1' for n in range(160_000)) + "}").encode()
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        caller = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        with suppress(OSError, http.client.HTTPException):
            caller.request("POST", "/recommend", body, {"content-type": "application/json"})
            caller.getresponse().read()
        caller.close()


def hang_up(port: int, seconds: float) -> None:
    """Callers who ask and go, evenly over the time."""
    for n in range(HUNG_UP):
        body = json.dumps({"user_id": f"u{n % 100:06}", "k": 10})
        head = f"POST /recommend HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=10) as caller:
            caller.sendall(f"{head}\r\n\r\n{body}".encode())
        time.sleep(0.8 * seconds / HUNG_UP)


if __name__ == "__main__":
    {"hostile": hostile, "hang_up": hang_up}[sys.argv[1]](int(sys.argv[2]), float(sys.argv[3]))
