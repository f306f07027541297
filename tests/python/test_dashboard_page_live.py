"""The page in a real Chromium while calls are made."""

from __future__ import annotations

import subprocess
import sys

import pytest
from playwright.sync_api import expect

import taximeter
from conftest import events_of, wait_for
from dashboard_browser import browser, see, visits
from dashboard_server import serving


@pytest.fixture(scope="module")
def server(dashboard_calls):
    with serving(dashboard_calls) as running:
        yield running


@pytest.fixture(scope="module")
def chromium():
    with browser() as one:
        yield one


@pytest.fixture
def visit(chromium, server):
    """Return a function that opens the page in a new context, and check at the end that the browser had nothing to complain of."""
    with visits(chromium, server) as open_page:
        yield open_page


def test_calls_appear_as_they_are_made(visit, tmp_path):
    meter = taximeter.Meter(state_dir=tmp_path)
    meter.track(provider="openai", model="gpt-4o", input_tokens=1)
    events_of(meter)
    with serving(meter.settings.ledger) as own:
        page = visit(at=own)
        page.keyboard.press("l")
        expect(page.locator("#live-button")).to_have_text("● live")
        for number in range(30):
            meter.track(provider="openai", model=f"live-{number}", input_tokens=1)
        expect(page.locator("#calls tbody tr")).to_have_count(31)
        assert "live-29" in page.locator("#calls tbody tr").first.inner_text()
        page.context.close()
    meter.close()


def test_a_hidden_page_asks_for_nothing_and_catches_up(visit, tmp_path):
    meter = taximeter.Meter(state_dir=tmp_path)
    meter.track(provider="openai", model="gpt-4o", input_tokens=1)
    events_of(meter)
    with serving(meter.settings.ledger) as own:
        own._dashboard._live.every = 0.02
        page = visit(at=own)
        page.keyboard.press("l")
        expect(page.locator("#live-button")).to_have_text("● live")
        see(page, is_hidden=True)
        # The stream ends at the server, too.
        places = own._dashboard._live.places
        wait_for(lambda: places._value == 16)
        for number in range(3):
            meter.track(provider="openai", model=f"missed-{number}", input_tokens=1)
        events_of(meter)
        expect(page.locator("#calls tbody tr")).to_have_count(1)
        see(page, is_hidden=False)
        expect(page.locator("#calls tbody tr").first).to_contain_text("missed-2")
        meter.track(provider="openai", model="live", input_tokens=1)
        expect(page.locator("#calls tbody tr").first).to_contain_text("live")
        expect(page.locator("#calls tbody tr")).to_have_count(5)
        page.keyboard.press("l")
        expect(page.locator("#live-button")).to_have_text("○ live")
        wait_for(lambda: places._value == 16)
        page.context.close()
    meter.close()


def test_new_calls_keep_the_focus_of_the_others(visit, tmp_path):
    meter = taximeter.Meter(state_dir=tmp_path)
    for number in range(3):
        meter.track(provider="openai", model=f"old-{number}", input_tokens=1)
    events_of(meter)
    with serving(meter.settings.ledger) as own:
        own._dashboard._live.every = 0.02
        page = visit(at=own)
        page.keyboard.press("l")
        expect(page.locator("#live-button")).to_have_text("● live")
        page.keyboard.press("j")
        page.keyboard.press("j")
        expect(page.locator("#calls tr:focus")).to_contain_text("old-1")
        meter.track(provider="openai", model="new", input_tokens=1)
        expect(page.locator("#calls tbody tr").first).to_contain_text("new")
        expect(page.locator("#calls tr:focus")).to_contain_text("old-1")
        page.keyboard.press("k")
        expect(page.locator("#calls tr:focus")).to_contain_text("old-2")
        page.context.close()
    meter.close()


MANY = """
import sys, taximeter
meter = taximeter.Meter(state_dir=sys.argv[1])
for number in range(1_000):
    meter.track(provider="openai", model="gpt-4o", input_tokens=number)
    if number == 400:
        meter.flush(60)
        input()
meter.close()
"""


def test_a_thousand_calls_of_another_process_arrive_once_and_in_order_across_a_reconnect(visit, tmp_path):
    meter = taximeter.Meter(state_dir=tmp_path)
    meter.track(provider="openai", model="gpt-4o", input_tokens=5_000)
    events_of(meter)
    meter.close()
    streams = []
    with serving(meter.settings.ledger) as own:
        live = own._dashboard._live
        live.every, opened = 0.02, live.open
        live.open = lambda *arguments: streams.append(opened(*arguments)) or streams[-1]
        page = visit(at=own)
        page.evaluate(
            "() => { window.got = []; window.source = new EventSource('/api/v1/live');"
            " source.onmessage = (event) => got.push(JSON.parse(event.data).input_tokens); }"
        )
        page.keyboard.press("l")
        wait_for(lambda: len(streams) == 2)
        process = subprocess.Popen([sys.executable, "-c", MANY, str(tmp_path)], stdin=subprocess.PIPE, text=True)
        expect(page.locator("#calls tbody tr").first).to_contain_text("400", timeout=30_000)
        # The streams end as those of a server that is started again. The browser connects anew, and goes on where it was.
        for stream in tuple(streams):
            stream._is_open = False
            live.places.release()
        process.communicate("\n", timeout=300)
        expect(page.locator("#calls tbody tr").first).to_contain_text("999", timeout=30_000)
        wait_for(lambda: page.evaluate("got.length") >= 1_000)
        assert page.evaluate("got") == list(range(1_000))
        assert len(streams) == 4
        shown = [row.split("\t")[3] for row in page.locator("#calls tbody tr").all_inner_texts()]
        assert shown == [f"{number}" for number in range(999, 799, -1)]
        page.context.close()
    visit.said.clear()  # Chromium may tell of the connection that ended


def test_an_empty_ledger_teaches_and_fills_itself(visit, tmp_path):
    meter = taximeter.Meter(state_dir=tmp_path)
    with serving(meter.settings.ledger) as own:
        page = visit(at=own)
        expect(page.locator("#empty")).to_contain_text("taximeter.init()")
        meter.track(provider="openai", model="gpt-4o", input_tokens=1)
        events_of(meter)
        expect(page.locator("#calls tbody tr")).to_have_count(1, timeout=20_000)
        page.context.close()
    meter.close()
