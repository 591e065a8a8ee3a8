"""The calls as both fronts make them: off the event loop, inside their time, no more at once than fits in it.

A recommend that is not done when most of its time is gone is answered from memory instead (the core's `fallback`). The
thread that still works on it is left behind, and another takes its place, up to STUCK of them. A recommend that would
wait so long for its turn is answered from memory at once. What is too much for memory is refused, so that an overloaded
worker goes on answering. A call whose caller hung up is not begun.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from typing import Any, Final, TypeVar

from bentos.recommender.hands import Hands
from recsys.serving.course import Course
from recsys.serving.pipeline import FeatureRows, Recommender
from recsys.serving.schema import (
    BadRequest,
    BlockRequest,
    BlockResponse,
    BlocksRequest,
    BlocksResponse,
    EventsRequest,
    EventsResponse,
    FeaturesRequest,
    ItemsRequest,
    ItemsResponse,
    RecommendRequest,
    RecommendResponse,
)
from recsys.store.sandbox import is_sandbox

THREADS: Final = 4  # scoring frees the GIL; more threads than cores only queue elsewhere
STUCK: Final = 32  # threads that may hang in a part that does not answer; its breaker opens after five
IN_FLIGHT: Final = 256  # however fast they are answered
SECONDS: Final = 10.0  # for a call without a fallback
BATCH_SECONDS: Final = 30.0  # for a batch, whose slates of the past come one after the other
FALLBACKS: Final = 16  # answers from memory under way; beyond this refuse
FALL_BACK_AT: Final = 0.8  # of a recommend's time; the fallback takes a few milliseconds
PAST: Final = 4  # requests about the past at hand, one of them under way: the log itself may have to be read
T = TypeVar("T")


class Overloaded(RuntimeError):
    """Too many requests are being answered; try again shortly."""


class TooSlow(RuntimeError):
    """The answer took longer than its budget."""


class Starting(RuntimeError):
    """The worker has no recommender yet, or is going down."""


class Calls:
    """Runs the calls of one recommender in a small pool of threads.

    Args:
        budget: seconds a recommend has, from its arrival to its answer
    """

    def __init__(self, budget: float) -> None:
        self._budget = budget
        self._hands = Hands(2 * THREADS + STUCK, "recommend")
        self._reserve = ThreadPoolExecutor(max_workers=2, thread_name_prefix="fallback")
        self._permits = asyncio.Semaphore(THREADS)
        self._looking_back = asyncio.Semaphore(1)
        self._of_the_past = 0
        self._writing = asyncio.Semaphore(THREADS)  # of its own: a disk that hangs takes no thread from the slates
        self._recommender: Recommender | None = None
        self.in_flight = 0
        self._falling_back = 0
        self._reading = 0  # of those in flight, the ones that share the permits of slates
        self._pace = 0.0  # seconds between two answers while others wait, smoothed
        self._answered_at = 0.0

    def open(self, recommender: Recommender) -> None:
        self._recommender = recommender

    @property
    def is_open(self) -> bool:
        return self._recommender is not None

    @property
    def recommender(self) -> Recommender:
        if self._recommender is None:
            raise Starting("the recommender is starting: try again in a few seconds")
        return self._recommender

    async def recommend(self, request: RecommendRequest, course: Course) -> RecommendResponse:
        """A slate within the budget, on some rung; a request about the past may take its time.

        Raises:
            Starting, Overloaded, TooSlow: see there. Whatever the core raises passes through.
        """
        recommender = self.recommender
        if _takes_its_time(request):
            return await self._look_back(lambda: recommender.recommend(request, course), course)
        course.seconds = self._budget
        try:
            return await self._run(lambda: recommender.recommend(request, course), FALL_BACK_AT * self._budget)
        except TooSlow:
            recommender.gave_up(course)
            return await self._from_memory(request, course, "time")
        except Overloaded:
            if self._falling_back >= FALLBACKS:
                raise
            return await self._from_memory(request, course, "queue")

    async def batch(
        self,
        requests: Sequence[RecommendRequest],
        course: Course,
        tell: Callable[[RecommendResponse, Course], None],
    ) -> list[RecommendResponse]:
        """Several slates, each with its own time, rung and request id; `tell` is told each with its course.

        Those of the past come one after the other: twenty at once would be more than PAST, however often they came.

        Raises:
            As `recommend`, for the first that fails.
            TooSlow: all together took longer than BATCH_SECONDS.
        """
        turn = asyncio.Lock()

        async def one(place: int, request: RecommendRequest) -> RecommendResponse:
            own = Course(
                traceparent=course.traceparent,
                said_id=course.said_id,
                key_id=course.key_id,
                accept_language=course.accept_language,
            )
            try:
                async with turn if _takes_its_time(request) else nullcontext():
                    response = await self.recommend(request, own)
            except BadRequest as error:
                raise BadRequest(f"requests.{place}.{error}") from None
            tell(response, own)
            return response

        try:
            async with asyncio.timeout(BATCH_SECONDS), asyncio.TaskGroup() as group:
                tasks = [group.create_task(one(*asked)) for asked in enumerate(requests)]
        except* TimeoutError:
            raise TooSlow(f"no answer within {BATCH_SECONDS:g} s: try again with fewer") from None
        except* Exception as failed:
            raise failed.exceptions[0] from None
        return [task.result() for task in tasks]

    async def _from_memory(self, request: RecommendRequest, course: Course, why: str) -> RecommendResponse:
        again = Course(course.request_id, began=course.began, down=[why], accept_language=course.accept_language)
        fallback = self.recommender.fallback
        self._falling_back += 1
        try:
            answer = asyncio.get_running_loop().run_in_executor(self._reserve, fallback, request, again)
            response = await asyncio.wait_for(answer, SECONDS)
        except TimeoutError:
            raise TooSlow(f"no answer within {SECONDS:.0f} s: try again") from None
        finally:
            self._falling_back -= 1
        course.tell(again)
        return response

    async def events(self, request: EventsRequest, course: Course) -> EventsResponse:
        """See `Recommender.record_events`. Raises as `recommend`."""
        recommender = self.recommender
        return await self._write(lambda: recommender.record_events(request, course), course)

    async def items(self, request: ItemsRequest, course: Course) -> ItemsResponse:
        """See `Recommender.put_items`. Raises as `recommend`."""
        recommender = self.recommender
        return await self._write(lambda: recommender.put_items(request, course), course)

    async def block(self, request: BlockRequest, course: Course) -> BlockResponse:
        """See `Recommender.block`. Raises as `recommend`."""
        recommender = self.recommender
        return await self._write(lambda: recommender.block(request, course), course)

    async def features(self, request: FeaturesRequest, course: Course) -> FeatureRows:
        """See `Recommender.features`. Raises as `recommend`."""
        recommender = self.recommender
        if request.at is not None or is_sandbox(request.user_id):
            return await self._look_back(lambda: recommender.features(request, course), course)
        try:
            return await self._run(lambda: recommender.features(request, course), SECONDS)
        except TooSlow:
            recommender.gave_up(course)
            raise

    async def blocks(self, request: BlocksRequest, course: Course) -> BlocksResponse:
        """See `Recommender.blocks`. Raises as `recommend`."""
        recommender = self.recommender
        return await self._write(lambda: recommender.blocks(request, course), course)

    async def _look_back(self, call: Callable[[], T], course: Course) -> T:
        """One at a time, beside the slates of now and never in their places."""
        if self._of_the_past >= PAST:
            raise Overloaded(f"{PAST} requests about the past are being answered already: try again in some seconds")
        self._of_the_past += 1
        try:
            return await self._called(call, SECONDS, self._looking_back)
        except TooSlow:
            self.recommender.gave_up(course)
            raise
        finally:
            self._of_the_past -= 1

    async def _run(self, call: Callable[[], T], seconds: float) -> T:
        """`call()`, unless what is ahead of it takes longer than it has."""
        if self._reading > 2 * THREADS and self._reading * self._pace > seconds:
            raise Overloaded(f"{self._reading} requests are being answered already: try again in a second")
        self._reading += 1
        try:
            answer = await self._called(call, seconds, self._permits)
            self._keep_pace()
            return answer
        except TooSlow:
            self._answered_at = 0.0  # something hangs: that says nothing of the pace
            raise
        finally:
            self._reading -= 1

    async def _write(self, call: Callable[[], T], course: Course) -> T:
        try:
            return await self._called(call, SECONDS, self._writing)
        except TooSlow:
            self.recommender.gave_up(course)
            raise

    async def _called(self, call: Callable[[], T], seconds: float, permits: asyncio.Semaphore) -> T:
        if self.in_flight >= IN_FLIGHT:
            raise Overloaded(f"{self.in_flight} requests are being answered already: try again in a second")
        self.in_flight += 1
        loop, begun = asyncio.get_running_loop(), None
        try:
            async with asyncio.timeout(seconds) as time_is_up:
                await permits.acquire()
                begun = self._hands.begin(call)
                return await asyncio.shield(begun)
        except TimeoutError:
            raise TooSlow(f"no answer within {seconds:g} s: try again") from None
        except asyncio.CancelledError:  # the caller hung up: what was begun keeps its place while it lasts
            if begun is not None and not begun.done():
                _release_after(begun, permits, time_is_up.when() or loop.time())
                begun = None
            raise
        finally:
            self.in_flight -= 1
            if begun is not None:
                permits.release()

    def _keep_pace(self) -> None:
        """Smooth the time between two answers, while it says something: when others waited meanwhile."""
        now = time.perf_counter()
        if self._reading > THREADS and self._answered_at:
            self._pace += 0.05 * (now - self._answered_at - self._pace)
        self._answered_at = now if self._reading > 1 else 0.0

    def close(self) -> None:
        """Let go of the recommender. The fronts have answered what was begun by then."""
        self._hands.close()
        self._reserve.shutdown(wait=True)
        if self._recommender is not None:
            self._recommender.close()
            self._recommender = None


def _takes_its_time(request: RecommendRequest) -> bool:
    """Whether the log itself may have to be read: of the past, and by a copy of a user."""
    return request.context.at is not None or is_sandbox(request.user_id)


def _release_after(begun: asyncio.Future[Any], permits: asyncio.Semaphore, at: float) -> None:
    """Give the place back when the work ends, or at that time of the loop's clock at the latest."""
    held = [permits]

    def release(done: asyncio.Future[Any] | None = None) -> None:
        if done is not None and not done.cancelled():
            done.exception()  # nobody else asks for it
        if held:
            held.pop().release()

    begun.add_done_callback(release)
    asyncio.get_running_loop().call_at(at, release)
