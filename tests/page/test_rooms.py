"""A person in each room: searches, clicks, and reads the answer from the page."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Route, expect

from recsys.features.catalog import FEATURES
from recsys.lake import Lake
from recsys.registry import Registry
from recsys.serving import served_log
from tests.experiments.test_record import experiment
from tests.page.conftest import Visit
from tests.serving.running import Service, serving
from tests.serving.world import World

ROOMS = ("try", "what-if", "requests", "items", "shelves", "versions", "health")


def inspected(service: Service, **request: Any) -> dict[str, Any]:
    answer = service.http.post("/inspect", json=request)
    assert answer.status_code == 200, answer.text
    return answer.json()


def moment(visit: Visit) -> str:
    """The instant that the page proposes: where the log ends."""
    return visit.page.get_by_label("Moment (UTC)").input_value() + ":00Z"


@pytest.fixture(scope="module")
def keyed(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that asks for keys, whose users may have copies."""
    keys = "inspect:a-key-to-look-in-with,recommend:another-key-of-16,admin:a-key-for-everything"
    with serving(world, tmp_path_factory.mktemp("keyed"), RECSYS_API_KEYS=keys, RECSYS_SANDBOX="true") as started:
        yield started


def test_try_shows_what_somebody_gets_and_why(visit: Visit, service: Service, world: World) -> None:
    page, user = visit.to("try"), world.user_ids[1]
    visit.choose("User", "0001", user)
    page.get_by_role("button", name="Show the slate").click()
    titles = visit.cells("slate", 1)
    told = inspected(service, user_id=user, context={"at": moment(visit)})
    assert titles == [item["title"] for item in told["items"]] and len(titles) == 10
    page.get_by_role("button", name="Why").first.click()
    parts = visit.cells("parts of the score by group of features", 0)
    assert len(parts) >= 3
    page.get_by_role("button", name=f"All {len(FEATURES)} features").click()
    name = "user_clicks_log_all"
    page.get_by_role("button", name=f"Events behind {name}", exact=True).click()
    counted = page.locator("h3", has_text="user_clicks_count_all")
    expect(counted).to_be_visible()
    clicks = sum(e["kind"] == "click" for e in told["history"])
    assert f"from {clicks} events" in counted.inner_text() or len(told["history"]) == 128
    page.get_by_text("candidates and their sources").click()
    assert len(visit.cells("candidates by score", 0)) == 50
    page.locator("summary", has_text="left out").click()
    out = [d["title"] or str(d["item_id"]) for d in told["dropped"]]
    assert (visit.cells("left out", 0) if out else []) == out[:300]


def test_try_makes_somebody_up_and_sets_two_bundles_side_by_side(visit: Visit, world: World) -> None:
    page = visit.to("try")
    visit.choose("Somebody new, who taps on", "i000010", "i000010")
    page.get_by_label("What happens").select_option("like")
    visit.choose("Somebody new, who taps on", "i000011", "i000011")
    page.get_by_label("Beside it, bundle").select_option(world.other.bundle_id)
    page.get_by_label("Country").fill("de")
    page.get_by_label("Minutes from UTC").fill("120")
    with page.expect_request("**/inspect") as asked:
        page.get_by_role("button", name="Show the slate").click()
    said = asked.value.post_data_json["context"]
    assert (said["country"], said["utc_offset_minutes"]) == ("de", 120) and "language" not in said
    assert len(visit.cells("slate", 1)) == 10
    assert len(visit.cells(f"{world.other.bundle_id} against {world.champion.bundle_id}", 1)) == 10
    expect(page.get_by_text("of 10 items are in both")).to_be_visible()
    page.get_by_text("The person: 2 last events").click()
    assert [cell.removesuffix(" what if") for cell in visit.cells("last events", 1)] == ["like", "click"]


def test_what_if_changes_the_slate_and_writes_nothing(visit: Visit, service: Service, world: World) -> None:
    page, user = visit.to("what-if"), world.user_ids[2]
    before = service.http.get("/readyz").json()["position"]
    visit.choose("User", user, user)
    page.get_by_label("What happens").select_option("dislike")
    first = inspected(service, user_id=user, context={"at": moment(visit)})
    item = first["items"][0]  # what is disliked leaves the feed, so the slate changes for anybody
    visit.choose("On which item", item["item_id"], item["item_id"])
    page.get_by_role("button", name="Show before and after").click()
    told = visit.cells("before", 1)
    assert told == [i["title"] for i in first["items"]]
    after = inspected(
        service,
        user_id=user,
        context={"at": first["as_of"]},
        position=first["position"],
        events=[{"kind": "dislike", "item_id": item["item_id"]}],
    )
    assert visit.cells("after", 1) == [i["title"] for i in after["items"]]
    assert item["title"] in told and item["item_id"] not in [i["item_id"] for i in after["items"]]
    expect(page.get_by_role("button", name="Send it for real")).to_be_disabled()
    expect(page.get_by_text("Sending for real is off: RECSYS_SANDBOX=true")).to_be_visible()
    assert service.http.get("/readyz").json()["position"] == before


