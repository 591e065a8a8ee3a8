#!/usr/bin/env bash
# Expected: <itunes:explicit>true</itunes:explicit>, the value that the directory's rules ask for today, is explicit.
# Happens: feedparser knows the old words alone, in small letters: `yes` is True and `clean` is False. `true`, `Yes` and
# `false` are all None, as where the feed says nothing; its source says that None and False need not be told apart.
# podcastparser reads both generations.
# Matters: `if entry.itunes_explicit` lets every explicit episode of a modern feed through, to children too.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install --quiet --disable-pip-version-check --no-compile --only-binary :all: feedparser==6.0.14 podcastparser==0.6.11
cd "$work"
venv/bin/python - <<'PY'
import io
import importlib.metadata

import feedparser
import podcastparser

print("feedparser", feedparser.__version__, "podcastparser", importlib.metadata.version("podcastparser"))
FEED = """<?xml version="1.0" encoding="UTF-8"?>
<rss version="2.0" xmlns:itunes="http://www.itunes.com/dtds/podcast-1.0.dtd"><channel><title>Show</title>
<item><title>Episode</title><guid>1</guid><itunes:explicit>WORD</itunes:explicit>
<enclosure url="http://example.org/1.mp3" length="1" type="audio/mpeg"/></item></channel></rss>"""
told = {}
for word in ("yes", "Yes", "true", "false", "clean"):
    feed = FEED.replace("WORD", word)
    entry, episode = feedparser.parse(feed).entries[0], podcastparser.parse("http://example.org", io.BytesIO(feed.encode()))
    told[word] = entry["itunes_explicit"], episode["episodes"][0]["explicit"]
    print(f"{word:6} feedparser {told[word][0]}, podcastparser {told[word][1]}")
assert [told[w][0] for w in told] == [True, None, None, None, False]
assert [told[w][1] for w in told] == [True, True, True, False, False]
PY
