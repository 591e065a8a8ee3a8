#!/usr/bin/env bash
# Expected: the time of a MovieLens rating tells when the film was seen, so a user's history in order of time is the
# order of watching, and a split by day leaves most users something on both sides.
# Happens: in MovieLens-100k it is the order in which a form was filled in. Half of the users gave all of their ratings,
# twenty at least, within less than an hour, and nine ratings of ten share their minute with another of the same user.
# Some lie before the film's release.
# Matters: sequence models learn the order of the form; recency, sessions and daily trends mean nothing there; a split by
# day makes most test users strangers.
set -euo pipefail
if [ -z "${RECSYS_MOVIELENS:-}" ]; then
  echo "skipped: RECSYS_MOVIELENS names no folder with u.data and u.item of MovieLens-100k"
  exit 0
fi
python3 - "$RECSYS_MOVIELENS" <<'PY'
import collections
import datetime
import statistics
import sys
from pathlib import Path

folder = Path(sys.argv[1])
released = {}
for line in (folder / "u.item").read_text("latin-1").splitlines():
    item, _, day = line.split("|")[:3]
    if day:
        released[item] = datetime.datetime.strptime(day, "%d-%b-%Y").replace(tzinfo=datetime.timezone.utc).timestamp()
seconds, before = collections.defaultdict(list), 0
for line in (folder / "u.data").read_text().splitlines():
    user, item, _, second = line.split()
    seconds[user].append(int(second))
    before += int(second) < released.get(item, 0)
rows = sum(map(len, seconds.values()))
spans = [max(times) - min(times) for times in seconds.values()]
days = sum(len({t // 86_400 for t in times}) == 1 for times in seconds.values()) / len(seconds)
minutes = [collections.Counter(t // 60 for t in times) for times in seconds.values()]
together = sum(n for counts in minutes for n in counts.values() if n > 1) / rows
median = statistics.median(spans) / 60
print(f"{rows} ratings of {len(seconds)} users, {before} before the film's release")
print(f"median span of a user {median:.0f} minutes; {days:.0%} of the users rate on one day alone")
print(f"{together:.1%} of the ratings share their minute with another of the user")
assert median < 60 and days > 0.5 and together > 0.9 and before > 0
PY
