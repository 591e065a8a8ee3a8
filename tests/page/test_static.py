"""What the page is made of: small, as published, from here alone, and off by one setting."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import shutil
from pathlib import Path
from typing import get_args

import grpc
import pytest

from bentos.recommender import roles
from bentos.recommender.inside import REPORTS, STATIC
from bentos.recommender.recsys_v1 import recommender_pb2 as pb
from recsys.events import KINDS, SEARCH
from recsys.features.evidence import GROUPS
from recsys.lake import Lake
from recsys.policy.filters import FILTERS
from recsys.policy.shelves import SHELVES
from recsys.retrieval.sources import SOURCES
from recsys.serving.schema import Rung
from tests.serving.running import Service, serving
from tests.serving.world import World

MOST = 60_000  # bytes gzipped, in all
KEYS = {role: f"{role}-key-of-the-tests" for role in ("events", "recommend", "inspect", "admin")}


def test_every_vendored_file_is_as_published() -> None:
    table = (STATIC / "vendor" / "README.md").read_text()
    named = re.findall(r"^\| `(\S+)` \| .* \| `([0-9a-f]{64})` \|$", table, re.M)
    assert sorted(name for name, _ in named) == sorted(path.name for path in (STATIC / "vendor").glob("*.js"))
    for name, published in named:
        content = (STATIC / "vendor" / name).read_bytes()
        if name == "hooks.js":
            assert content.count(b'from"./preact.js"') == 1
            content = content.replace(b'from"./preact.js"', b'from"preact"')
        assert hashlib.sha256(content).hexdigest() == published, name


def test_the_page_is_light_and_asks_nobody_else(service: Service) -> None:
    front = service.http.get("/")
    policy = front.headers["content-security-policy"]
    assert front.status_code == 200 and policy.startswith("default-src 'self';") and "unsafe" not in policy
    paths = [path for path in STATIC.rglob("*") if path.suffix in (".js", ".css", ".html", ".svg", ".json")]
    assert sum(len(gzip.compress(path.read_bytes())) for path in paths) < MOST
    for path in paths:
        text = re.sub(r"http://www\.w3\.org/\S+", "", path.read_text())
        if path.parent.name != "vendor":
            assert not re.search(r"https?://|//[a-z]+\.[a-z]+/|\beval\b|new Function|innerHTML|style=\"", text), (
                path.name
            )
    for path in sorted(STATIC.rglob("*.js")):
        told = service.http.get(f"/static/{path.relative_to(STATIC).as_posix()}")
        assert told.content == path.read_bytes() and told.headers["content-type"].startswith("text/javascript")
        again = service.http.get(told.url, headers={"if-none-match": told.headers["etag"]})
        assert again.status_code == 304 and again.content == b""
    for wrong in ("/static/../inside.py", "/static/%2e%2e/inside.py", "/static/none.js", "/reports/../registry"):
        assert service.http.get(wrong).status_code == 404


def test_every_language_has_every_word_with_the_same_names() -> None:
    english = json.loads((STATIC / "words" / "en.json").read_text())
    listed = re.search(r"LANGUAGES = \{(.*)\}", (STATIC / "words.js").read_text())
    assert listed is not None
    assert sorted(re.findall(r"(\w+):", listed.group(1))) == sorted(p.stem for p in (STATIC / "words").glob("*.json"))
    for name in ("de", "es", "fr"):
        other = json.loads((STATIC / "words" / f"{name}.json").read_text())
        assert {key: named(words) for key, words in other.items()} == {key: named(w) for key, w in english.items()}
        assert sum(other[key] == words for key, words in english.items()) < len(english) / 10, "not translated"


def test_every_word_that_the_page_asks_for_is_there_and_no_other() -> None:
    english = set(json.loads((STATIC / "words" / "en.json").read_text()))
    code = "".join(path.read_text() for path in STATIC.glob("*.js"))
    asked = set(re.findall(r"""\bt\("([^"]+)\"""", code)) | set(re.findall(r"""[(?:] ?"([a-z_]+\.[a-z_.]+)\"""", code))
    families = tuple(set(re.findall(r"\b(?:t|word)\(`([\w.]+)\$", code)))  # of names that the service gives
    assert asked - english == set()
    assert [key for key in sorted(english) if f'"{key}"' not in code and not key.startswith(families)] == []
    kinds = set(KINDS) - {SEARCH}
    given = {
        "unit": {shelf.unit for shelf in SHELVES.values()},
        "group": set(GROUPS),
        "filter": set(FILTERS),
        "many": kinds,
        "name": {*get_args(Rung), *SOURCES, "champion", "long_view"},
        "report": set(REPORTS),
    }
    assert [f"{of}.{name}" for of, names in given.items() for name in names if f"{of}.{name}" not in english] == []


