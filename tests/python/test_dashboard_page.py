"""The page in a real Chromium: what a person sees and does, and that nothing foreign runs in it."""

from __future__ import annotations

import contextlib
import json
import math
import re
import sqlite3
import subprocess
import sys
import threading
from datetime import datetime, timedelta, timezone
from decimal import ROUND_HALF_UP, Decimal
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Error, Page, expect

import taximeter
from conftest import events_of, wait_for
from dashboard_browser import browser, changed, ready, visits
from dashboard_server import HOSTILE, serving

NOW = datetime.now(timezone.utc)
PANELS = (
    "Summary",
    "Over time",
    "Top",
    "Customers",
    "Latency",
    "Errors",
    "Cache",
    "Calls without a price",
    "Budgets",
    "Margin",
    "Calls",
)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """Return a ledger of 300 calls with hostile names."""
    meter = taximeter.Meter(state_dir=tmp_path_factory.mktemp("page"))
    for number in range(300):
        meter.track(
            provider="openai", model=("gpt-4o", "gpt-4o-mini", "nosuch")[number % 3], input_tokens=1000 + number, output_tokens=number,
            cache_read_tokens=number, started_at=NOW - timedelta(hours=2 * number + 1), customer=HOSTILE[number % 7],
            team="search" if number % 2 else None, latency_ms=100 + number, error="RateLimitError" if number % 10 == 0 else None,
        )  # fmt: skip
    events_of(meter)
    meter.close()
    return meter.settings.ledger


@pytest.fixture(scope="module")
def server(path):
    with serving(path) as running:
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


def numbers(page: Page) -> list[str]:
    return [*page.locator(".tile .value").all_inner_texts(), *page.locator("#top tbody tr").all_inner_texts()]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 1280, 2560])
