"""The registry: what is in it never changes, what does not fit never gets in, an alias is never half written."""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from recsys.experiments.record import ExperimentError
from recsys.registry import Facts, Registry, RegistryError

FACTS = Facts(
    features="f1",
    ranker_features="f1",
    tower="t1",
    index_tower="t1",
    collection="items__a",
    utc_offset_ms=0,
)


def parts(folder: Path, content: str = "one") -> Path:
    for name in (
        "query_tower/model.pt",
        "ranker/model.ubj",
        "ranker/meta.json",
        "items.parquet",
        "sources/sources.json",
    ):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{name} {content}")
    return folder


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "registry")


def three(registry: Registry, tmp_path: Path) -> list[str]:
    return [registry.register(parts(tmp_path / n, n), FACTS).bundle_id for n in ("one", "two", "three")]


def test_equal_content_is_one_bundle_and_any_changed_byte_or_fact_another(registry: Registry, tmp_path: Path) -> None:
    first = registry.register(parts(tmp_path / "a"), FACTS, metrics={"auc": 0.7}, lineage={"run": "r1"})
    again = registry.register(parts(tmp_path / "b"), FACTS, metrics={"auc": 0.9})
    other_bytes = registry.register(parts(tmp_path / "c", "two"), FACTS)
    other_fact = registry.register(parts(tmp_path / "d"), dataclasses.replace(FACTS, collection="items__b"))
    assert again == first
    assert again.metrics == {"auc": 0.7} and again.lineage == {"run": "r1"}
    assert len({first.bundle_id, other_bytes.bundle_id, other_fact.bundle_id}) == 3
    assert len(registry.bundles()) == 3


def test_a_registered_bundle_does_not_follow_its_source_folder(registry: Registry, tmp_path: Path) -> None:
    source = parts(tmp_path / "a")
    bundle = registry.register(source, FACTS)
    (source / "ranker/model.ubj").write_text("changed later")
    registry.verify(bundle)
    assert (bundle.path / "ranker/model.ubj").read_text() == "ranker/model.ubj one"


@pytest.mark.parametrize("part", ["query_tower/model.pt", "ranker/model.ubj", "items.parquet", "sources/sources.json"])
def test_a_folder_without_one_of_its_parts_is_refused(registry: Registry, tmp_path: Path, part: str) -> None:
    folder = parts(tmp_path / "a")
    (folder / part).unlink()
    if part.startswith("ranker"):
        (folder / "ranker/meta.json").unlink()
    with pytest.raises(RegistryError, match="lacks"):
        registry.register(folder, FACTS)
    assert registry.bundles() == []


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"ranker_features": "f0"}, "trained on features f0"),
        ({"index_tower": "t0"}, "embedded by tower t0"),
    ],
)
def test_parts_of_different_makes_are_refused(
    registry: Registry, tmp_path: Path, wrong: dict[str, str], message: str
) -> None:
    with pytest.raises(RegistryError, match=message):
        registry.register(parts(tmp_path / "a"), dataclasses.replace(FACTS, **wrong))


