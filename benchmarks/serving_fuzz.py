"""Bad input from all sides: `make fuzz`, `python -m benchmarks.serving_fuzz [tries]`, on a home with a champion.

Schemathesis makes requests from the OpenAPI document, valid and invalid; JSON bodies are mutated byte by byte; protobuf
messages are made from their descriptors with hostile values, and their bytes are mutated too. Every answer must be one
of those that the documents name: no 5xx, no INTERNAL or UNKNOWN, no traceback in an answer or in the log.
"""

from __future__ import annotations

import itertools
import json
import random
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import grpc
import httpx
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from hypothesis import HealthCheck, Phase, given, seed, settings

from benchmarks.running import machine, running
from bentos.recommender.recsys_v1 import recommender_pb2 as pb
from recsys.settings import from_environment

TRIES: Final = 24_000
METHODS: Final[dict[str, type[Message]]] = {
    method.name: GetMessageClass(method.input_type) for method in pb.DESCRIPTOR.services_by_name["Recommender"].methods
}
GOOD_CODES: Final = {"OK", "INVALID_ARGUMENT", "RESOURCE_EXHAUSTED"}
TEXTS: Final = (
    "", "u", "i000001", "0", "-1", "feed", "click", "play", "video", "\x00", "\n", "\u202e", "é" * 70, "a" * 129,
    "a" * 5000, "../../etc/passwd", "' or 1=1 --", '{"a": 1}', "%s%n", "NaN", "\ud7ff", "💥",
)  # fmt: skip
NUMBERS: Final = (0, 1, -1, 10, 100, 101, 500, 2**31 - 1, -(2**31), 2**62, -(2**63), 2**63 - 1, 1_767_605_400_000)


@dataclass
class Tally:
    """What came of it."""

    tries: Counter[str] = field(default_factory=Counter)  # by kind
    answers: Counter[str] = field(default_factory=Counter)  # by status
    wrong: list[str] = field(default_factory=list)