def test_every_panel_fits_any_width_and_asks_no_other_host(visit, width, scheme):
    page = visit(width=width, scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    snapshot = page.locator("main").aria_snapshot()
    for name in PANELS:
        assert f'region "{name}"' in snapshot or f"region {name}" in snapshot, name


def test_the_first_panel_is_asked_for_once_and_before_the_scripts(visit):
    page = visit("&since=7d&where=model%3Dgpt-4o,nosuch&utm_source=mail&metric=latency_ms")
    asked = page.evaluate("performance.getEntriesByType('resource').map((one) => [new URL(one.name).pathname, one.initiatorType])")
    assert [kind for path, kind in asked if path == "/api/v1/first"] == ["link"]
    assert "/api/v1/meta" not in dict(asked)


@pytest.mark.parametrize("metric", ["cost_usd", "calls", "latency_ms"])
def test_the_table_of_the_chart_is_its_json(visit, metric):
    page = visit(f"&metric={metric}&since=20d")
    page.get_by_role("button", name="table", exact=True).click()
    panel = "latency-series" if metric == "latency_ms" else f"series?metric={metric}"
    address = f"{page.url.split('?')[0]}api/v1/{panel}{'&' if '?' in panel else '?'}since=20d"
    found = page.context.request.get(address).json()
    shown = [row.locator("td").all_inner_texts() for row in page.locator("#series tbody tr").all()][::-1]
    assert page.locator("#series thead th").all_inner_texts()[1:] == [one["name"] for one in found["series"]]
    assert [row[0] for row in shown] == found["bins"]
    for index, one in enumerate(found["series"], 1):
        for row, value in zip(shown, one["values"], strict=True):
            assert row[index] == written(metric, value)
    assert any(value not in {None, 0, "0"} for one in found["series"] for value in one["values"])


def written(metric: str, value: str | float | None) -> str:
    """Return a value as the page writes it."""
    if value is None:
        return "unknown" if metric == "cost_usd" else "–"
    if metric == "latency_ms":
        return f"{math.floor(value + 0.5):,} ms"
    if metric == "calls":
        return f"{value:,}"
    size = Decimal(str(value))
    if size == 0 or size >= Decimal("0.095"):
        return f"${size.quantize(Decimal('0.01'), ROUND_HALF_UP):,}"
    exponent = int(f"{size:.1e}".partition("e")[2])  # of the rounded value: 0.000996 is written as 0.0010
    return f"${size.quantize(Decimal(1).scaleb(exponent - 1), ROUND_HALF_UP):f}"


def test_the_figures_are_those_of_the_report(visit, path):
    page = visit("&since=all&by=model")
    report = taximeter.Ledger(path, timezone="UTC").report("model")
    tile = page.locator(".tile").first
    assert tile.locator("span").first.get_attribute("title") == f"${report.total.cost_usd}"
    expect(page.locator(".tile", has_text="p95 / TTFT").locator(".value")).to_have_text(re.compile(r"^\d+ / – ms$"))
    shown = {
        row.locator("td").nth(0).inner_text(): row.locator("td").nth(3).inner_text() for row in page.locator("#top tbody tr").all()
    }
    assert shown == {row.key["model"]: f"{row.calls:,}" for row in report}
    page.get_by_role("button", name="table", exact=True).click()
    cells = page.locator("#series tbody tr")
    days = taximeter.Ledger(path, timezone="UTC").report(("day", "model"), since="30d")
    assert cells.count() >= len({row.key["day"] for row in days})
    heads = page.locator("#series thead th").all_inner_texts()
    newest = max(row.key["day"] for row in days)
    line = dict(zip(heads, cells.first.locator("td").all_inner_texts(), strict=True))
    assert line["day"] == newest


def test_the_state_is_the_address(visit, chromium):
    page = visit()
    start = numbers(page)
    changed(page, lambda: page.locator("#period").select_option("7d"))
    changed(page, lambda: page.get_by_role("radio", name="Calls").click())
    assert parse_qs(urlsplit(page.url).query) == {"since": ["7d"], "metric": ["calls"]}
    week = numbers(page)
    assert week != start
    page.reload()
    ready(page)
    assert numbers(page) == week
    changed(page, page.go_back)
    changed(page, page.go_back)
    assert numbers(page) == start
    # The same address in another browser.
    other = visit("&since=7d&metric=calls")
    assert numbers(other) == week


def test_the_order_of_the_calls_is_in_the_address(visit):
    page = visit("&since=20d")
    newest = page.locator("#calls tbody tr").all_inner_texts()
    page.get_by_role("button", name="slowest").click()
    expect(page.get_by_role("button", name="slowest")).to_have_attribute("aria-pressed", "true")
    address = f"{page.url.split('?')[0]}api/v1/calls?since=20d&start=day&sort=latency_ms&limit=1"
    (slow,) = page.context.request.get(address).json()["rows"]
    expect(page.locator("#calls tbody tr").first).to_contain_text(f"{slow['latency_ms']:.0f} ms")
    assert parse_qs(urlsplit(page.url).query)["sort"] == ["latency_ms"]
    slowest = page.locator("#calls tbody tr").all_inner_texts()
    page.reload()
    ready(page)
    assert page.locator("#calls tbody tr").all_inner_texts() == slowest
    changed(page, page.go_back)
    assert page.locator("#calls tbody tr").all_inner_texts() == newest
    # A longer period has no order by cost, and the panel says so; the others have their figures.
    page = visit("&since=all&sort=cost_usd")
    expect(page.locator("#calls [role=alert]")).to_contain_text("within 31 days")
    expect(page.locator("#top tbody tr")).to_have_count(3)
    visit.said.clear()  # Chromium tells of the answer 400


def test_a_copied_link_shows_the_same_in_another_browser(visit):
    page = visit("&since=7d&by=customer&where=model%3Dgpt-4o")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Copy link").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    query = urlsplit(page.evaluate("navigator.clipboard.readText()")).query
    fixed = parse_qs(query)
    assert all(datetime.fromisoformat(fixed[end][0]).tzinfo for end in ("since", "until"))
    other = visit(f"&{query}")
    # The hour before now, and what the month costs, are not of the period.
    assert other.locator("#top tbody tr").all_inner_texts() == page.locator("#top tbody tr").all_inner_texts()
    assert other.locator(".tile .value").nth(2).inner_text() == page.locator(".tile .value").nth(2).inner_text()


def test_a_link_can_be_copied_without_a_clipboard(visit):
    page = visit("&since=7d")
    page.evaluate("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
    page.get_by_role("button", name="Copy link").click()
    expect(page.get_by_role("textbox", name="Address")).to_have_value(re.compile(r"since=.*&until="))
    page.keyboard.press("Enter")
    expect(page.locator("dialog[open]")).to_have_count(0)


def test_a_click_filters_shift_excludes_and_a_chip_removes(visit):
    page = visit()
    name = page.locator("#top tbody td button").first.inner_text()
    changed(page, lambda: page.locator("#top tbody td button").first.click())
    assert page.locator("#top tbody tr").count() == 1
    expect(page.locator("#filters li")).to_have_text(re.compile(re.escape(f"model={name}")))
    changed(page, lambda: page.locator("#filters button").click())
    changed(page, lambda: page.locator("#top tbody td button").first.click(modifiers=["Shift"]))
    assert name not in page.locator("#top tbody td:first-child").all_inner_texts()


def test_an_invalid_filter_is_said_and_can_be_removed(visit):
    page = visit("&where=nosuch%3D1&since=7d")
    expect(page.locator("#tiles [role=alert]")).to_contain_text("nosuch")
    expect(page.locator("#series [role=alert]")).to_contain_text("nosuch")
    changed(page, lambda: page.get_by_role("button", name="Remove the filter nosuch=1").click())
    expect(page.locator("#top tbody tr")).to_have_count(3)
    expect(page.locator("[role=alert]:visible")).to_have_count(0)
    assert all("400" in text for text in visit.said)
    visit.said.clear()  # Chromium tells of the answers 400


def test_a_bar_leads_to_the_calls_and_one_call(visit, path):
    page = visit()
    bar = page.locator('#series [data-series="0"] rect[data-bin]').last
    changed(page, lambda: bar.click(force=True))
    assert parse_qs(urlsplit(page.url).query)["where"] == ["model=gpt-4o"]
    page.locator("#calls tbody tr").first.click()
    dialog = page.locator("dialog[open]")
    expect(dialog).to_contain_text("cost_usd")
    call_id = dialog.locator("dd", has_text=re.compile(r"^[0-9a-f-]{36}$")).first.inner_text()
    event = taximeter.Ledger(path).find(call_id)
    expect(dialog).to_contain_text(event["cost_usd"])
    price = dialog.locator("pre").inner_text()
    assert price.splitlines()[0].startswith("input_tokens: ") and "\\x0a" not in price
    page.keyboard.press("Escape")
    expect(page.locator("dialog[open]")).to_have_count(0)


def test_a_bar_of_calls_without_the_field_leads_to_them(visit):
    page = visit("&by=team")
    group = page.locator("#series svg g[data-series] > text", has_text="–").locator("..").get_attribute("data-series")
    changed(page, lambda: page.locator(f'#series [data-series="{group}"] rect[data-bin]').last.click(force=True))
    assert parse_qs(urlsplit(page.url).query, keep_blank_values=True)["where"] == ["team="]
    assert page.locator("#top tbody td:first-child").all_inner_texts() == ["(none)"]


def test_the_keyboard_is_enough(visit):
    page = visit()
    changed(page, lambda: page.keyboard.press("m"))
    assert "metric=calls" in page.url
    page.keyboard.press("j")
    page.keyboard.press("j")
    expect(page.locator("#calls tr.selected")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("dialog[open]")).to_be_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("/")
    page.get_by_label("Value").fill("=1+1")
    changed(page, lambda: page.keyboard.press("Enter"))
    assert parse_qs(urlsplit(page.url).query)["where"] == ["customer==1+1"]
    assert page.locator("#customers tbody tr").count() == 1
    # Every control has a key, and a select takes the arrows.
    page.keyboard.press("b")
    expect(page.locator("#by")).to_be_focused()
    page.keyboard.press("Escape")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("t")
    expect(page.locator("#period")).to_be_focused()
    changed(page, lambda: page.keyboard.press("ArrowDown"))
    assert "since=90d" in page.url
    for _ in range(20):
        page.keyboard.press("Tab")
        if page.locator("#series .tools button:focus", has_text="table").count():
            break
    page.keyboard.press("Enter")
    expect(page.locator("#series tbody tr").first).to_be_visible()
    page.keyboard.press("Enter")
    page.locator(".figure").focus()
    page.keyboard.press("End")
    expect(page.locator("#live")).to_contain_text(re.compile(r"\d{4}-\d\d-\d\d: \d+"))
    page.keyboard.press("?")
    expect(page.locator("dialog[open]")).to_contain_text("group by")


def test_hostile_names_are_shown_as_they_are_and_run_nothing(visit):
    page = visit("&by=customer&since=all")
    shown = page.locator("#customers tbody td:first-child").all_inner_texts()
    wanted = {"<script>alert(1)</script>", "[/foo]", r"\x1b[2J", r"\u202eacme", "=1+1", "株式会社アクメ"}
    assert wanted <= set(shown)
    assert page.locator("main script").count() == 0
    with page.expect_download() as download:
        page.locator("#customers").get_by_role("button", name="CSV").click()
    lines = download.value.path().read_text().splitlines()
    assert any(line.startswith("'=1+1,") for line in lines) and not any("\x1b" in line for line in lines)


def test_markup_cannot_be_set_from_text(visit):
    page = visit()
    with pytest.raises(Error, match="TrustedHTML"):
        page.evaluate("document.body.innerHTML = '<b>x</b>'")
    visit.said.clear()  # Chromium complains of it, as it should


def test_another_name_of_this_machine_is_refused(chromium, server):
    page = chromium.new_context().new_page()
    answer = page.goto(f"http://evil.example:{server.server_port}/")
    assert answer.status == 403
    answer = page.goto(f"http://127.0.0.1:{server.server_port}/")
    assert answer.status == 401
    page.context.close()


@pytest.mark.parametrize("kind", ["damaged", "newer"])
def test_a_ledger_that_cannot_be_read_is_said(visit, tmp_path, kind):
    if kind == "damaged":
        (tmp_path / "ledger.db").write_bytes(b"this is no database" * 100)
    else:
        with contextlib.closing(sqlite3.connect(tmp_path / "ledger.db")) as file:
            file.execute("PRAGMA user_version = 4000")
            file.execute("CREATE TABLE events (id)")
    with serving(tmp_path / "ledger.db") as own:
        page = visit(at=own)
        expect(page.locator("#problem")).to_contain_text("ledger")
        page.context.close()
    assert any("503" in text for text in visit.said)
    visit.said.clear()


def test_what_takes_too_long_is_said_in_its_panel(visit, path):
    class Late(taximeter.Ledger):
        def percentiles(self, *_, **__):
            raise taximeter.LedgerTimeoutError("late")

    with serving(path, Late) as own:
        page = visit(at=own)
        expect(page.locator("#latency [role=alert]")).to_contain_text("choose a shorter period")
        expect(page.locator(".tile", has_text="p95 / TTFT").locator(".value")).to_have_text("–")
        expect(page.locator("#top tbody tr")).to_have_count(3)
        page.context.close()
    visit.said.clear()


# Chromium admits ten downloads of a page.
@pytest.mark.parametrize(
    "panels",
    [{"series": 3, "top": 3, "customers": 3}, {"latency": 3, "errors": 2, "cache": 2, "unpriced": 2}, {"tiles": 2, "calls": 2}],
)
def test_every_panel_can_be_saved(visit, panels):
    page = visit()
    for panel, kinds in panels.items():
        for place in range(kinds):
            tool = page.locator(f"#{panel} .tools").get_by_text(re.compile("^(CSV|JSON|SVG)$")).nth(place)
            with page.expect_download() as download:
                tool.click()
            wanted = "<svg" if download.value.suggested_filename.endswith(".svg") else "gpt|acme|nosuch|latency_p95_ms"
            text = download.value.path().read_text()
            assert re.search(wanted, text), (panel, place, text[:200])


def test_the_command_prints_an_address_for_one_browser(path, chromium):
    command = [sys.executable, "-m", "taximeter", "serve", "--state-dir", str(path.parent), "--port", "0", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        lines = []
        threading.Thread(target=lambda: lines.extend(process.stdout), daemon=True).start()
        wait_for(lambda: _whole(lines))
        (row,) = json.loads("".join(lines))["rows"]
        page = chromium.new_context().new_page()
        page.goto(row["address"])
        ready(page)
        assert "code" not in page.url
        other = chromium.new_context().new_page()
        assert other.goto(row["address"]).status == 401
        page.context.close()
        other.context.close()
        process.kill()


def _whole(lines: list[str]) -> bool:
    try:
        json.loads("".join(lines))
    except ValueError:
        return False
    return True


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--port", "99999"], "not a port"),
        (["--host", "0.0.0.0"], "--token-file"),
        (["--redact", "usr"], "did you mean 'user'"),
        (["--token-file", "/no/such"], "token-file"),
    ],
)
def test_wrong_options_are_named(path, arguments, words):
    command = [sys.executable, "-m", "taximeter", "serve", "--state-dir", str(path.parent), *arguments]
    outcome = subprocess.run(command, capture_output=True, text=True, check=False)
    assert outcome.returncode == 2 and words in outcome.stderr


def test_the_page_is_small():
    import gzip
    from pathlib import Path

    from taximeter import dashboard

    files = Path(dashboard.__file__).parent.joinpath("static").iterdir()
    assert sum(len(gzip.compress(one.read_bytes())) for one in files) < 60_000
