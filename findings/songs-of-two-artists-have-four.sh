#!/usr/bin/env bash
# Expected: a song of two artists has the two in every reader of its ID3 tag, or the same one.
# Happens: tinytag's `artist` is the first (the second lies in `other`), MediaInfo knows the first alone, eyed3 has one name
# with a NUL in it, mutagen has a list. Written as ID3v2.3, which many players ask for, both are one name, by default joined
# by the / of AC/DC.
# Matters: who counts or recommends by artist has four artists for one song, the second one is lost, and a key with a NUL
# meets no other table's.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install --quiet --disable-pip-version-check --no-compile --only-binary :all: mutagen==1.48.1 tinytag==2.3.2 eyed3==0.9.9 pymediainfo==7.0.1
cd "$work"
venv/bin/python - <<'PY'
from importlib.metadata import version

import eyed3
import mutagen
import pymediainfo
import tinytag
from mutagen.id3 import ID3, TPE1

print(*(f"{name} {version(name)}" for name in ("mutagen", "tinytag", "eyed3", "pymediainfo")))
told = {}
for minor in (4, 3):
    name = f"v2.{minor}.mp3"
    with open(name, "wb") as file:
        file.write((bytes([0xFF, 0xFB, 0x90, 0x00]) + bytes(413)) * 200)
    tag = ID3()
    tag.add(TPE1(encoding=3, text=["Anna", "AC/DC"]))
    tag.save(name, v2_version=minor)
    (track,) = pymediainfo.MediaInfo.parse(name).general_tracks
    told[minor] = {
        "mutagen": mutagen.File(name).tags["TPE1"].text,
        "tinytag": tinytag.TinyTag.get(name).artist,
        "eyed3": eyed3.load(name).tag.artist,
        "MediaInfo": track.performer,
    }
    print(f"ID3v2.{minor}: {told[minor]}")
    assert minor == 3 or "AC/DC" not in str(track.to_data())
assert told[4] == {"mutagen": ["Anna", "AC/DC"], "tinytag": "Anna", "eyed3": "Anna\0AC/DC", "MediaInfo": "Anna"}
assert told[3]["mutagen"] == ["Anna/AC/DC"]
assert {told[3][name] for name in ("tinytag", "eyed3", "MediaInfo")} == {"Anna/AC/DC"}
PY