def fuzz(url: str, target: str, tries: int, number: int = 1) -> Tally:
    """Try a running service; a quarter of the tries each by schemathesis, JSON bytes, messages and message bytes."""
    tally = Tally()
    of_schema(url, tries // 4, tally, number)
    of_bytes(url, tries // 4, tally, random.Random(number))
    of_messages(target, tries - 2 * (tries // 4), tally, random.Random(number + 1))
    return tally


def of_schema(url: str, tries: int, tally: Tally, number: int) -> None:
    """Requests by the OpenAPI document."""
    import schemathesis
    from schemathesis import GenerationMode

    with httpx.Client(base_url=url, timeout=30) as client:
        schema = schemathesis.openapi.from_dict(client.get("/openapi.json").json())
        operations = [each.ok() for each in schema.get_all_operations() if each.ok().method == "post"]
        modes = (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
        each = -(-tries // (len(operations) * len(modes)))
        for operation, mode in itertools.product(operations, modes):
            _by_schema(client, operation.as_strategy(generation_mode=mode), f"schema {mode.value}", each, tally, number)


def _by_schema(client: httpx.Client, cases: Any, kind: str, tries: int, tally: Tally, number: int) -> None:
    @seed(number)
    @settings(
        max_examples=tries,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.generate,),  # every answer is judged; none is made smaller
    )
    @given(cases)
    def run(case: Any) -> None:
        content = case.body if isinstance(case.body, bytes) else b""
        if isinstance(case.body, dict | list | str | int | float | bool | None):
            content = json.dumps(case.body).encode()
        headers = {"content-type": case.media_type or "application/json"}
        answer = client.request(case.method, case.formatted_path, content=content, headers=headers)
        _judge_http(kind, answer, content, tally)

    run()


def of_bytes(url: str, tries: int, tally: Tally, chance: random.Random) -> None:
    """Valid JSON bodies with some bytes changed, cut, doubled or put in."""
    bodies = {
        "/recommend": {
            "user_id": "u000001",
            "k": 5,
            "shelf": "feed",
            "context": {"device": "ios", "at": 1_767_605_400_000},
        },
        "/events": {"events": [{"event_id": "e", "kind": "click", "user_id": "u000001", "item_id": "i000001"}]},
        "/features": {"user_id": "u000001", "item_ids": ["i000001", 2]},
        "/items": {"items": [{"item_id": "fuzzed", "item_type": "video", "tags": ["a"], "published_at": 0}]},
    }
    types = (
        "application/json",
        "application/json; charset=utf-16",
        "text/plain",
        "",
        "multipart/form-data",
        "x/json",
    )
    with httpx.Client(base_url=url, timeout=30) as client:
        for _ in range(tries):
            path = chance.choice(list(bodies))
            content = mutated(json.dumps(bodies[path]).encode(), chance)
            headers = {"content-type": types[0] if chance.random() < 0.95 else chance.choice(types)}
            _judge_http("JSON bytes", client.post(path, content=content, headers=headers), content, tally)


def of_messages(target: str, tries: int, tally: Tally, chance: random.Random) -> None:
    """Messages with hostile values, every second one with its bytes mutated."""
    with grpc.insecure_channel(target, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        calls = {name: channel.unary_unary(f"/recsys.v1.Recommender/{name}") for name in METHODS}
        for n in range(tries):
            name = chance.choice(list(METHODS))
            content = message(METHODS[name](), chance).SerializeToString()
            if n % 2:
                content = mutated(content or b"\x08", chance)
            tally.tries["message bytes" if n % 2 else "messages"] += 1
            try:
                calls[name](content, timeout=30)
                code, words = "OK", ""
            except grpc.RpcError as error:
                code, words = error.code().name, error.details() or ""
            tally.answers[code] += 1
            if code not in GOOD_CODES or "Traceback" in words:
                tally.wrong.append(f"{name}: {code} {words:.200} for {content[:200]!r}")


def message(made: Message, chance: random.Random, depth: int = 0) -> Message:
    """Fill a message with values that hurt."""
    for descriptor in made.DESCRIPTOR.fields:
        if chance.random() < 0.25:
            continue
        many = descriptor.is_repeated
        count = chance.choice((0, 1, 1, 2, 3, 40)) if many else 1
        if many and depth == 0 and chance.random() < 0.01:
            count = 1_001
        for _ in range(count):
            if descriptor.message_type is not None:
                place = getattr(made, descriptor.name)
                message(place.add() if many else place, chance, depth + 1)
                continue
            kind = descriptor.cpp_type
            if kind == descriptor.CPPTYPE_STRING:
                value: Any = chance.choice(TEXTS)
            elif kind == descriptor.CPPTYPE_BOOL:
                value = chance.random() < 0.5
            elif kind == descriptor.CPPTYPE_INT32:
                value = max(-(2**31), min(2**31 - 1, chance.choice(NUMBERS)))
            else:
                value = chance.choice(NUMBERS)
            if many:
                getattr(made, descriptor.name).append(value)
            else:
                setattr(made, descriptor.name, value)
    return made


def mutated(content: bytes, chance: random.Random) -> bytes:
    """One to four changes: a byte flipped, removed, doubled or put in, an end cut off, a stretch repeated."""
    data = bytearray(content)
    changes: tuple[Callable[[int], Any], ...] = (
        lambda at: data.__setitem__(at, chance.randrange(256)),
        lambda at: data.__delitem__(at),
        lambda at: data.insert(at, chance.choice((0, 0x22, 0x2C, 0x5B, 0x7B, 0x7F, 0xFF))),
        lambda at: data.__delitem__(slice(at, None)),
        lambda at: data.extend(data[at : at + 16] * chance.choice((1, 2, 400))),
    )
    for _ in range(chance.randint(1, 4)):
        if data:
            chance.choice(changes)(chance.randrange(len(data)))
    return bytes(data)


def _judge_http(kind: str, answer: httpx.Response, content: bytes, tally: Tally) -> None:
    tally.tries[kind] += 1
    tally.answers[str(answer.status_code)] += 1
    wrong = answer.status_code >= 500 or "Traceback" in answer.text
    if answer.status_code >= 400 and not wrong:
        is_json = answer.headers.get("content-type") == "application/json"
        wrong = not is_json or set(answer.json().get("error", {})) != {"code", "message", "request_id"}
    if wrong:
        tally.wrong.append(f"{kind}: {answer.status_code} {answer.text:.200} for {content[:200]!r}")


def main(tries: int = TRIES) -> int:
    home = from_environment().home
    with running(home, workers=1, RECSYS_BUDGET_MS="10000") as service:
        tally = fuzz(service.url, service.grpc, tries)
        alive = httpx.get(f"{service.url}/readyz").status_code == 200
        log = service.log.read_text()
    print(f"{sum(tally.tries.values()):,} tries: " + ", ".join(f"{n:,} {kind}" for kind, n in tally.tries.items()))
    print("answers: " + ", ".join(f"{n:,} x {code}" for code, n in tally.answers.most_common()))
    for words in tally.wrong[:10]:
        print("WRONG", words)
    tracebacks = log.count("Traceback")
    print(f"{len(tally.wrong)} wrong, {tracebacks} tracebacks in the log, alive at the end: {alive}; {machine()}")
    return 0 if not tally.wrong and alive and not tracebacks else 1


if __name__ == "__main__":
    sys.exit(main(*(int(a) for a in sys.argv[1:])))
