"""Steady traffic on a running service: requests come when they are due, whatever the answers take."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import re
import time
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, get_args
from urllib.parse import urlsplit

import aiohttp
import grpc
import numpy as np

from bentos.recommender.recsys_v1 import recommender_pb2 as pb
from bentos.recommender.recsys_v1 import recommender_pb2_grpc as pb_grpc
from recsys.serving.schema import Rung

TRANSPORT = (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, ConnectionError)
GONE = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}


@dataclass
class Answer:
    """One recommend: seconds since the start, milliseconds from when it was due, what came back."""

    at: float
    ms: float
    rung: str  # a rung, or the error
    bundle: str = ""
    tries: int = 1
    names: bool = False  # whether it names sources that are missing


@dataclass
class Traffic:
    """What happened so far."""

    url: str
    grpc: str
    users: Sequence[str]
    items: Sequence[str]
    grpc_share: float = 0.25
    answers: list[Answer] = field(default_factory=list)
    sent: set[str] = field(default_factory=set)  # event ids
    acknowledged: set[str] = field(default_factory=set)
    refused_events: int = 0
    began: float = field(default_factory=time.perf_counter)
    chance: random.Random = field(default_factory=lambda: random.Random(7))

    async def run(self, rate: float, events_a_second: float, seconds: float, *, steady: bool = False) -> None:
        """Recommends at `rate` a second (Poisson, or evenly spaced), and batches of five events beside them."""
        connector = aiohttp.TCPConnector(limit=64)
        timeout = aiohttp.ClientTimeout(total=30)
        async with (
            aiohttp.ClientSession(self.url, connector=connector, timeout=timeout) as http,
            _channels(self.grpc, 4) as stubs,
            asyncio.TaskGroup() as group,
        ):
            group.create_task(self._events(http, group, events_a_second / 5, seconds))
            due = start = time.perf_counter()
            while due < start + seconds:
                due += 1 / rate if steady else self.chance.expovariate(rate)
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
                user = self.chance.choice(self.users)
                if self.chance.random() < self.grpc_share:
                    group.create_task(self._over_grpc(self.chance.choice(stubs), user, due))
                else:
                    group.create_task(self._over_http(http, user, due))

    async def _over_http(self, http: aiohttp.ClientSession, user: str, due: float) -> None:
        body = {"user_id": user, "k": 10}
        for tries in (1, 2, 3):
            try:
                async with http.post("/recommend", json=body) as answer:
                    told = await answer.json()
                if answer.status == 200:
                    rung = told["rung"] if len(told["items"]) == 10 else "short"
                    self._note(due, rung, told["bundle"], tries, bool(told["missing"]))
                else:
                    self._note(due, f"{answer.status} {told['error']['code']}", "", tries)
                return
            except TRANSPORT as error:  # a worker that was killed takes its connections with it: ask again
                gone = error
        self._note(due, type(gone).__name__, "", tries)

    async def _over_grpc(self, stub: Any, user: str, due: float) -> None:
        for tries in (1, 2, 3):
            try:
                told = await stub.Recommend(pb.RecommendRequest(user_id=user, k=10), timeout=30)
                rung = told.rung if len(told.items) == 10 else "short"
                self._note(due, rung, told.bundle, tries, bool(told.missing))
                return
            except grpc.aio.AioRpcError as error:
                gone = error
                if error.code() not in GONE:
                    break
                await asyncio.sleep(0.05 * tries)
        self._note(due, gone.code().name, "", tries)

    async def _events(self, http: aiohttp.ClientSession, group: asyncio.TaskGroup, rate: float, seconds: float) -> None:
        due = start = time.perf_counter()
        while rate and due < start + seconds:
            due += 1 / rate
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            group.create_task(self._send_events(http))

    def five(self) -> list[dict[str, str]]:
        """What somebody does next."""
        kinds = ("impression", "impression", "click", "like", "long_view")
        user = self.chance.choice(self.users)
        return [
            {"event_id": uuid.uuid4().hex, "kind": kind, "user_id": user, "item_id": self.chance.choice(self.items)}
            for kind in kinds
        ]

    async def _send_events(self, http: aiohttp.ClientSession) -> None:
        events = self.five()
        self.sent.update(event["event_id"] for event in events)
        for _ in range(3):
            try:
                async with http.post("/events", json={"events": events}) as answer:
                    told = await answer.json()
                if answer.status == 200 and not told["rejected"]:
                    self.acknowledged.update(event["event_id"] for event in events)
                else:
                    self.refused_events += len(events)
                return
            except TRANSPORT:
                continue
        self.refused_events += len(events)

    def _note(self, due: float, rung: str, bundle: str, tries: int, names: bool = False) -> None:
        now = time.perf_counter()
        self.answers.append(Answer(now - self.began, (now - due) * 1e3, rung, bundle, tries, names))

    # -- afterwards ---------------------------------------------------------------------------------------------------

    def between(self, first: float, last: float) -> list[Answer]:
        """Answers of a stretch of time, in seconds since the start."""
        return [answer for answer in self.answers if first <= answer.at < last]

    @staticmethod
    def rungs(answers: Sequence[Answer]) -> Counter[str]:
        """How many of each."""
        return Counter(answer.rung for answer in answers)

    @staticmethod
    def failed(answers: Sequence[Answer]) -> list[Answer]:
        """Those that are no slate."""
        return [answer for answer in answers if answer.rung not in get_args(Rung)]

    @staticmethod
    def quantiles(answers: Sequence[Answer], *of: float) -> list[float]:
        """Of the milliseconds."""
        return np.percentile([answer.ms for answer in answers] or [0.0], of).tolist()


class _channels:
    """Several connections: one alone would stay with one worker."""

    def __init__(self, target: str, count: int) -> None:
        options = [("grpc.use_local_subchannel_pool", 1)]
        self._channels = [grpc.aio.insecure_channel(target, options=options) for _ in range(count)]

    async def __aenter__(self) -> list[Any]:
        return [pb_grpc.RecommenderStub(channel) for channel in self._channels]

    async def __aexit__(self, *_: object) -> None:
        for channel in self._channels:
            await channel.close()


async def capacity(url: str, users: Sequence[str], seconds: float = 10.0, clients: int = 16) -> float:
    """Recommends a second that so many clients get, each asking again as soon as it is answered.

    They speak HTTP over bare connections: a client library takes .5 ms of the same cores for each, a quarter of what
    the service does.
    """
    parts = urlsplit(url)
    answered = 0
    end = time.perf_counter() + seconds

    async def client(number: int) -> None:
        nonlocal answered
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        for n in itertools.count(number, clients):
            if time.perf_counter() > end:
                break
            body = json.dumps({"user_id": users[n % len(users)], "k": 10}).encode()
            head = f"POST /recommend HTTP/1.1\r\nhost: {parts.netloc}\r\ncontent-type: application/json\r\n"
            writer.write(head.encode() + b"content-length: %d\r\n\r\n" % len(body) + body)
            told = await reader.readuntil(b"\r\n\r\n")
            (length,) = re.findall(rb"\r\ncontent-length: (\d+)", told, re.IGNORECASE)
            await reader.readexactly(int(length))
            answered += told.startswith(b"HTTP/1.1 200")
        writer.close()

    await asyncio.gather(*map(client, range(clients)))
    return answered / seconds
