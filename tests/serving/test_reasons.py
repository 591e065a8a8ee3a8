"""A reason that names something of the person's own is true of them: every template is held to its evidence."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import numpy as np
import pytest

from recsys.events import HOUR_MS, KINDS
from recsys.serving.course import Course
from recsys.serving.inspect import Inspector
from recsys.serving.inspected import InspectRequest
from recsys.serving.opening import open_both
from recsys.serving.reasons import NEW_MS, OFTEN, SAID_OF, TEMPLATES, is_own
from tests.serving.world import World

Shown = list[tuple[dict[str, Any], str, int]]  # the person's history as it was read, a reason, the item's row


@pytest.fixture(scope="module")
def opened(world: World):  # type: ignore[no-untyped-def]
    both = open_both(world.settings, follow=False, logged=False, clock=lambda: world.simulator_end + HOUR_MS)
    yield both[1]
    both[0].close()


@pytest.fixture(scope="module")
def shown(world: World, opened: Inspector) -> Shown:
    """The slates of everybody with at least five engaged events, on two shelves."""
    rows_shown: Shown = []
    past = opened.store.past()
    for user in world.user_ids:
        for shelf in ("feed", "podcasts"):
            answer = opened.inspect(InspectRequest(user_id=user, shelf=shelf, network=False), Course())
            read = opened.store.read(user, [], answer.as_of)
            keys, kinds, _ = past.read(read.user_key, np.array([1]), answer.as_of).history.engaged().row(0)
            if len(keys) < 5:
                continue
            history = {"keys": keys, "kinds": kinds, "at": answer.as_of}
            rows = opened.bundles.current.catalogue.row
            rows_shown += [(history, item["reason"] or "", rows[str(item["item_id"])]) for item in answer.items]
    return rows_shown


def said(name: str, words: str) -> str | None:
    """What a template was filled with, None when these are the words of another."""
    pattern = re.escape(TEMPLATES["en"][name])
    hit = re.fullmatch(re.sub(r"\\{\w+\\}", "(.+)", pattern), words)
    return hit.group(1) if hit else None


def test_most_reasons_name_something_of_the_persons_own(shown: Shown) -> None:
    own = sum(is_own(words) for _, words, _ in shown)
    assert len(shown) > 500
    assert own / len(shown) >= 0.6, Counter(words for _, words, _ in shown).most_common(10)


def test_because_you_watched_names_what_they_did_and_whose_neighbour_it_is(shown: Shown, opened: Inspector) -> None:
    bundle = opened.bundles.current
    titles = bundle.items["title"].to_pylist()
    checked = 0
    for history, words, row in shown:
        for name in ("watched", "liked", "opened"):
            title = said(name, words)
            if title is None:
                continue
            kinds = [KINDS[kind] for kind, of in SAID_OF.items() if of == name]
            done = history["keys"][np.isin(history["kinds"], kinds)]
            sources = [r for r in bundle.retriever.rows(done).tolist() if titles[r] == title]
            assert any(row in bundle.retriever.data.neighbours[source] for source in sources), words
            checked += 1
    assert checked > 50


@pytest.mark.parametrize("name", ["creator", "new_from", "category"])
def test_what_they_watch_they_engaged_with(name: str, shown: Shown, opened: Inspector) -> None:
    bundle = opened.bundles.current
    columns = {"creator": "creator_id", "new_from": "creator_id", "category": "category"}
    of_items = bundle.items[columns[name]].to_pylist()
    checked = 0
    for history, words, row in shown:
        filled = said(name, words)
        if filled is None:
            continue
        checked += 1
        assert filled == of_items[row], words
        engaged = [of_items[r] for r in bundle.retriever.rows(history["keys"]).tolist()]
        assert engaged.count(filled) >= OFTEN, words
        published = int(bundle.catalogue.candidates.published_at[row])
        assert name != "new_from" or history["at"] - NEW_MS < published <= history["at"], words
    assert checked or name != "category"


def test_a_stranger_is_told_nothing_of_their_own(opened: Inspector) -> None:
    for request in (InspectRequest(user_id="never seen"), InspectRequest(user_id="u000001", consent=False)):
        answer = opened.inspect(request, Course())
        assert answer.items and not any(is_own(item["reason"] or "") for item in answer.items)
