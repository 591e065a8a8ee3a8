#!/usr/bin/env bash
# Expected: the length of an MP3 of variable bit rate is about that of its frames, or said to be unknown.
# Happens: where no Xing or VBRI header counts the frames (recorded streams, cut files), mutagen and tinytag divide the file's
# size by the bit rate of its first frames. 26 seconds become 3 or 237, by how loud the beginning is. mutagen's `sketchy`
# is False.
# Matters: a share of an episode that was heard, and `watched to the end`, go by a length that is nine times off.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install --quiet --disable-pip-version-check --no-compile --only-binary :all: mutagen==1.48.1 tinytag==2.3.2
cd "$work"
venv/bin/python - <<'PY'
import importlib.metadata

import mutagen
from mutagen.mp3 import MP3
from tinytag import TinyTag

print("mutagen", mutagen.version_string, "tinytag", importlib.metadata.version("tinytag"))
RATES = {32: 1, 128: 9, 320: 14}  # kbit/s -> index in the header of MPEG 1 layer III


def frame(rate):
    """A silent frame of 1152 samples at 44.1 kHz."""
    size = 144 * rate * 1000 // 44_100
    return bytes([0xFF, 0xFB, RATES[rate] << 4, 0xC0]).ljust(size, b"\0")


told = {}
for name, rates in {"constant": [128] * 1000, "loud first": [320] * 10 + [32] * 990, "quiet first": [32] * 100 + [320] * 900}.items():
    with open("episode.mp3", "wb") as file:
        file.write(b"".join(map(frame, rates)))
    true, info = len(rates) * 1152 / 44_100, MP3("episode.mp3").info
    told[name] = info.length / true, TinyTag.get("episode.mp3").duration / true
    print(f"{name:11} {true:.1f} s; mutagen {info.length:.1f} s (sketchy: {info.sketchy}), tinytag {told[name][1] * true:.1f} s")
    assert not info.sketchy
assert all(abs(ratio - 1) < 0.01 for ratio in told["constant"])
assert max(told["loud first"]) < 0.12 and min(told["quiet first"]) > 9
PY