@pytest.mark.parametrize("damage", ["changed", "missing", "added", "manifest"])
def test_a_damaged_bundle_is_not_promoted_and_the_champion_stays(
    registry: Registry, tmp_path: Path, damage: str
) -> None:
    good, bad, _ = three(registry, tmp_path)
    registry.promote(good)
    path = registry.get(bad).path
    if damage == "changed":
        (path / "ranker/meta.json").chmod(0o644)
        (path / "ranker/meta.json").write_text("other")
    elif damage == "missing":
        (path / "ranker/meta.json").unlink()
    elif damage == "added":
        (path / "ranker/more.bin").write_text("more")
    else:
        manifest = json.loads((path / "manifest.json").read_text())
        manifest["facts"]["collection"] = "items__other"
        (path / "manifest.json").chmod(0o644)
        (path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(RegistryError, match=bad):
        registry.promote(bad)
    assert registry.alias_id() == good
    assert [row["bundle_id"] for row in registry.history()] == [good]


def test_a_bundle_of_features_the_store_does_not_hold_is_refused(registry: Registry, tmp_path: Path) -> None:
    bundle = registry.register(parts(tmp_path / "a"), FACTS)
    with pytest.raises(RegistryError, match="online store holds f2"):
        registry.promote(bundle.bundle_id, held="f2")
    assert registry.champion() is None
    registry.promote(bundle.bundle_id, held="f1")
    assert registry.champion() == bundle


def test_rollback_walks_back_through_what_was_champion_and_then_says_so(registry: Registry, tmp_path: Path) -> None:
    one, two, three_ = three(registry, tmp_path)
    for bundle in (one, two, two, three_):  # promoting the champion again is no change
        registry.promote(bundle, reason="gate passed")
    assert registry.rollback(reason="bad day").bundle_id == two
    assert registry.rollback().bundle_id == one
    with pytest.raises(RegistryError, match="no earlier champion"):
        registry.rollback()
    assert registry.alias_id() == one
    assert [(row["action"], row["from"], row["bundle_id"]) for row in registry.history()] == [
        ("promote", None, one),
        ("promote", one, two),
        ("promote", two, three_),
        ("rollback", three_, two),
        ("rollback", two, one),
    ]


def test_the_champion_is_in_use_however_often_others_are_tried(registry: Registry, tmp_path: Path) -> None:
    """What is in use keeps its collection in Milvus; five trials once cost the champion its own."""
    a, b, c = three(registry, tmp_path)
    registry.promote(a)
    for canary in (0.05, 0.1, 0.05, 0.2, 0.05):
        registry.try_out(b, canary=canary)
    assert registry.in_use(5) == {a, b}
    with pytest.raises(ExperimentError, match=f"experiment try-{b}-5 runs in layer bundles"):
        registry.try_out(c, canary=0.05)
    with pytest.raises(RegistryError, match="tried against a champion"):
        registry.try_out(a, canary=0.05)
    registry.promote(c)
    assert registry.in_use(1) == {a, b, c}
    assert registry.try_out(b) is None and registry.in_use(0) == {c}


def test_an_unknown_or_malformed_id_is_one_clear_line(registry: Registry, tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match="run `make run` first"):
        registry.promote("0123456789abcdef")
    with pytest.raises(RegistryError, match="is not a bundle id"):
        registry.get("../../etc")


@pytest.mark.parametrize("step", ["os.replace", "Registry._note"])
def test_a_promotion_killed_midway_is_the_old_champion_or_the_new_and_the_history_heals(
    registry: Registry, tmp_path: Path, step: str
) -> None:
    one, two, three_ = three(registry, tmp_path)
    registry.promote(one)
    child = textwrap.dedent(
        f"""
        import os, signal, sys
        from pathlib import Path
        from recsys.registry import Registry
        def die(*_):
            os.kill(os.getpid(), signal.SIGKILL)
        {step} = die
        Registry(Path(sys.argv[1])).promote(sys.argv[2])
        """
    )
    process = subprocess.run([sys.executable, "-c", child, str(registry.root), two], check=False, env=dict(os.environ))
    assert process.returncode == -signal.SIGKILL
    expected = one if step == "os.replace" else two
    assert registry.alias_id() == expected
    registry.verify(registry.champion())  # type: ignore[arg-type]
    assert registry.history()[-1]["bundle_id"] == expected
    registry.promote(three_)  # the dead writer's lock is gone
    lines = [json.loads(line) for line in (registry.root / "history.jsonl").read_text().splitlines()]
    assert [row["bundle_id"] for row in lines] == ([one, three_] if step == "os.replace" else [one, two, three_])
    assert registry.rollback().bundle_id == expected


def test_readers_never_see_half_an_alias_while_two_processes_promote(registry: Registry, tmp_path: Path) -> None:
    one, two, three_ = three(registry, tmp_path)
    registry.promote(one)
    child = (
        "import sys; from pathlib import Path; from recsys.registry import Registry\n"
        "for _ in range(25):\n"
        "    for b in sys.argv[2:]: Registry(Path(sys.argv[1])).promote(b)\n"
    )
    writers = [
        subprocess.Popen([sys.executable, "-c", child, str(registry.root), *pair])
        for pair in ((one, two), (two, three_))
    ]
    seen = set()
    while any(writer.poll() is None for writer in writers):
        seen.add(registry.alias_id())
    assert [writer.wait() for writer in writers] == [0, 0]
    assert seen <= {one, two, three_} and len(seen) > 1
    history = registry.history()
    assert [row["change"] for row in history] == list(range(1, len(history) + 1))
    assert all(a["bundle_id"] == b["from"] for a, b in itertools.pairwise(history))
