"""What the settings say of Kafka is checked before anything begins: one line a fault, and no secret in it."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from bentos.recommender.dev_stream import Broker
from recsys.settings import Settings, SettingsError, from_environment
from recsys.stream.errors import StreamError
from recsys.stream.kafka import Kafka
from recsys_assets.check import report
from tests.stream.reading import kafka_of


@pytest.mark.parametrize(
    ("properties", "more", "words"),
    [
        ("bootstrap.servers={servers}\n", {"kafka_topic": "nowhere"}, "topic nowhere of Kafka at"),
        ("bootstrap.servers={servers}\n", {"kafka_rejected": "nowhere"}, "is not there: create it"),
        ("bootstrap.servers={servers}\n", {"kafka_served": "nowhere"}, "topic nowhere of Kafka at"),
        ("bootstrap.servers={servers}\n\nenable.auto.commit=true\n", {}, "line 3: enable.auto.commit is not yours"),
        ("bootstrap.servers={servers}\nno.such.thing=1\n", {}, 'No such configuration property: "no.such.thing"'),
        ("bootstrap.servers={servers}\nsasl.password=s3cr3t\nsecurity.protocol=s3cr3t\n", {}, "RECSYS_KAFKA: Invalid"),
        ("# nothing\ngroup.id=g\n", {}, "needs bootstrap.servers=host:port"),
        ("bootstrap.servers\n", {}, "line 1: give name=value"),
        ("group.id=g\ngroup.id=h\n", {}, "line 2: group.id stands there twice"),
        (None, {}, "No such file or directory"),
    ],
)
def test_what_is_wrong_with_a_cluster_is_one_line(
    broker: Broker, tmp_path: Path, properties: str | None, more: dict[str, str], words: str
) -> None:
    path = tmp_path / "kafka.properties"
    if properties is not None:
        path.write_text(properties.format(servers=broker.servers))
    given = {"kafka": path, "kafka_topic": kafka_of(broker).topic, **more}
    with pytest.raises(StreamError) as refused:
        Kafka.of(Settings.model_validate(given)).look()  # type: ignore[union-attr]
    assert words in str(refused.value) and "\n" not in str(refused.value) and "s3cr3t" not in str(refused.value)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"RECSYS_KAFKA": "/a"}, "a stream needs RECSYS_KAFKA, and"),
        ({"RECSYS_KAFKA_TOPIC": "events"}, "a stream needs RECSYS_KAFKA, and"),
        ({"RECSYS_KAFKA": "/a", "RECSYS_KAFKA_TOPIC": "no topic"}, "RECSYS_KAFKA_TOPIC=no topic"),
    ],
)
def test_settings_of_a_stream_belong_together(given: dict[str, str], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        from_environment(given)


def test_make_check_says_what_it_found(broker: Broker, tmp_path: Path) -> None:
    kafka, path = kafka_of(broker, partitions=2), tmp_path / "kafka.properties"
    path.write_text(f"bootstrap.servers={broker.servers}\nsasl.password=s3cr3t\n")
    settings = Settings(home=tmp_path, kafka=path, kafka_topic=kafka.topic, days=5, users=20)
    assert "s3cr3t" not in repr(Kafka.of(settings))
    said = io.StringIO()
    report(settings, Console(file=said, width=140))
    assert f"{broker.servers}: {kafka.topic} (2 partitions), {kafka.rejected} (1 partitions)" in said.getvalue()
