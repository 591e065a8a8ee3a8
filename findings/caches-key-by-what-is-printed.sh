#!/usr/bin/env bash
# Expected: a decorator that caches a function's results answers anew when an argument has another value.
# Happens: aiocache, dogpile.cache, Flask-Caching, cashews and fastapi-cache make the key of what an argument prints. numpy
# prints the first and the last three of more than 1,000 numbers, in eight digits: two vectors that part in between have
# one key, and the second gets the first one's result. dogpile.cache joins by spaces besides: ("new order", "live") is
# ("new", "order live"). cachier and diskcache look at the values.
# Matters: a cached score or search by embedding answers for another user. Vectors of 768 numbers are safe, those of 1,024
# or 1,536 are not: a larger model turns it on.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install --quiet --disable-pip-version-check --no-compile --only-binary :all: aiocache==0.12.3 dogpile.cache==1.5.0 Flask-Caching==2.5.1 cashews==7.6.0 fastapi-cache2==0.2.2 cachier==4.2.0 diskcache==5.6.3 numpy==2.4.6
cd "$work"
venv/bin/python -W ignore - <<'PY'
import asyncio
from importlib.metadata import version

import aiocache
import cachier
import cashews
import diskcache
import flask
import flask_caching
import numpy as np
from dogpile.cache import make_region
from fastapi_cache import FastAPICache
from fastapi_cache.backends.inmemory import InMemoryBackend
from fastapi_cache.decorator import cache as fastapi_cache

for name in ("aiocache", "dogpile.cache", "Flask-Caching", "cashews", "fastapi-cache2", "cachier", "diskcache"):
    print(name, version(name), end="  ")
print()


def total(vector):
    return float(vector.sum())


async def total_later(vector):
    return float(vector.sum())


region = make_region().configure("dogpile.cache.memory")
app = flask.Flask("scores")
pages = flask_caching.Cache(app, config={"CACHE_TYPE": "SimpleCache"})
cashews.cache.setup("mem://")
FastAPICache.init(InMemoryBackend())
plain = {
    "dogpile.cache": region.cache_on_arguments()(total),
    "Flask-Caching": pages.memoize()(total),
    "cachier": cachier.cachier(cache_dir="cachier")(total),
    "diskcache": diskcache.Cache("disk").memoize()(total),
}
later = {
    "aiocache": aiocache.cached()(total_later),
    "cashews": cashews.cache(ttl="1h")(total_later),
    "fastapi-cache2": fastapi_cache()(total_later),
}


async def ask(vectors):
    with app.app_context():
        told = {name: [cached(v) for v in vectors] for name, cached in plain.items()}
    return told | {name: [await cached(v) for v in vectors] for name, cached in later.items()}


for size in (768, 1024):
    zeros, hot = np.zeros(size), np.zeros(size)
    hot[100] = 1
    told = asyncio.run(ask((zeros, hot)))
    wrong = sorted(name for name, sums in told.items() if sums != [0, 1])
    print(f"{size} numbers: sums of 0 and 1 are mixed up by", wrong or "none")
    assert wrong == ([] if size == 768 else ["Flask-Caching", "aiocache", "cashews", "dogpile.cache", "fastapi-cache2"])


@region.cache_on_arguments()
def search(artist, album):
    return artist, album


print("dogpile.cache:", search("new order", "live"), "then", search("new", "order live"))
assert search("new", "order live") == ("new order", "live")
PY
