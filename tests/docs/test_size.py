"""The house stays easy to read: no module over 500 lines."""

from __future__ import annotations

import subprocess

from tests.conftest import ROOT

MOST_LINES = 500
GENERATED = ("_pb2.py", "_pb2_grpc.py")


def test_no_module_is_over_500_lines() -> None:
    listing = ["git", "ls-files", "-co", "--exclude-standard", "*.py", "bentos/*.js"]
    names = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    written = [name for name in names if not name.endswith(GENERATED) and (ROOT / name).exists()]
    lines = {name: len((ROOT / name).read_text().splitlines()) for name in written}
    assert len(lines) > 300 and {name: n for name, n in lines.items() if n > MOST_LINES} == {}