def named(words: str) -> list[str]:
    return sorted(re.findall(r"\{(\w+)\}", words))


def test_a_key_opens_what_its_role_is_for(world: World, tmp_path: Path) -> None:
    keys = ",".join(f"{role}:{key}" for role, key in KEYS.items())
    calls = {
        "/recommend": ({"user_id": "u000001"}, "recommend"),
        "/events": ({"events": []}, "events"),
        "/inspect": ({"user_id": "u000001"}, "inspect"),
        "/find": ({"what": "users"}, "inspect"),
        "/item": ({"item_id": world.item_ids[0]}, "inspect"),
        "/rooms": ({}, "inspect"),
    }
    with serving(world, tmp_path, RECSYS_API_KEYS=keys) as service:
        for path, (body, needed) in calls.items():
            assert service.http.post(path, json=body).status_code == 401
            for role, key in KEYS.items():
                answer = service.http.post(path, json=body, headers={"authorization": f"Bearer {key}"})
                assert answer.status_code == (200 if role in (needed, "admin") else 403), (path, role)
                if answer.status_code == 403:
                    assert f"needs one for {needed} or admin" in answer.json()["error"]["message"]
        for role, status in (("inspect", 403), ("admin", 200)):
            metrics = service.http.get("/metrics", headers={"authorization": f"Bearer {KEYS[role]}"})
            assert metrics.status_code == status
        assert service.http.get("/").status_code == 200, "the page itself tells nothing of anybody"
        lines = [
            line
            for path in (world.settings.home / "audit" / "access").glob("*/*.jsonl")
            for line in path.read_text().splitlines()
        ]
    mine = hashlib.sha256(KEYS["inspect"].encode()).hexdigest()[:8]
    assert any(mine in line and '"call": "inspect"' in line for line in lines)
    assert not any("u000001" in line or KEYS["inspect"] in line for line in lines)


def test_a_bundle_that_cannot_be_read_is_said_and_takes_no_room_away(service: Service, world: World) -> None:
    broken = Lake(world.settings.home).registry / "bundles" / ("0" * 16)
    broken.mkdir()
    (broken / "manifest.json").write_text("no JSON")
    try:
        told = service.http.post("/rooms", json={})
        looked = service.http.post("/inspect", json={"user_id": "u000001", "bundle": broken.name})
    finally:
        shutil.rmtree(broken)
    assert told.status_code == 200 and f"the manifest of bundle {broken.name} is not readable" in told.json()["refused"]
    assert told.json()["versions"] == [] and told.json()["breakers"] and told.json()["shelves"]
    assert looked.status_code == 422 and "is not readable" in looked.json()["error"]["message"]
    assert service.http.post("/rooms", json={}).json()["refused"] is None


def test_one_setting_puts_it_away(world: World, tmp_path: Path) -> None:
    with serving(world, tmp_path, RECSYS_PAGE="false") as service:
        for path in ("/", "/static/app.js", "/reports/drift.html"):
            assert service.http.get(path).status_code == 404
        assert service.http.post("/inspect", json={"user_id": "u000001"}).status_code == 404
        assert service.http.post("/recommend", json={"user_id": "u000001"}).status_code == 200


def test_without_keys_another_machine_may_not_look() -> None:
    roles.require(None, "/inspect", "127.0.0.1")
    with pytest.raises(roles.Forbidden, match="RECSYS_API_KEYS=inspect:KEY"):
        roles.require(None, "/inspect", "10.0.0.7")
    roles.require(None, "/recommend", "10.0.0.7")


def test_grpc_tells_what_http_tells(service: Service, world: World) -> None:
    user = world.user_ids[7]
    over_http = service.http.post("/inspect", json={"user_id": user, "k": 4, "network": False}).json()
    context = pb.Context(at=over_http["as_of"])
    request = pb.InspectRequest(
        user_id=user, k=4, network=False, context=context, position=over_http["position"], item_ids=[world.item_ids[0]]
    )
    told = service.stub.Inspect(request)
    assert [i.item_id for i in told.items] == [str(i["item_id"]) for i in over_http["items"]]
    assert [list(i.contributions) for i in told.items] == [i["contributions"] for i in over_http["items"]]
    assert [c.score for c in told.candidates] == [c["score"] for c in over_http["candidates"]]
    assert [e.position for e in told.history] == [e["position"] for e in over_http["history"]]
    assert told.asked[0].item_id == world.item_ids[0] and len(told.items[0].values) == len(told.features)
    with pytest.raises(grpc.RpcError) as refused:
        service.stub.Inspect(pb.InspectRequest(request_id="0" * 32))
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "the served log keeps no request" in refused.value.details()