def test_a_real_send_changes_the_copys_slate_and_needs_the_right_key(
    browser: Browser, world: World, keyed: Service
) -> None:
    context, user, service = browser.new_context(), world.user_ids[1], keyed
    visit = Visit(context.new_page(), str(service.http.base_url))
    page, before = visit.to("what-if"), service.http.get("/readyz").json()["position"]
    for key, words in (
        ("a-key-to-look-in-with", "This key is for inspect, and this call needs one for events or admin."),
        ("a-key-for-everything", f"Events taken: 1. Both slates are those of sandbox:{user}."),
    ):
        page.evaluate(f"sessionStorage.setItem('key', '{key}')")
        page.reload()
        visit.to("what-if")
        service.http.headers["authorization"] = f"Bearer {key}"
        first = inspected(service, user_id=user, context={"at": moment(visit)})["items"]
        visit.choose("User", user, user)
        page.get_by_label("What happens").select_option("dislike")
        visit.choose("On which item", first[0]["item_id"], first[0]["item_id"])
        page.get_by_role("button", name="Send it for real").click()
        expect(page.get_by_text(words)).to_be_visible()
    assert visit.cells("before", 1) == [item["title"] for item in first]
    shown = service.http.post("/recommend", json={"user_id": f"sandbox:{user}", "context": {"at": moment(visit)}})
    after = [item["item_id"] for item in shown.json()["items"]]
    assert [cell.split()[0] for cell in visit.cells("after, with reasons", 0)] == [str(n + 1) for n in range(10)]
    assert first[0]["title"] in visit.cells("before", 1) and first[0]["item_id"] not in after
    titles = {item["item_id"]: item["title"] for item in inspected(service, user_id=user, item_ids=after)["asked"]}
    assert visit.cells("after", 1) == [titles[item_id] for item_id in after]
    assert service.http.get("/readyz").json()["position"] == before
    context.close()
    assert visit.foreign == []


def test_the_page_and_its_reasons_speak_the_chosen_language(browser: Browser, service: Service, world: World) -> None:
    context = browser.new_context(locale="fr-CH")
    visit = Visit(context.new_page(), str(service.http.base_url))
    page, user = visit.to("try"), world.user_ids[1]
    expect(page.get_by_role("heading", level=1, name="Essayer")).to_be_visible()
    page.get_by_label("Langue", exact=True).select_option("de")
    visit.choose("Nutzer", user, user)
    page.get_by_role("button", name="Empfehlungen zeigen").click()
    at = page.get_by_label("Zeitpunkt (UTC)").input_value() + ":00Z"
    answer = service.http.post(
        "/inspect", json={"user_id": user, "context": {"at": at}}, headers={"accept-language": "de-AT"}
    )
    assert visit.cells("Empfehlungen", 2) == [item["reason"] for item in answer.json()["items"]]
    assert any("weil du" in item["reason"] for item in answer.json()["items"])
    assert visit.cells("Empfehlungen", 6) == [f"{i['score']:.3f}".replace(".", ",") for i in answer.json()["items"]]
    asked = service.http.post("/recommend", json={"user_id": user, "context": {"language": "es-MX"}}).json()
    assert any(item["reason"].startswith(("porque", "ves", "de ")) for item in asked["items"])

    def lacking(route: Route) -> None:
        words = route.fetch().json()
        route.fulfill(json={key: word for key, word in words.items() if key != "try.lead"})

    page.route("**/words/de.json", lacking)
    page.reload()
    expect(page.get_by_text("Choose somebody, and see what they get")).to_be_visible()
    expect(page.get_by_role("link", name="Zustand")).to_be_visible()
    assert page.evaluate("document.documentElement.lang") == "de" and page.title() == "Ausprobieren · Empfehlungen"
    context.close()
    assert visit.complaints == [] and visit.foreign == []


@pytest.mark.parametrize("locale", ["de", "es", "fr"])
def test_other_languages_fit_a_phone(locale: str, browser: Browser, service: Service) -> None:
    context = browser.new_context(viewport={"width": 320, "height": 800}, locale=locale)
    visit, axe = Visit(context.new_page(), str(service.http.base_url)), Axe()
    for room in (*ROOMS, "items/i000071"):
        page = visit.to(room)
        checked = axe.run(page)
        assert checked.violations_count == 0, f"{room}: {checked.generate_report()}"
        assert page.evaluate("document.documentElement.scrollWidth") <= 320, f"{room} is wider than the screen"
    context.close()
    assert visit.complaints == [] and visit.foreign == []


