#!/usr/bin/env bash
# Expected: fsspec's `exists` says whether a file is there, and raises where it could not ask.
# Happens: over HTTP it says False for 401, 403, 429, 500, 503 and a port where nobody listens, as for 404; `isfile` too. To read the
# same address raises. So does the general `exists` of a file system whose `info` fails for any reason.
# Matters: "write the backup unless it exists" and "start from nothing if there is no state" do so while the store is
# overloaded or the password has run out.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install --quiet --disable-pip-version-check --no-compile --only-binary :all: fsspec==2026.9.0 aiohttp==3.14.5
cd "$work"
venv/bin/python - <<'PY'
import http.server
import threading

import fsspec
from fsspec.spec import AbstractFileSystem

print("fsspec", fsspec.__version__)


class Answers(http.server.BaseHTTPRequestHandler):
    """Answers with the status that the path names."""

    def do_GET(self):
        self.send_response(int(self.path.strip("/")))
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_HEAD = do_GET

    def log_message(self, *said):
        pass


class Broken(AbstractFileSystem):
    protocol = "broken"

    def info(self, path, **more):
        raise PermissionError(path)


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers)
threading.Thread(target=server.serve_forever, daemon=True).start()
there = f"http://127.0.0.1:{server.server_port}"
files = fsspec.filesystem("http")
assert files.exists(f"{there}/200")
for status in (404, 401, 403, 429, 500, 503):
    told = files.exists(f"{there}/{status}"), files.isfile(f"{there}/{status}")
    print(f"status {status}: exists, isfile = {told}")
    assert told == (False, False)
    try:
        files.cat_file(f"{there}/{status}")
        raise SystemExit("read")
    except FileNotFoundError:
        assert status == 404
    except Exception as error:
        assert status != 404 and str(status) in str(error)
server.shutdown()
server.server_close()
print("nobody listens: exists =", files.exists(f"{there}/200"))
assert files.exists(f"{there}/200") is False
print("info raises PermissionError: exists =", Broken().exists("/state"))
assert Broken().exists("/state") is False
PY
