"""The page at `/` and its calls: looking into requests, in a thread of their own, so that no slate waits for them."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, TypeVar

from bentos.recommender.calls import Overloaded, Starting, TooSlow
from bentos.recommender.gate import Caller
from bentos.recommender.rooms import RoomsResponse, rooms_of
from recsys.lake import Lake
from recsys.privacy.access import AccessLog
from recsys.privacy.border import Border
from recsys.registry import RegistryError
from recsys.serving.bundle import BundleRefused
from recsys.serving.course import Course
from recsys.serving.diff import DiffRequest, DiffResponse, differences
from recsys.serving.inspect import Inspector
from recsys.serving.inspected import InspectRequest, InspectResponse
from recsys.serving.pipeline import Recommender, Unavailable
from recsys.serving.rooms import FindRequest, FindResponse, ItemRequest, ItemResponse, Rooms, RoomsRequest
from recsys.serving.schema import BadRequest
from recsys.serving.served_log import latest
from recsys.settings import Settings
from recsys.store.sandbox import copied

STATIC: Final = Path(__file__).with_name("static")
TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".json": "application/json",
}
POLICY: Final = "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
HEADERS: Final = {"content-security-policy": POLICY, "referrer-policy": "no-referrer", "cache-control": "no-cache"}
# Reports are files of their own, with their styles, pictures and (Evidently's) scripts in them; they reach no one else.
REPORT_POLICY: Final = "default-src 'self' data: blob: 'unsafe-inline' 'unsafe-eval'; frame-ancestors 'none'"
REPORTS: Final = ("evaluation.html", "drift.html", "versions.html")
WAITING: Final = 8  # inspections at hand, one of them under way
SECONDS: Final = 20.0
DIFF_SECONDS: Final = 10.0  # in which a comparison of bundles begins requests: inspections wait for it
T = TypeVar("T")


class Inside:
    """What the page and its callers may ask. One inspection at a time."""

    def __init__(self, settings: Settings) -> None:
        self.is_on = settings.page
        self._settings = settings
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="inspect")
        self._waiting = 0
        self._opened: tuple[Recommender, Inspector, Rooms, AccessLog] | None = None

    def open(self, recommender: Recommender, inspector: Inspector) -> None:
        """Answer from now on."""
        home = self._settings.home
        access = AccessLog(home, inspector.border or Border.of(self._settings))
        self._opened = recommender, inspector, Rooms(inspector, home), access

    async def inspect(self, request: InspectRequest, course: Course, caller: Caller) -> InspectResponse:
        """See `Inspector.inspect`. Raises as it, and Starting, Overloaded, TooSlow."""
        _, inspector, _, _ = self._parts()

        def look() -> InspectResponse:
            answer = inspector.inspect(request, course)
            told = {"request": request.request_id} if request.request_id else {}
            self._note(caller, "inspect", copied(answer.user_id), id=course.request_id, **told)
            return answer

        return await self._run(look)

    async def find(self, request: FindRequest, course: Course, caller: Caller) -> FindResponse:
        """See `Rooms.find`."""
        rooms = self._parts()[2]

        def look() -> FindResponse:
            answer = rooms.find(request)
            if request.what != "items":
                self._note(caller, f"find {request.what}", None, id=course.request_id, rows=len(answer.rows))
            return answer

        return await self._run(look)

    async def item(self, request: ItemRequest, course: Course, caller: Caller) -> ItemResponse:
        """See `Rooms.item`."""
        rooms = self._parts()[2]
        return await self._run(lambda: rooms.item(request))

    async def diff(self, request: DiffRequest, course: Course, caller: Caller) -> DiffResponse:
        """See `recsys.serving.diff`."""
        inspector = self._parts()[1]

        def look() -> DiffResponse:
            try:
                logged = latest(inspector.served_log, request.latest)
                answer = differences(request, logged, inspector.store, inspector.bundle, DIFF_SECONDS)
            except (BundleRefused, RegistryError) as error:
                raise BadRequest(str(error)) from None
            self._note(caller, "diff", None, id=course.request_id, rows=len(logged))
            return answer

        return await self._run(look)

    async def rooms(self, request: RoomsRequest, course: Course, caller: Caller) -> RoomsResponse:
        """Shelves, versions, health."""
        recommender, inspector, _, _ = self._parts()
        return await self._run(lambda: rooms_of(self._settings, recommender, inspector))

    def report(self, name: str) -> bytes | None:
        """A report's file, None where there is none of that name."""
        path = Lake(self._settings.home).reports / name
        return path.read_bytes() if name in REPORTS and path.exists() else None

    def file(self, path: str) -> tuple[bytes, str, str] | None:
        """Bytes, content type and hash of one of the page's own files by its path; None for any other path."""
        return _FILES.get("index.html" if path == "/" else path.removeprefix("/static/"))

    def close(self) -> None:
        """Begin nothing more."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _parts(self) -> tuple[Recommender, Inspector, Rooms, AccessLog]:
        if self._opened is None:
            raise Starting("the recommender is starting: try again in a few seconds")
        return self._opened

    def _note(self, caller: Caller, call: str, user_id: str | None, **told: Any) -> None:
        try:
            self._parts()[3].note(
                time.time_ns() // 1_000_000, caller.key_id or caller.id.decode(), call, user_id, **told
            )
        except OSError as error:
            raise Unavailable(f"the access log cannot be written ({error.strerror}): free some disk") from None

    async def _run(self, work: Callable[[], T]) -> T:
        if self._waiting >= WAITING:
            raise Overloaded(f"{WAITING} inspections are waiting already: try again in some seconds")
        self._waiting += 1
        try:
            return await asyncio.wait_for(asyncio.get_running_loop().run_in_executor(self._pool, work), SECONDS)
        except TimeoutError:
            raise TooSlow(f"no answer within {SECONDS:.0f} s: try again") from None
        finally:
            self._waiting -= 1


def _files() -> dict[str, tuple[bytes, str, str]]:
    files = {}
    for path in sorted(STATIC.rglob("*")):
        if path.suffix in TYPES:
            content = path.read_bytes()
            digest = hashlib.sha256(content).hexdigest()[:16]
            files[path.relative_to(STATIC).as_posix()] = content, TYPES[path.suffix], f'"{digest}"'
    return files


_FILES: Final = _files()
