#!/usr/bin/env bash
# Expected: redis-py asks a command that changes something once; a time-out says that nothing is known of it.
# Happens: by default it asks again by itself, without a word: one `incr` counts twice, and answers 2.
# Matters: a counter, a push or a script that is no repeat of itself runs twice where the server was only slow. The
# second answer looks like that of a first call: a script that takes what is new tells what it took as known before.
# Needs redis-server on the PATH.
set -euo pipefail
command -v redis-server >/dev/null || { echo "skipped: no redis-server on the PATH"; exit 0; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install --quiet --disable-pip-version-check --no-compile --only-binary :all: redis==8.1.0
cd "$work"
venv/bin/python - <<'PY'
import socket
import subprocess
import threading
import time

import redis

with socket.socket() as probe:
    probe.bind(("127.0.0.1", 0))
    port = probe.getsockname()[1]
options = ["--save", "", "--enable-debug-command", "local"]
server = subprocess.Popen(["redis-server", "--port", str(port), *options], stdout=subprocess.DEVNULL)
try:
    plain = redis.Redis(port=port)
    for _ in range(200):
        try:
            plain.ping()
            break
        except redis.ConnectionError:
            time.sleep(0.05)
    client = redis.Redis(port=port, socket_timeout=0.2)
    client.ping()  # connected already
    busy = threading.Thread(target=lambda: redis.Redis(port=port).execute_command("DEBUG", "SLEEP", "2"))
    busy.start()
    time.sleep(0.7)
    answer = client.incr("views")
    busy.join()
    print(f"redis-py {redis.__version__}: one incr answers {answer}, the counter is {plain.get('views')!r}")
    assert answer == 2 and plain.get("views") == b"2"
finally:
    server.kill()
PY
