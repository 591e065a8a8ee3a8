"""A reason that names something of the person's own is true of them: every template is held to its evidence."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from recsys.events import HOUR_MS, KINDS
from recsys.ranking.explain import OTHERWISE, PHRASES
from recsys.ranking.heuristics import RULES
from recsys.retrieval.sources import SOURCES
from recsys.serving import reasons
from recsys.serving.course import Course
from recsys.serving.inspect import Inspector
from recsys.serving.inspected import InspectRequest
from recsys.serving.opening import open_both
from recsys.serving.reasons import NEW_MS, OFTEN, SAID_OF, TEMPLATES, Reason, is_own, language_for
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
    pattern = re.escape(TEMPLATES["en"][f"own.{name}"])
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


OTHERS = sorted(set(TEMPLATES) - {"en"})


def names_in(template: str) -> list[str]:
    return sorted(name for _, name, _, _ in string.Formatter().parse(template) if name)


def test_whatever_gives_a_reason_has_its_template_and_no_template_is_nobodys() -> None:
    given = {phrase.key for phrase in PHRASES} | {OTHERWISE} | {rule.reason for rule in RULES.values()}
    given |= {f"source.{name}" for name in SOURCES} | {"source.other", "this_category"}
    given |= {f"own.{name}" for name in (*SAID_OF.values(), "new_from", "creator", "category")}
    assert given == set(TEMPLATES["en"])


@pytest.mark.parametrize("language", OTHERS)
def test_every_language_has_every_template_with_the_same_names(language: str) -> None:
    assert {"de", "es", "fr"} <= set(TEMPLATES)
    theirs = {key: names_in(words) for key, words in TEMPLATES[language].items()}
    assert theirs == {key: names_in(words) for key, words in TEMPLATES["en"].items()}
    same = [key for key, words in TEMPLATES[language].items() if words == TEMPLATES["en"][key]]
    assert same == [], "not translated"


@pytest.mark.parametrize("language", OTHERS)
def test_every_language_says_what_english_says_of_the_same_evidence(
    language: str, opened: Inspector, world: World
) -> None:
    """English is held to its evidence above; here each template of another language to that of English."""
    row_of, categories = opened.bundles.current.catalogue.row, opened.bundles.current.catalogue.category
    said_keys = Counter[str]()
    for user in world.user_ids[:30]:
        request = InspectRequest(user_id=user, network=False, k=20)
        english, theirs = (opened.inspect(request, Course(accept_language=of)).items for of in ("en", f"{language}-XX"))
        for one, other in zip(english, theirs, strict=True):
            category = categories[row_of[str(one["item_id"])]]
            told = list(templates_of(one["reason"] or "", category))
            assert other["reason"] in [Reason(key, filled).words(language, category) for key, filled in told], one
            said_keys.update(key for key, _ in told[:1])
    assert {"own.watched", "own.opened"} & set(said_keys) and len(said_keys) > 3


def templates_of(words: str, category: str | None) -> Iterator[tuple[str, dict[str, str]]]:
    """Each template that says these words in English, with what fills it."""
    for key, template in TEMPLATES["en"].items():
        [name] = names_in(template) or [""]
        pattern = re.escape(template)
        hit = re.fullmatch(pattern.replace(re.escape(f"{{{name}}}"), "(.+)") if name else pattern, words)
        if hit and (name != "category" or hit.group(1) in (category, "this category")):
            yield key, {name: hit.group(1)} if name and hit.group(1) != "this category" else {}


@pytest.mark.parametrize(
    ("said_by_request", "accepted", "language"),
    [
        (None, "", "en"), (None, "*", "en"), (None, "xx, yy;q=.5", "en"), (None, "fr-CH, fr;q=0.9, en;q=0.8", "fr"),
        (None, "en;q=0.1, de;q=0.9", "de"), (None, "es;q=0, de;q=0.2", "de"), (None, "de;q=much, es", "es"),
        ("de-AT", "fr", "de"), ("ja", "fr", "fr"), ("ja", "", "en"), ("ES", "", "es"),
    ],
)  # fmt: skip
def test_the_language_is_what_the_request_says_then_what_the_caller_reads(
    said_by_request: str | None, accepted: str, language: str
) -> None:
    assert language_for(said_by_request, accepted) == language


def test_a_missing_template_is_said_in_english_and_a_rankers_own_words_as_they_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    some = {key: words for key, words in TEMPLATES["de"].items() if key != "own.liked"}
    monkeypatch.setattr(reasons, "TEMPLATES", {**TEMPLATES, "de": some})
    assert Reason("own.liked", {"title": "{x}"}).words("de", None) == "because you liked {x}"
    assert Reason("own.category", {"category": "Jazz"}).words("de", "Rock") == "du siehst Jazz"
    assert Reason("feature.category_well").words("de", None) == "diese Kategorie läuft gerade gut"
    assert Reason("newest {first}").words("de", None) == "newest {first}"
    assert Reason("source.none_such").words("de", None) == TEMPLATES["de"]["source.other"]
