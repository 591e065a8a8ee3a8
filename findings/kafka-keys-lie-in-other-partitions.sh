#!/usr/bin/env bash
# Expected: a key has one partition, whoever sends it: that is what keys are for.
# Happens: confluent-kafka (librdkafka) takes CRC32 of the key unless it is told otherwise, kafka-python and the Java
# client murmur2. With four partitions three quarters of the users lie elsewhere. `partitioner=murmur2_random` makes
# both agree.
# Matters: a service in Python and an app's gateway in Java write one topic. The events of a user come from two
# partitions, out of order, and a join of two topics by partition finds a quarter of its pairs. Nothing fails.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install --quiet --disable-pip-version-check --no-compile --only-binary :all: confluent-kafka==2.16.1 kafka-python==3.0.12
cd "$work"
venv/bin/python - <<'PY'
import importlib.metadata
import logging

from confluent_kafka import Producer
from kafka.partitioner.default import murmur2

logging.disable()
PARTITIONS, USERS = 4, [f"user-{n}" for n in range(400)]


def sent(**options: str) -> dict[str, int]:
    """Where librdkafka's own broker, in this process, found each user's event."""
    found: dict[str, int] = {}
    producer = Producer({"bootstrap.servers": "none", "test.mock.num.brokers": 1, "log_level": 0, **options})
    for user in USERS:
        producer.produce("events", key=user, value=b"", on_delivery=lambda error, message: found.__setitem__(message.key().decode(), message.partition()))
    assert producer.flush(60) == 0 and len(found) == len(USERS)
    return found


print({name: importlib.metadata.version(name) for name in ("confluent-kafka", "kafka-python")})
java = {user: (murmur2(user.encode()) & 0x7FFFFFFF) % PARTITIONS for user in USERS}
usual, told = sent(), sent(partitioner="murmur2_random")
assert max(usual.values()) == max(told.values()) == PARTITIONS - 1
same = sum(usual[user] == java[user] for user in USERS)
print(f"{same} of {len(USERS)} users lie in one partition by both; with murmur2_random {sum(told[u] == java[u] for u in USERS)}")
assert 0.15 * len(USERS) < same < 0.35 * len(USERS)
assert told == java
PY
