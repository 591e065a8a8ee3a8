#!/usr/bin/env bash
# Expected: of a TTML file every caption is read, at the time of its own plus the `begin` of what it lies in; in SubRip an
# empty line within a caption is a line of it, or an error.
# Happens: pycaption keeps the last `div` of a language alone and takes no notice of `begin` on `body` and `div`. Of a SubRip
# file nothing is left behind the first caption that has an empty line. pysubs2 reads all of it, later where it is to be.
# Matters: one `div` for each part or speaker is common; the search index gets the credits and not the programme.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install --quiet --disable-pip-version-check --no-compile --only-binary :all: pycaption==2.3.14 pysubs2==1.8.1
cd "$work"
venv/bin/python - <<'PY'
from importlib.metadata import version

import pycaption
import pysubs2

print("pycaption", version("pycaption"), "pysubs2", pysubs2.VERSION)
TTML = """<tt xmlns="http://www.w3.org/ns/ttml" xml:lang="en"><body>
<div><p begin="1s" end="2s">Welcome.</p><p begin="3s" end="4s">To the news.</p></div>
<div begin="60s"><p begin="1s" end="2s">Good night.</p></div></body></tt>"""
SUBRIP = """1
00:00:01,000 --> 00:00:02,000
Welcome.

To the news.

2
00:00:03,000 --> 00:00:04,000
It rains.

3
00:00:05,000 --> 00:00:06,000
Good night.
"""


def by_pycaption(reader, text):
    return [(c.start // 1_000_000, c.get_text()) for c in reader().read(text).get_captions("en" if text is TTML else "en-US")]


def by_pysubs2(text):
    return [(line.start // 1000, line.plaintext) for line in pysubs2.SSAFile.from_string(text)]


told = [by_pycaption(pycaption.DFXPReader, TTML), by_pysubs2(TTML), by_pycaption(pycaption.SRTReader, SUBRIP), by_pysubs2(SUBRIP)]
for name, captions in zip(("TTML, pycaption", "TTML, pysubs2", "SubRip, pycaption", "SubRip, pysubs2"), told, strict=True):
    print(f"{name}: {captions}")
assert told[0] == [(1, "Good night.")]
assert told[1] == [(1, "Welcome."), (3, "To the news."), (61, "Good night.")]
assert told[2] == [(1, "Welcome.")]
assert told[3] == [(1, "Welcome.\n\nTo the news."), (3, "It rains."), (5, "Good night.")]
PY
