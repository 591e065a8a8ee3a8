#!/usr/bin/env bash
# Expected: a Bloom filter of rbloom says yes to an id that it was not told with the probability that was asked for.
# Happens: it goes by Python's `hash`, and two integers of one hash are one: -1 and -2, and any two that are 2^61 - 1 apart. With
# one id in a filter of a billionth, -1 brings -2, and every one of these strangers is seen, always. Text is not
# touched by it.
# Matters: where a log says -1 for unknown and -2 for logged out, what the one has seen the other is never shown.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install --quiet --disable-pip-version-check --no-compile --only-binary :all: rbloom==1.5.4
cd "$work"
venv/bin/python - <<'PY'
import importlib.metadata

from rbloom import Bloom

print("rbloom", importlib.metadata.version("rbloom"))
APART = 2**61 - 1
for told, asked in ((-1, -2), (7, 7 + APART), (7, 7 + 2 * APART), (-7, -7 - APART)):
    seen = Bloom(1_000, 1e-9)
    seen.add(told)
    print(f"told {told}: has {asked}? {asked in seen}")
    assert asked in seen and -(2**63) <= asked < 2**63
    assert not any(other in seen for other in range(10, 10_000))
both = Bloom(1_000, 1e-9)
both.update([str(-1), str(7)])
assert str(-2) not in both and str(7 + APART) not in both
ids = [7 + k * APART for k in range(4)]
four = Bloom(1_000, 1e-9)
four.update(ids)
print("four such ids are", round(four.approx_items, 1), "by approx_items")
assert round(four.approx_items) == 1
PY
