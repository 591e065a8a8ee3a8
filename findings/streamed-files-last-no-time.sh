#!/usr/bin/env bash
# Expected: the length of a file that was streamed is that of its sound, or None where its header does not say.
# Happens: mutagen and tinytag say 0.0 for a fragmented MP4 (what HLS and DASH are made of) and for a FLAC whose header leaves
# the samples open, and 12 hours for a WAV that a pipe wrote. Of an Opus stream of two links they tell the first, and
# FFmpeg's header the last. All of them play to the end, and nothing is marked as a guess.
# Matters: a share of 0 seconds is infinite, and whoever takes 0 for unknown still has the 12 hours and the first link.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install --quiet --disable-pip-version-check --no-compile --only-binary :all: av==18.1.0 mutagen==1.48.1 tinytag==2.3.2 numpy==2.4.6
cd "$work"
venv/bin/python - <<'PY'
import importlib.metadata
from pathlib import Path

import av
import mutagen
import numpy as np
from tinytag import TinyTag

print("mutagen", mutagen.version_string, "tinytag", importlib.metadata.version("tinytag"), "av", av.__version__)
RATE = 48_000


def encode(path, container, codec, seconds=10, dtype=np.float32, **options):
    """Write silence."""
    with av.open(path, "w", format=container, options=options) as file:
        stream = file.add_stream(codec, rate=RATE)
        stream.layout = "mono"
        for start in range(0, seconds * RATE, 960):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 960), dtype), format="fltp" if dtype == np.float32 else "s16", layout="mono")
            frame.sample_rate, frame.pts = RATE, start
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))


encode("whole.m4a", "mp4", "aac")
encode("fragmented.m4a", "mp4", "aac", movflags="frag_keyframe+empty_moov")
encode("whole.flac", "flac", "flac", dtype=np.int16)
open_end = bytearray(Path("whole.flac").read_bytes())
open_end[21] &= 0xF0  # the number of samples, 36 bits: 0 is unknown
open_end[22:26] = bytes(4)
Path("streamed.flac").write_bytes(open_end)
encode("whole.wav", "wav", "pcm_s16le", dtype=np.int16)
piped = bytearray(Path("whole.wav").read_bytes())
data = piped.index(b"data")
piped[4:8] = piped[data + 4 : data + 8] = b"\xff" * 4
Path("piped.wav").write_bytes(piped)
encode("first.opus", "ogg", "libopus")
encode("second.opus", "ogg", "libopus", seconds=3)
Path("chained.opus").write_bytes(Path("first.opus").read_bytes() + Path("second.opus").read_bytes())

told = {}
for path in ("whole.m4a", "fragmented.m4a", "whole.flac", "streamed.flac", "whole.wav", "piped.wav", "first.opus", "chained.opus"):
    with av.open(path) as file:
        header = file.duration and file.duration / 1e6
        played = sum(frame.samples for frame in file.decode(audio=0)) / RATE
    told[path] = mutagen.File(path).info.length, TinyTag.get(path).duration
    print(f"{path:14} mutagen {told[path][0]:.2f} s, tinytag {told[path][1]:.2f} s, FFmpeg's header {header}, played {played:.2f} s")
    assert abs(played - (13 if path.startswith("chained") else 10)) < 0.1
    if path.startswith(("whole", "first")):
        assert all(abs(length - played) < 0.1 for length in told[path])
    if path.startswith("chained"):
        assert header < 3.1
assert told["fragmented.m4a"] == told["streamed.flac"] == (0.0, 0.0)
assert min(told["piped.wav"]) > 12 * 3600 and max(told["chained.opus"]) < 10.1
PY
