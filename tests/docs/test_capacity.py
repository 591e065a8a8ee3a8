"""`make plan`: the page is what the code says, more never takes less, and what is no size is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from recsys.capacity.page import SIZES, page
from recsys.capacity.plan import constants, plan
from recsys.capacity.simulation import simulate
from recsys_assets.plan import main

PAGE = Path(__file__).parents[2] / "docs" / "capacity.md"


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text() == page(), "run `make docs`"


def test_a_held_out_size_is_planned_within_a_fifth() -> None:
    rows = [line.split("|")[1:-1] for line in PAGE.read_text().split("## Held out")[1].splitlines() if "%" in line]
    assert len(rows) >= 7 and all(abs(float(row[-1].strip().rstrip("%"))) <= 20 for row in rows)


@pytest.mark.parametrize("name", ["users", "items", "events", "qps"])
def test_more_never_takes_less(name: str) -> None:
    of = constants()
    for size in SIZES[:3]:
        less, more = plan(size, of), plan(replace(size, **{name: 4 * getattr(size, name)}), of)
        for what in ("shards", "cores", "machines", "memory_gib", "disk_gib", "network_mbit"):
            assert getattr(more, what) >= getattr(less, what)


def test_a_lost_zone_leaves_room_and_hot_keys_lie_somewhere() -> None:
    of = constants()
    for size in SIZES:
        hour = simulate(size, plan(size, of), of)
        assert hour.zone_lost_busy < 0.8 and hour.hottest_shard >= 1 > hour.hottest_user > 0
        assert hour == simulate(size, plan(size, of), of)


def test_the_command_plans_the_largest_size_and_refuses_what_is_no_size(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["100_000_000", "10,000,000", "5000000000", "50000"]) == 0
    told = capsys.readouterr().out
    assert "shards" in told and "partitions" in told and "a lost zone" in told
    for given, words in (
        ([], "USERS="),
        (["1e6", "1", "1", "1"], "USERS=1e6"),
        (["10", "10", "-5", "1"], "EVENTS=-5"),
        (["10", "10", "10", "50001"], "QPS=50001: give a whole number from 1 to 50,000"),
        (["0", "10", "10", "5"], "USERS=0"),
    ):
        assert main(given) == 2
        told = capsys.readouterr().err
        assert words in told and told.count("\n") == 1
