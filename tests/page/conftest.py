"""A service over the small world, and Debian's Chromium before it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from recsys.retrieval.milvus_server import stop_milvus
from tests.serving.running import Service, serving
from tests.serving.world import World, make

CHROMIUM = shutil.which("chromium")


@pytest.fixture(scope="package")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    made = make(tmp_path_factory.mktemp("page") / "home")
    yield made
    stop_milvus(made.settings)


@pytest.fixture(scope="package")
def service(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serving(world, tmp_path_factory.mktemp("page-service")) as started:
        yield started


@contextmanager
def chromium() -> Iterator[Browser]:
    """While it is open, playwright's loop runs in this thread: nothing else may begin one."""
    if CHROMIUM is None:
        pytest.skip("needs Debian's Chromium on the PATH (apt-get install chromium)")
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    with chromium() as opened:
        yield opened


class Visit:
    """One reader's tab. What it complains of, and whom it asks, is held against it in the end."""

    def __init__(self, page: Page, base: str) -> None:
        self.page, self.base = page, base
        self.complaints: list[str] = []
        self.foreign: list[str] = []
        page.set_default_timeout(60_000)  # a busy machine may take 20 s for a first slate
        page.on("console", lambda m: self.complaints.append(m.text) if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda r: self.foreign.append(r.url) if not r.url.startswith(base) else None)

    def to(self, room: str) -> Page:
        self.page.goto(f"{self.base}/#/{room}")
        self.page.get_by_role("heading", level=1).wait_for()
        self.page.wait_for_load_state("networkidle")
        return self.page

    def choose(self, label: str, text: str, option: str) -> None:
        """Type into a search field and take what it finds."""
        self.page.get_by_label(label, exact=True).fill(text)
        self.page.locator("ul.found button", has_text=option).first.click()

    def cells(self, label: str, column: int) -> list[str]:
        """First lines of the cells of a column (0 first) of the table in the region of that label."""
        rows = self.page.locator(f'.scroll[aria-label="{label}"] > table > tbody > tr:not(.inner)')
        rows.first.wait_for()
        return [rows.nth(i).locator(":scope > td").nth(column).inner_text().split("\n")[0] for i in range(rows.count())]


@pytest.fixture
def visit(browser: Browser, service: Service) -> Iterator[Visit]:
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    visiting = Visit(context.new_page(), str(service.http.base_url))
    yield visiting
    context.close()
    assert visiting.complaints == [] and visiting.foreign == []