def test_a_past_request_opens_to_the_bit_and_under_another_bundle(visit: Visit, service: Service, world: World) -> None:
    answer = service.http.post("/recommend", json={"user_id": world.user_ids[3], "k": 5}).json()
    page = visit.to("requests")
    page.locator("a.id", has_text=answer["request_id"]).click()
    expect(page.get_by_text("The same to the bit")).to_be_visible()
    assert visit.cells("as it was served", 3) == [f"{item['score']:.6f}" for item in answer["items"]]
    assert visit.cells("as it was served", 6) == ["same"] * 5
    assert int(page.get_by_text("Opened in").inner_text().split()[2]) < 5_000
    page.get_by_label("Bundle").select_option(world.other.bundle_id)
    assert len(visit.cells(f"{world.other.bundle_id} against then", 0)) == 5


def test_one_changed_bit_of_the_log_is_seen_on_the_page(visit: Visit, service: Service, world: World) -> None:
    answer = service.http.post("/recommend", json={"user_id": world.user_ids[4], "k": 3}).json()
    path = next(
        path
        for path in reversed(served_log.segments(Lake(world.settings.home).served_log))
        if answer["request_id"].encode() in path.read_bytes()
    )
    data = bytearray(path.read_bytes())
    at = data.rindex(answer["request_id"].encode())
    frame = struct.Struct("<II")
    place = len(served_log.MAGIC)
    while place + frame.size + frame.unpack_from(data, place)[0] < at:
        place += frame.size + frame.unpack_from(data, place)[0]
    length = frame.unpack_from(data, place)[0]
    end = place + frame.size + length
    data[end - 4] ^= 1  # the lowest bit of the last feature
    frame.pack_into(data, place, length, zlib.crc32(data[place + frame.size : end]))
    path.write_bytes(data)
    page = visit.to(f"requests/{answer['request_id']}")
    expect(page.get_by_text("It differs: features.")).to_be_visible()


def test_items_tells_all_about_one(visit: Visit, service: Service, world: World) -> None:
    page = visit.to("items")
    visit.choose("Item", "i000071", "i000071")
    told = service.http.post("/item", json={"item_id": "i000071"}).json()
    assert visit.cells("neighbours", 0) == [n["title"] for n in told["neighbours"]]
    by_day = [d for d in told["days"] if any(d["counts"].values())]
    assert visit.cells("counters by day", 1) == [f"{d['counts']['impression']:,}" for d in reversed(by_day)]
    page.get_by_role("region", name="neighbours").get_by_role("link").first.click()
    expect(page.get_by_role("heading", level=2, name=told["neighbours"][0]["title"])).to_be_visible()


def test_shelves_versions_and_health_read_as_they_are(visit: Visit, service: Service, world: World) -> None:
    page = visit.to("shelves")
    assert visit.cells("rules of the shelves", 0) == ["feed", "podcasts", "playlists", "shortcuts"]
    book = Registry(Lake(world.settings.home).registry).experiments
    book.start(experiment(name="tried", arms={"control": world.champion.bundle_id, "treatment": world.other.bundle_id}))
    book.end("tried", "stopped", ["of no more use"])
    page = visit.to("versions")
    told = [visit.cells("experiments", column)[0] for column in (0, 1, 2, 5)]
    assert told == ["tried", world.other.bundle_id, "stopped", "of no more use"]
    expect(page.get_by_text("No experiment runs.")).to_be_visible()
    shown = visit.cells("bundles, newest first", 0)
    assert [cell.split()[0] for cell in shown] == [world.other.bundle_id, world.champion.bundle_id]
    assert "champion" in shown[1] and "champion" not in shown[0]
    assert service.http.post("/recommend", json={"user_id": world.user_ids[1], "k": 5}).status_code == 200
    page.get_by_role("button", name="Show what would change").click()
    cohorts = visit.cells("what would change, by cohort", 0)
    both = {"bundle": world.other.bundle_id, "other": world.champion.bundle_id, "latest": 30}
    told = service.http.post("/diff", json=both).json()["cohorts"]
    assert cohorts == [cohort["cohort"] for cohort in told] and cohorts[0] == "all"
    assert visit.cells("what would change, by cohort", 2) == [f"{100 * cohort['same']:.1f} %" for cohort in told]
    page = visit.to("health")
    expect(page.get_by_text("Every part answers.")).to_be_visible()
    parts = service.http.post("/rooms", json={}).json()["breakers"]
    assert visit.cells("parts", 0) == list(parts)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 1280])
