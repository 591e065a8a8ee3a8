#!/usr/bin/env bash
# Expected: a NaN that is observed by a histogram or summary of prometheus_client is dropped, refused, or counted in +Inf.
# Happens: it lands in no bucket and is not counted by the histogram, but its sum is NaN from then on, until the process ends:
# rate(sum) / rate(count) is NaN. A summary counts it as well. OpenTelemetry's histogram leaves it out and warns.
# Matters: one score of 0/0 ends a service's chart of means, and the count, which looks healthy, hides when it was.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install --quiet --disable-pip-version-check --no-compile --only-binary :all: prometheus-client==0.26.0 opentelemetry-sdk==1.45.2
cd "$work"
venv/bin/python - <<'PY'
import importlib.metadata
import math

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from prometheus_client import CollectorRegistry, Histogram, Summary

print("prometheus_client", importlib.metadata.version("prometheus_client"), "opentelemetry-sdk", importlib.metadata.version("opentelemetry-sdk"))
VALUES = [0.05, math.nan, 0.5]
registry, reader = CollectorRegistry(), InMemoryMetricReader()
histogram = Histogram("score", "of items", registry=registry, buckets=(0.1, 1))
summary = Summary("weight", "of items", registry=registry)
theirs = MeterProvider([reader]).get_meter("m").create_histogram("score", explicit_bucket_boundaries_advisory=[0.1, 1])
for value in VALUES:
    histogram.observe(value)
    summary.observe(value)
    theirs.record(value)
for name in ("score_bucket", "score_count", "score_sum", "weight_count", "weight_sum"):
    label = {"le": "+Inf"} if name.endswith("bucket") else {}
    print(name, registry.get_sample_value(name, label))
assert registry.get_sample_value("score_bucket", {"le": "+Inf"}) == registry.get_sample_value("score_count") == 2
assert math.isnan(registry.get_sample_value("score_sum"))
assert registry.get_sample_value("weight_count") == 3 and math.isnan(registry.get_sample_value("weight_sum"))
for value in range(1_000):
    histogram.observe(value)
assert math.isnan(registry.get_sample_value("score_sum")), "a thousand observations later"
(point,) = reader.get_metrics_data().resource_metrics[0].scope_metrics[0].metrics[0].data.data_points
print("OpenTelemetry: count", point.count, "sum", point.sum)
assert point.count == 2 and math.isclose(point.sum, 0.55)
PY
