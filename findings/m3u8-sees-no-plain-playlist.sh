#!/usr/bin/env bash
# Expected: a playlist file of one path a line, the first form of M3U, has as many entries as lines; or it is refused.
# Happens: the library m3u8 takes an entry only behind an #EXTINF line. Without these the playlist is empty, with or
# without its header, and where some entries have the line and others do not, the others are gone. Nothing tells.
# Matters: players still write such files; an import reads a person's playlist as empty, or as a part of it.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install --quiet --disable-pip-version-check --no-compile --only-binary :all: m3u8==6.0.0
cd "$work"
venv/bin/python - <<'PY'
from importlib.metadata import version

import m3u8

print("m3u8", version("m3u8"))


def entries(text):
    found = [(entry.uri, entry.duration) for entry in m3u8.loads(text).segments]
    print(repr(text), "->", found)
    return found


assert entries("one.mp3\ntwo.mp3\n") == []
assert entries("#EXTM3U\none.mp3\ntwo.mp3\n") == []
assert entries("#EXTM3U\n#EXTINF:61,One\none.mp3\ntwo.mp3\n#EXTINF:-1,Radio\nthree\n") == [("one.mp3", 61.0), ("three", -1.0)]
PY
