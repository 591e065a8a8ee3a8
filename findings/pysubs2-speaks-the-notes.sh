#!/usr/bin/env bash
# Expected: a NOTE of a WebVTT file is a comment, as its specification says, and is in no caption.
# Happens: pysubs2 puts it behind the caption before it, as a further line of what is said. webvtt-py leaves
# notes out. In SubRip all between a < before a letter and the next > is gone too: `if a<b and c>d` is `if ad`.
# Matters: notes of translators and editors are shown, searched and embedded as words of the episode.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install --quiet --disable-pip-version-check --no-compile --only-binary :all: pysubs2==1.8.1 webvtt-py==0.6.0
cd "$work"
venv/bin/python - <<'PY'
import importlib.metadata

import pysubs2
import webvtt

print("pysubs2", pysubs2.VERSION, "webvtt-py", importlib.metadata.version("webvtt-py"))
VTT = """WEBVTT

00:01.000 --> 00:02.000
Welcome back.

NOTE is this the right speaker?

00:03.000 --> 00:04.000
Thank you.
"""
by_pysubs2 = [line.plaintext for line in pysubs2.SSAFile.from_string(VTT)]
by_webvtt = [caption.text for caption in webvtt.from_string(VTT)]
print("pysubs2  ", by_pysubs2)
print("webvtt-py", by_webvtt)
assert by_webvtt == ["Welcome back.", "Thank you."]
assert by_pysubs2 == ["Welcome back.\n\nNOTE is this the right speaker?", "Thank you."]
srt = "1\n00:00:01,000 --> 00:00:02,000\nif a<b and c>d\n"
(line,) = pysubs2.SSAFile.from_string(srt)
print("SubRip   ", repr(line.plaintext))
assert line.plaintext == "if ad"
PY
