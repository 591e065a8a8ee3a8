#!/usr/bin/env bash
# Expected: a crawler detector that removes robots from a log of plays keeps the players that people listen with.
# Happens: crawlerdetect takes VLC, the podcast application Podcast Addict and whatever an application sends by okhttp or
# Dart, the usual clients of Android and Flutter, for crawlers. device-detector finds no robot among them, and both
# know Google's.
# Matters: the plays of one platform's own application leave the log, and with them the users who are most loyal; what is
# left says that Android is not used.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install --quiet --disable-pip-version-check --no-compile --only-binary :all: crawlerdetect==0.4.2 device-detector==6.5.1
cd "$work"
venv/bin/python - <<'PY'
import importlib.metadata
import logging

from crawlerdetect import CrawlerDetect
from device_detector import DeviceDetector

logging.disable(logging.CRITICAL)
print("crawlerdetect", importlib.metadata.version("crawlerdetect"), "device-detector", importlib.metadata.version("device-detector"))
AGENTS = {
    "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)": (True, True),
    "VLC/3.0.18 LibVLC/3.0.18": (True, False),
    "PodcastAddict/v5 (+https://podcastaddict.com/; Android podcast app)": (True, False),
    "okhttp/4.9.3": (True, False),
    "Dart/2.19 (dart:io)": (True, False),
    "Overcast/3.0 (+http://overcast.fm/; iOS podcast app)": (False, False),
    "AntennaPod/3.1.2": (False, False),
}
for agent, expected in AGENTS.items():
    told = CrawlerDetect().isCrawler(agent), DeviceDetector(agent).parse().is_bot()
    print(f"crawler to crawlerdetect {told[0]}, to device-detector {told[1]}: {agent}")
    assert told == expected
PY
