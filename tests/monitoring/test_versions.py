"""Every bundle on one page: what the manifests, the aliases and the service say of it, and nothing else."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from recsys.monitoring.versions import markdown, versions, write
from recsys.registry import Registry
from tests.registry.test_registry import FACTS, parts


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "registry")


def register(registry: Registry, folder: Path, name: str, *, passed: bool, auc: float) -> str:
    lineage = {
        "kind": "blend",
        "cause": "drift",
        "code": "abc123",
        "days": {"2026-01-05": "x", "2026-01-07": "y"},
        "judged_on": ["2026-01-07", "2026-01-07"],
        "verdict": {"passed": passed, "reasons": [f"<b>{name}</b> of all gates"]},
    }
    return registry.register(parts(folder, name), FACTS, metrics={"auc_click": auc}, lineage=lineage).bundle_id


def test_each_bundle_has_its_origin_verdict_aliases_and_figures(registry: Registry, tmp_path: Path) -> None:
    one = register(registry, tmp_path / "a", "one", passed=True, auc=0.7)
    two = register(registry, tmp_path / "b", "two", passed=False, auc=0.6)
    old = registry.register(parts(tmp_path / "c", "old"), FACTS).bundle_id  # from before verdicts were noted
    registry.promote(one, reason="all gates hold")
    registry.promote(two, reason="by hand")
    registry.rollback(reason="it lost clicks")
    seen = pl.DataFrame({"bundle": [two, two, two, one], "click": [1, 0, 0, 1], "p_click": [0.5, 0.5, 0.2, 0.9]})
    rows = {row["bundle"]: row for row in versions(registry, seen).to_dicts()}
    assert set(rows) == {one, two, old}
    assert rows[one]["aliases"] == "champion" and rows[two]["aliases"] == ""
    assert [part.split(" 20")[0] for part in rows[one]["history"].split("; ")] == [
        "promote as champion",
        "rollback as champion",
    ]
    assert (rows[one]["passed"], rows[two]["passed"], rows[old]["passed"]) == (True, False, None)
    assert (rows[one]["kind"], rows[one]["first_day"], rows[one]["last_day"]) == ("blend", "2026-01-05", "2026-01-07")
    assert rows[one]["judged_on"] == "2026-01-07" and rows[one]["code"] == "abc123" and rows[one]["auc_click"] == 0.7
    assert rows[two]["impressions"] == 3 and rows[two]["clicks_an_impression"] == pytest.approx(1 / 3)
    assert rows[two]["promised"] == pytest.approx(0.4) and rows[old]["impressions"] == 0


def test_the_page_shows_every_bundle_newest_first_and_escapes_what_it_quotes(
    registry: Registry, tmp_path: Path
) -> None:
    ids = [register(registry, tmp_path / str(n), str(n), passed=n != 1, auc=0.6 + n / 100) for n in range(3)]
    registry.promote(ids[2])
    bundles = versions(registry)
    svg = write(tmp_path / "versions.html", bundles)
    page = (tmp_path / "versions.html").read_text()
    assert svg.startswith("<svg") and svg in page
    newest_first = bundles["bundle"].to_list()[::-1]
    assert [page.index(f"<td>{name}</td>") for name in newest_first] == sorted(
        page.index(f"<td>{name}</td>") for name in ids
    )
    assert "&lt;b&gt;" in page and "<b>" not in page and "refused" in page
    assert page.count("<tr class=champion>") == 1
    table = markdown(bundles, newest=2)
    assert table.count("\n") == 3 and newest_first[0] in table and newest_first[2] not in table


def test_an_empty_registry_has_a_page_too(registry: Registry, tmp_path: Path) -> None:
    bundles = versions(registry)
    assert bundles.height == 0 and write(tmp_path / "versions.html", bundles)
    assert "0 bundles" in (tmp_path / "versions.html").read_text()
