#!/usr/bin/env bash
# Expected: INCRBYFLOAT adds in doubles, as ZINCRBY, Lua and every client do.
# Happens: INCRBYFLOAT and HINCRBYFLOAT add in long double and write 17 digits behind the point: ten times 0.1 is 1, not
# 0.9999999999999999, 2^53 + 1 is kept, and 1e-18 is 0, however often it is added. ZINCRBY does as doubles do.
# Matters: the sum in a hash is not the sum that training computed over the same events, by a last bit or by all of it
# (decayed weights, small propensities), and an architecture with another long double has yet another.
# Needs redis-server on the PATH, on x86-64.
set -euo pipefail
command -v redis-server >/dev/null || { echo "skipped: no redis-server on the PATH"; exit 0; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install --quiet --disable-pip-version-check --no-compile --only-binary :all: redis==8.1.0
cd "$work"
venv/bin/python - <<'PY'
import platform
import socket
import subprocess
import time

import redis

with socket.socket() as probe:
    probe.bind(("127.0.0.1", 0))
    port = probe.getsockname()[1]
server = subprocess.Popen(["redis-server", "--port", str(port), "--save", ""], stdout=subprocess.DEVNULL)
try:
    client = redis.Redis(port=port, decode_responses=True)
    for _ in range(200):
        try:
            client.ping()
            break
        except redis.ConnectionError:
            time.sleep(0.05)
    print("redis-server", client.info("server")["redis_version"], platform.machine())
    total = 0.0
    for _ in range(10):
        total += 0.1
        client.incrbyfloat("sum", 0.1)
        client.hincrbyfloat("user", "sum", 0.1)
        client.zincrby("users", 0.1, "user")
    sums = client.get("sum"), client.hget("user", "sum"), client.zscore("users", "user")
    print("ten times 0.1: Python", total, "INCRBYFLOAT, HINCRBYFLOAT, ZINCRBY", *sums)
    assert sums == ("1", "1", total) and total != 1
    for _ in range(100):
        client.incrbyfloat("small", 1e-18)
        client.zincrby("small ones", 1e-18, "user")
    small = client.get("small"), client.zscore("small ones", "user")
    print("a hundred times 1e-18:", *small)
    assert small[0] == "0" and abs(small[1] - 1e-16) < 1e-20
    client.set("wide", 2**53)
    client.incrbyfloat("wide", 1)
    print("2^53 + 1:", client.get("wide"), "a double:", 2.0**53 + 1)
    assert client.get("wide") == str(2**53 + 1)
finally:
    server.kill()
PY