def test_axe_finds_nothing(width: int, theme: Any, browser: Browser, service: Service, world: World) -> None:
    answer = service.http.post("/recommend", json={"user_id": world.user_ids[5], "k": 4}).json()
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=theme)
    visit, axe = Visit(context.new_page(), str(service.http.base_url)), Axe()
    page = visit.page
    for room in (*ROOMS, f"requests/{answer['request_id']}", "items/i000071", "items/none-such"):
        visit.to(room)
        if room == "try":
            visit.choose("User", world.user_ids[1], world.user_ids[1])
            page.get_by_role("button", name="Show the slate").click()
            page.get_by_role("button", name="Why").first.click()
            for summary in page.locator("summary").all():
                summary.click()
        if room == "what-if":
            visit.choose("On which item", "i000010", "i000010")
            page.get_by_role("button", name="Show before and after").click()
            page.get_by_role("region", name="after", exact=True).wait_for()
        page.wait_for_load_state("networkidle")
        checked = axe.run(page)
        assert checked.violations_count == 0, f"{room}: {checked.generate_report()}"
        assert page.evaluate("document.documentElement.scrollWidth") <= width, f"{room} is wider than the screen"
    complaints = [words for words in visit.complaints if "422" not in words]  # the item that is not there
    context.close()
    assert complaints == [] and visit.foreign == []


def test_the_keyboard_alone_is_enough(visit: Visit, world: World) -> None:
    page = visit.to("try")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "To the room"
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.type(world.user_ids[2])
    page.locator("ul.found button").first.wait_for(timeout=60_000)  # a busy machine looks into one thing at a time
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Show the slate").focus()
    page.keyboard.press("Enter")
    assert len(visit.cells("slate", 0)) == 10
    page.get_by_role("button", name="Why").first.focus()
    page.keyboard.press("Enter")
    page.get_by_role("region", name="parts of the score by group of features").wait_for()
    page.get_by_role("link", name="Items").focus()
    page.keyboard.press("Enter")
    page.wait_for_function("document.activeElement.textContent === 'Items'")


@pytest.mark.parametrize(
    ("room", "words"),
    [
        ("requests/0123456789abcdef", "The served log keeps no request"),
        ("items/none-such", "has no item none-such"),
        ("nowhere", "Choose somebody"),
        ("items/%", "has no item %"),
    ],
)
def test_what_is_not_there_is_said_in_a_sentence(room: str, words: str, browser: Browser, service: Service) -> None:
    context = browser.new_context()
    visit = Visit(context.new_page(), str(service.http.base_url))
    expect(visit.to(room).get_by_text(words)).to_be_visible()
    visit.page.get_by_role("link", name="Health").click()
    expect(visit.page.get_by_text("Every part answers.")).to_be_visible()
    context.close()
    assert visit.foreign == []


def test_markup_in_a_title_is_text(visit: Visit, service: Service) -> None:
    title = "<img src=x onerror=document.title='broken'> & <b>bold</b>"
    item = {"item_id": "marked up", "item_type": "video", "title": title, "category": "cooking"}
    assert service.http.post("/items", json={"items": [item]}).status_code == 200
    for _ in range(50):
        if service.http.post("/item", json={"item_id": "marked up"}).status_code == 200:
            break
        visit.page.wait_for_timeout(200)
    page = visit.to("items/marked%20up")
    expect(page.get_by_role("heading", level=2, name=title)).to_be_visible()
    assert page.title() == "Items · Recommender" and page.locator("main img").count() == 0


def test_the_service_gone_while_the_page_is_open(browser: Browser, world: World, tmp_path: Path) -> None:
    context = browser.new_context()
    with serving(world, tmp_path) as service:
        visit = Visit(context.new_page(), str(service.http.base_url))
        page = visit.to("try")
        visit.choose("User", world.user_ids[1], world.user_ids[1])
    page.get_by_role("button", name="Show the slate").click()
    expect(page.get_by_text("The service does not answer. It may be restarting")).to_be_visible()
    page.get_by_role("link", name="Items").click()
    expect(page.get_by_role("heading", level=1, name="Items")).to_be_visible()
    context.close()


def test_a_key_is_asked_for_and_used(browser: Browser, world: World, keyed: Service) -> None:
    context = browser.new_context()
    visit = Visit(context.new_page(), str(keyed.http.base_url))
    page = visit.to("try")
    page.get_by_label("Key for looking in").fill("another-key-of-16")
    page.get_by_role("button", name="Look in").click()
    expect(page.get_by_text("This key is for recommend")).to_be_visible()
    page.get_by_label("Key for looking in").fill("a-key-to-look-in-with")
    page.get_by_role("button", name="Look in").click()
    visit.choose("User", world.user_ids[1], world.user_ids[1])
    page.get_by_role("button", name="Show the slate").click()
    assert len(visit.cells("slate", 0)) == 10
    context.close()
    assert json.dumps(visit.foreign) == "[]"
