"""No more is read of a candidate than it is chosen by. What the shown are read with fits that, or all is read again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from recsys.events import ITEM_SCHEMA
from recsys.features import catalog
from recsys.lake import Lake
from recsys.policy.exploration import Explorer
from recsys.registry import Registry
from recsys.serving.breakers import Breakers
from recsys.serving.bundle import ServingBundle, load
from recsys.serving.course import Course
from recsys.serving.replay import AsRead
from recsys.serving.scene import Scene
from recsys.serving.steps import PARTS, Slate, Steps
from recsys.store.online import OnlineStore
from recsys.store.past import Read
from tests.serving.world import World

K = 10


@pytest.fixture(scope="module")
def bundle(world: World) -> ServingBundle:
    """The blend, whose factors order: they read no aggregate of a candidate."""
    return load(world.other, None, catalog.FINGERPRINT, Registry(Lake(world.settings.home).registry))


class Busy:
    """The store, in whose log something comes after the read of the candidates."""

    def __init__(self, store: OnlineStore, between: Callable[[], object]) -> None:
        self._store, self._between = store, between
        self.readings: list[Read] = []
        self.places: list[tuple[int, ...] | None] = []

    def read(self, *arguments: Any, **named: Any) -> Read:
        self.readings.append(self._store.read(*arguments, **named))
        self.places.append(named.get("places"))
        if len(self.readings) == 2:
            self._between()
        return self.readings[-1]


def answered(steps: Steps, bundle: ServingBundle, scene: Scene, name: str, sparing: bool = True) -> Slate:
    course = Course(name)
    slate = steps.slate(bundle, scene, steps.rank(bundle, scene, course, sparing=sparing), K, course)
    assert slate.rung == "full" and slate.predictions is not None, course.down
    return slate


def told(slate: Slate) -> tuple[bytes, ...]:
    arrays = (slate.pool.rows, slate.scores, slate.features, slate.drawn.propensity, *slate.predictions.values())  # type: ignore[union-attr]
    return (*(np.asarray(array).tobytes() for array in arrays), repr((slate.reasons, slate.causes)).encode())


def explored(explorer: Explorer, scene: Scene) -> Iterator[str]:
    """Names of requests of which a place explores."""
    assert scene.shelf.explores is not None
    for number in range(100):
        if explorer.places(scene.shelf.explores, K, f"request {number}"):
            yield f"request {number}"


def test_a_slate_is_what_it_is_where_all_is_read_of_every_candidate(
    store: OnlineStore, bundle: ServingBundle, world: World
) -> None:
    explorer = Explorer(b"1" * 32)
    for number, user in enumerate([*world.user_ids[:20], "nobody"]):
        scene = Scene.at_shelf(bundle, user, world.simulator_end)
        busy: Any = Busy(store, lambda: None)
        steps = [Steps(part, Breakers(PARTS), explorer) for part in (busy, store)]
        ours = answered(steps[0], bundle, scene, f"r{number}")
        whole = answered(steps[1], bundle, scene, f"r{number}", sparing=False)
        assert told(ours) == told(whole)
        explores = ours.drawn.policy != "ranked" and explorer.places(scene.shelf.explores, K, f"r{number}")  # type: ignore[arg-type]
        assert len(busy.readings) == 3 and busy.places[1] is not None and busy.places[2] is None
        candidates, shown = (len(busy.readings[place].item_keys) for place in (1, 2))
        assert candidates > shown and (shown > K) == bool(explores), "and all that may be drawn"


@pytest.mark.parametrize("what", ["nothing of theirs", "their own", "an item", "while a place explores"])
def test_what_comes_between_the_candidates_and_the_shown_is_no_part_of_a_slate_or_all_of_it(
    store: OnlineStore, bundle: ServingBundle, world: World, what: str
) -> None:
    explorer = Explorer(b"1" * 32)
    user = world.user_ids[7]
    scene = Scene.at_shelf(bundle, user, world.simulator_end)
    name = next(explored(explorer, scene)) if what == "while a place explores" else "plain"
    explorers = explorer if what == "while a place explores" else None
    event = {"event_id": f"between {what}", "kind": "impression", "item_id": world.item_ids[0]}
    event |= {"user_id": user if what == "their own" else world.user_ids[8], "occurred_at": world.simulator_end}

    def between() -> None:
        if what == "an item":
            row = store.known_items([world.item_ids[1]])[world.item_ids[1]]
            store.put_items(pa.Table.from_pylist([{**row, "title": "Another"}], schema=ITEM_SCHEMA), 1)
        else:
            assert store.append([event], world.simulator_end).accepted

    busy: Any = Busy(store, between)
    slate = answered(Steps(busy, Breakers(PARTS), explorers), bundle, scene, name)
    positions = [read.position for read in busy.readings]
    assert positions[2] > positions[1]
    assert len(positions) == (3 if what in ("nothing of theirs", "while a place explores") else 5)
    assert slate.position == positions[-1]
    assert slate.history_position is not None
    then: Any = AsRead(store, [slate.history_position, slate.position])
    again = Steps(then, Breakers(PARTS), explorers)
    assert told(answered(again, bundle, scene, name, sparing=False)) == told(slate)
