"""Opens the dashboard in Debian's Chromium."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from playwright.sync_api import Browser, Page, expect, sync_playwright

from taximeter.dashboard.server import Server


@contextmanager
def browser() -> Iterator[Browser]:
    """Run a browser until the block ends."""
    found = shutil.which("chromium")
    assert found, "this test needs Debian's package chromium, which .ci/run installs"
    with sync_playwright() as tools:
        running = tools.chromium.launch(
            executable_path=found, args=["--no-sandbox", "--host-resolver-rules=MAP evil.example 127.0.0.1"]
        )
        yield running
        running.close()


@contextmanager
def visits(chromium: Browser, server: Server) -> Iterator[Callable[..., Page]]:
    """Yield a function that opens the page in a new context. At the end, the browser must have had nothing to complain of."""
    opened, said = [], []

    def open_page(query: str = "", width: int = 1280, scheme: str = "light", at: Server | None = None) -> Page:
        context = chromium.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, locale="en-GB", timezone_id="UTC"
        )
        page = context.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on(
            "request", lambda request: said.append(request.url) if urlsplit(request.url).hostname not in {"127.0.0.1", None} else None
        )
        page.goto((at or server).address() + query)
        ready(page)
        opened.append(context)
        return page

    open_page.said = said
    yield open_page
    for context in opened:
        context.close()
    assert said == []


def ready(page: Page) -> None:
    """Wait until every panel is filled."""
    expect(page.locator("html[data-ready]")).to_be_attached()
    expect(page.locator("#panels.loading")).to_have_count(0)


def changed(page: Page, action) -> None:
    """Do what changes the address, and wait for the new figures."""
    before = page.locator("html").get_attribute("data-ready")
    action()
    expect(page.locator(f'html[data-ready="{before}"]')).to_have_count(0)
    ready(page)


def see(page: Page, *, is_hidden: bool) -> None:
    """Tell the page that its tab is in the background, or is seen again."""
    page.evaluate(
        "(is) => { Object.defineProperty(document, 'hidden', { value: is, configurable: true });"
        " document.dispatchEvent(new Event('visibilitychange')); }",
        is_hidden,
    )
