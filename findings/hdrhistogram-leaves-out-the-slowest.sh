#!/usr/bin/env bash
# Expected: HdrHistogram counts an answer slower than its range as its largest value, or raises.
# Happens: `record_value` of the Python package returns False and counts nothing. Percentiles, maximum and count are those of
# the answers that were fast enough. The range of 60 seconds ends at 65.535.
# Matters: the slowest requests are what p99 is for: 2 % of them at 70 seconds leave it at .1.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install --quiet --disable-pip-version-check --no-compile --only-binary :all: hdrhistogram==0.10.8
cd "$work"
venv/bin/python - <<'PY'
import importlib.metadata
import warnings

from hdrh.histogram import HdrHistogram

print("hdrhistogram", importlib.metadata.version("hdrhistogram"))
latencies = HdrHistogram(1, 60_000, 3)  # ms
with warnings.catch_warnings():
    warnings.simplefilter("error")
    taken = [latencies.record_value(ms) for ms in [100] * 980 + [70_000] * 20]
p99, p100 = latencies.get_value_at_percentile(99), latencies.get_value_at_percentile(100)
print(f"980 answers of 100 ms and 20 of 70 s: counted {latencies.get_total_count()}, p99 {p99} ms, largest {latencies.get_max_value()} ms")
assert taken == [True] * 980 + [False] * 20
assert latencies.get_total_count() == 980 and p99 == p100 == latencies.get_max_value() == 100
wide = HdrHistogram(1, 60_000, 3)
assert wide.record_value(65_535) and not wide.record_value(65_536)
PY
