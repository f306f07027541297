"""The dashboard's data over HTTP: what it says of the calls."""

from __future__ import annotations

import csv
import io
import json
import math
import re
import time
import xml.etree.ElementTree as ET
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest

import taximeter
from conftest import DAY, HALF_HOUR, events_of, keep_clear_of_the_end
from dashboard_server import HOSTILE, ask, call_app, get, refused, serving
from taximeter import dashboard
from taximeter.dashboard.prices import remedy
from taximeter.ledger.series import series


@pytest.fixture(scope="module")
def path(dashboard_calls):
    return dashboard_calls


@pytest.fixture(scope="module")
def server(dashboard_calls):
    with serving(dashboard_calls) as running:
        yield running


@pytest.fixture(scope="module")
def ledger(dashboard_calls):
    return taximeter.Ledger(dashboard_calls, timezone="UTC")


def test_numbers_are_those_of_the_report(server, ledger):
    report = ledger.report((), since="30d")
    summary = get(server, "summary")
    assert summary["total"] == report.to_dict()["total"]
    assert Decimal(summary["total"]["cost_usd"]) == report.total.cost_usd
    assert (summary["timezone"], summary["unpriced"], summary["schema_version"]) == ("UTC", 40, 1)
    assert summary["before"]["calls"] == 0
    top = get(server, "top", by="model", limit=2)
    rows = ledger.report("model", since="30d").to_dicts()
    assert top["rows"] == rows[:2]
    assert (top["other"]["calls"], top["groups"]) == (rows[2]["calls"], 3)
    assert get(server, "top", by="model", limit=2, offset=2)["rows"] == rows[2:]
    assert get(server, "errors")["total"]["calls"] == 12
    assert get(server, "errors")["rows"][0]["error"] == "RateLimitError"
    (row,) = get(server, "unpriced")["rows"]
    assert (row["model"], row["setting"]) == ("nosuch", 'prices.aliases."openai/nosuch" = "provider/model"')
    assert get(server, "cache")["total"]["cache_read_tokens"] == sum(range(120))


@pytest.mark.parametrize("metric", ["cost_usd", "calls"])
def test_series_of_a_field_with_many_values_equal_those_of_the_whole_report(server, ledger, metric):
    whole = ledger.report(("day", "customer"), since="30d")
    groups = {row.key["customer"] for row in whole}
    for count in (1, 2, len(groups) - 1, len(groups)):
        found = get(server, "series", by="customer", bin="day", metric=metric, top=count)
        expected = series(whole, metric, count)
        assert found["bins"] == expected.bins
        shown = {group["name"]: [None if value is None else Decimal(value) for value in group["values"]] for group in found["series"]}
        assert shown == {name: [None if one is None else Decimal(one) for one in of] for name, of in expected.values.items()}
        assert [group["name"] for group in found["series"] if group["is_rest"]] == [expected.rest] * bool(expected.rest)
        assert found["unpriced"] == whole.total.unpriced


def test_the_page_asks_for_its_first_panel_by_a_header(server):
    for query in ("", "since=7d&metric=latency_ms&by=team&sort=cost_usd&utm_source=mail&where=model%3Dgpt-4o"):
        _, headers, page = ask(server, f"/?{query}")
        path = re.fullmatch(r"<(api/v1/first[^>]*)>; rel=preload; as=fetch; crossorigin", headers["Link"])[1]
        status, _, body = ask(server, f"/{path}")
        found = json.loads(body)
        options = {"start": "day", "since": "7d", "where": "model=gpt-4o"} if query else {"start": "day"}
        summary, meta = get(server, "summary", **options), get(server, "meta", **options)
        for name in ("total", "before", "forecast_usd", "timezone"):
            assert found[name] == summary[name]
        for name in ("fields", "ledger", "first", "last", "version"):
            assert found[name] == meta[name]
    assert "Link" not in ask(server, "/?where=a%3D1>;rel=x")[1]
    assert ask(server, "/api/v1/first?where=nosuch%3D1")[0] == 400
    # Files are kept by the browser: their addresses change with their content.
    assert b'"static/' in page
    for name in re.findall(rb'"(static/[^"]+)"', page):
        _, headers, _ = ask(server, f"/{name.decode()}")
        assert "immutable" in headers["Cache-Control"] and "private" in headers["Cache-Control"]


def test_series_have_a_value_for_each_bin(server, ledger):
    found = get(server, "series", metric="calls", bin="day", since="30d", top=1)
    assert [group["name"] for group in found["series"]][0] == "gpt-4o"
    assert sum(sum(group["values"]) for group in found["series"]) == 320
    assert all(len(group["values"]) == len(found["bins"]) for group in found["series"])
    assert len(found["bins"]) in {31, 32}
    costs = get(server, "series", by="", bin="week", since="all")
    assert sum(map(Decimal, costs["series"][0]["values"])) == ledger.report(()).total.cost_usd
    assert (get(server, "series", since="2d")["bin"], get(server, "series", since="300d")["bin"]) == ("hour", "week")
    assert get(server, "series", by="day", metric="calls")["bin"] == "day"


def test_days_are_those_of_the_zone_of_the_request(server, ledger):
    for zone in ("Asia/Kolkata", "Pacific/Auckland"):
        found = get(server, "series", tz=zone, bin="day", metric="calls", by="")
        expected = {row.key["day"]: row.calls for row in ledger.report("day", since="30d", tz=zone)}
        shown = dict(zip(found["bins"], found["series"][0]["values"], strict=True))
        assert {day: calls for day, calls in shown.items() if calls} == expected
        assert found["timezone"] == zone


ZONES = ["Europe/Berlin", "America/New_York", "Asia/Kolkata", "Pacific/Auckland", "UTC"]


@pytest.fixture(scope="module")
def changes(tmp_path_factory):
    """Serve a call for every 35 minutes of the days around the changes of the clocks of 2026, and return its calls."""
    meter = taximeter.Meter(state_dir=tmp_path_factory.mktemp("changes"))
    starts = [
        datetime(2026, month, day, tzinfo=timezone.utc) for month, day in ((3, 7), (3, 28), (4, 4), (9, 26), (10, 24), (10, 31))
    ]
    calls = []
    for start in starts:
        for number in range(120):
            calls.append((start + timedelta(minutes=35 * number), number + 1))
            meter.track(provider="openai", model="gpt-4o", input_tokens=number + 1, started_at=calls[-1][0])
    events_of(meter)
    meter.close()
    with serving(meter.settings.ledger) as running:
        yield running, calls


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("unit", ["hour", "day", "week"])
def test_bins_equal_brute_force_where_the_clocks_change(changes, zone, unit):
    server, calls = changes
    place = ZoneInfo(zone)
    periods = [("2026-03-07", "2026-04-07"), ("2026-09-26", "2026-10-27"), ("2026-10-24", "2026-11-04")]
    for since, until in periods:
        ends = [datetime.fromisoformat(end).replace(tzinfo=place) for end in (since, until)]
        found = get(server, "series", tz=zone, bin=unit, metric="input_tokens", by="", since=since, until=until)
        expected: dict[str, int] = {}
        for moment, tokens in calls:
            if ends[0] <= moment < ends[1]:
                label = moment.astimezone(place)
                key = {"hour": f"{label:%Y-%m-%dT%H}", "day": f"{label:%Y-%m-%d}", "week": f"{label:%G-W%V}"}[unit]
                expected[key] = expected.get(key, 0) + tokens
        shown: dict[str, int] = {}
        for name, value in zip(found["bins"], found["series"][0]["values"], strict=True):
            # Hours have their offset, because one hour comes twice.
            key = name[:13] if unit == "hour" else name
            shown[key] = shown.get(key, 0) + value
        assert {key: value for key, value in shown.items() if value} == expected
        assert sum(expected.values()) == get(server, "summary", tz=zone, since=since, until=until)["total"]["input_tokens"]


def test_a_period_in_days_can_begin_at_midnight(server, ledger):
    keep_clear_of_the_end(HALF_HOUR, 60)
    place = ZoneInfo("Asia/Kolkata")
    begin = datetime.fromisoformat(get(server, "summary", since="7d", tz="Asia/Kolkata", start="day")["since"]).astimezone(place)
    assert (begin.hour, begin.minute, begin.second) == (0, 0, 0)
    assert timedelta(days=7) <= datetime.now(place) - begin <= timedelta(days=8, minutes=5)
    expected = ledger.report((), since=begin).total
    for panel in ("summary", "top", "errors"):
        found = get(server, panel, since="7d", tz="Asia/Kolkata", start="day", where=["status=error"] if panel == "errors" else [])
        assert datetime.fromisoformat(found["since"]) == begin
    whole = get(server, "summary", since="7d", tz="Asia/Kolkata", start="day")
    assert whole["total"]["calls"] == expected.calls
    series = get(server, "series", since="7d", tz="Asia/Kolkata", metric="calls", by="", bin="day")
    assert sum(series["series"][0]["values"]) == expected.calls
    assert get(server, "summary", since="5h", start="day")["total"]["calls"] == ledger.report((), since="5h").total.calls


def test_filters_are_those_of_the_command_line(server, ledger):
    found = get(server, "summary", where=["model=gpt-4o,nosuch", "user!=u1", "input_tokens>1050"])
    expected = ledger.report(
        (),
        since="30d",
        where=[("model", ["gpt-4o", "nosuch"]), ("user", taximeter.ledger.Not("u1")), ("input_tokens", taximeter.ledger.Above(1050))],
    )
    assert found["total"] == expected.to_dict()["total"]


def test_percentiles_over_time_are_those_of_the_days(server, ledger):
    found = get(server, "latency-series", bin="day", since="20d", tz="Asia/Kolkata")
    names = [line["name"] for line in found["series"]]
    assert names == ["p50", "p95", "p99"]
    days = {one.key["day"]: one.values for one in ledger.percentiles(by="day", since=found["since"], tz="Asia/Kolkata")}
    for index, line in enumerate(found["series"]):
        shown = {day: value for day, value in zip(found["bins"], line["values"], strict=True) if value is not None}
        assert shown == {day: pytest.approx(values[index], abs=0.1) for day, values in days.items()}
    exact: dict[str, list[float]] = {}
    for event in ledger.events(since=found["since"]):
        day = datetime.fromisoformat(event["started_at"][:26] + "+00:00").astimezone(ZoneInfo("Asia/Kolkata"))
        if "latency_ms" in event:
            exact.setdefault(f"{day:%Y-%m-%d}", []).append(event["latency_ms"])
    assert days.keys() == exact.keys()
    for day, values in exact.items():
        values.sort()
        assert days[day][0] == pytest.approx(values[math.ceil(0.5 * len(values)) - 1], rel=0.05, abs=0.1)


def test_percentiles_are_near_the_exact_ones(server, ledger):
    answer = get(server, "latency", since="60d")
    rows = {row["model"]: row for row in answer["rows"]}
    exact: dict[str, list[float]] = {}
    for event in ledger.events():
        if "latency_ms" in event:
            exact.setdefault(event["model"], []).append(event["latency_ms"])
    assert rows.keys() == exact.keys()
    for model, found in exact.items():
        found.sort()
        assert rows[model]["calls"] == len(found)
        for name, fraction in (("p50_ms", 0.5), ("p95_ms", 0.95), ("p99_ms", 0.99)):
            assert rows[model][name] == pytest.approx(found[math.ceil(fraction * len(found)) - 1], rel=0.05, abs=0.1)
        assert "ttft_p50_ms" not in rows[model]
    everything = sorted(value for values in exact.values() for value in values)
    assert answer["total"]["latency_p95_ms"] == pytest.approx(everything[math.ceil(0.95 * len(everything)) - 1], rel=0.05, abs=0.1)
    assert answer["total"].items() <= get(server, "summary", since="60d").items()
    none = get(server, "latency", where="model=nosuch2")
    assert none["rows"] == [] and set(none["total"].values()) == {None}
    with pytest.raises(ValueError, match="latency_ms"):
        ledger.percentiles("latency")
    with pytest.raises(ValueError, match=r"0\.95"):
        ledger.percentiles(fractions=[95])


def test_pages_of_calls_have_each_call_once(server, ledger):
    seen, after = [], ""
    while after is not None:
        page = get(server, "calls", limit=70, after=after)
        seen += [row["id"] for row in page["rows"]]
        after = page["next"]
    assert len(seen) == page["total"] == 320
    assert set(seen) == {event["id"] for event in ledger.events()}
    times = [get(server, f"calls/{one}")["call"]["started_at"] for one in seen[:5]]
    assert times == sorted(times, reverse=True)
    for wrong in ("nothing", "9999-12-31T23:59:59.999999Z~x", "0001-01-01T00:00:00.000000Z~x"):
        assert refused(server, f"/api/v1/calls?after={wrong}")[0] == 400
    assert refused(server, f"/api/v1/calls/{'0' * 8}-0000-0000-0000-{'0' * 12}")[0] == 404
    assert refused(server, "/api/v1/calls/" + seen[0][:8])[0] == 404


def test_calls_are_sorted_by_cost_and_latency(server, ledger):
    events = list(ledger.events(since="20d"))
    for sort in ("cost_usd", "latency_ms"):
        expected = sorted((Decimal(str(event[sort])) for event in events if event.get(sort) is not None), reverse=True)
        found, offset = [], 0
        while offset is not None:
            page = get(server, "calls", sort=sort, since="20d", limit=50, offset=offset)
            found += page["rows"]
            offset = page["next_offset"]
        assert [Decimal(str(row[sort])) for row in found if row.get(sort) is not None] == expected
        assert len({row["id"] for row in found}) == len(found) == page["total"]
    for query in ("sort=cost_usd&since=all", "sort=cost_usd&since=60d", "sort=model&since=2d"):
        assert refused(server, f"/api/v1/calls?{query}")[0] == 400


@pytest.mark.parametrize(("provider", "model"), [("openai", 'a"b\\c'), ("ollama", "llama"), ("azure", "gpt-4o-mni")])
def test_what_gives_a_price_is_a_setting_that_can_be_read(provider, model):
    found = remedy(provider, model)
    prices = pytest.importorskip("tomllib").loads(found["setting"])["prices"]
    assert prices == {"free": ["ollama/*"]} or f"{provider}/{model}" in prices["aliases"]
    assert found["remedy"].endswith("run `taximeter reprice`")


def test_a_call_has_its_explanation_and_what_a_repricing_replaced(meter):
    meter.track(provider="openai", model="mine", input_tokens=1_000_000)
    events_of(meter)
    ledger = taximeter.Ledger(meter.settings.ledger)
    (event,) = ledger.events()
    app = dashboard.Dashboard(lambda: taximeter.Ledger(meter.settings.ledger))
    found = json.loads(call_app(app, f"/api/v1/calls/{event['id']}")[2])
    assert (found["call"]["id"], found["repricings"]) == (event["id"], [])
    assert found["explanation"] == taximeter.price("mine", {"input_tokens": 1}).explain()
    priced = taximeter.Meter(state_dir=meter.settings.state_dir, prices={"rates": {"openai/mine": {"input_tokens": {"per_1m": 2}}}})
    priced.reprice()
    priced.close()
    (before,) = json.loads(call_app(app, f"/api/v1/calls/{event['id']}")[2])["repricings"]
    assert (before["cost_usd"], before["cost_status"]) == (None, "unpriced")


def test_a_forecast_is_that_of_the_command_line(path, server, ledger):
    from taximeter.cli.overview import forecast
    from taximeter.ledger.forecast import daily_costs

    keep_clear_of_the_end(DAY, 60)
    now = datetime.now(timezone.utc)
    expected = forecast(ledger.report((), since="this-month").total.cost_usd, daily_costs(ledger, now), now)
    low, high = map(Decimal, get(server, "summary")["forecast_usd"])
    assert low == pytest.approx(expected.low_usd, rel=Decimal("0.01"))
    assert high == pytest.approx(expected.high_usd, rel=Decimal("0.01"))
    assert get(server, "summary", where="model=gpt-4o")["forecast_usd"] is None


def test_budgets_are_shown_by_how_much_is_used(path):
    standings = [{"budget": "a", "key": ["acme"], "percent": 5.0}, {"budget": "b", "key": ["é"], "percent": 90.0}]
    app = dashboard.Dashboard(lambda: taximeter.Ledger(path), budgets=lambda: standings)
    found = json.loads(call_app(app, "/api/v1/budgets")[2])
    assert [(row["budget"], row["pace"]) for row in found["rows"]] == [("b", None), ("a", None)]
    now = time.time()
    ends = {"period_start": now - 50_000, "resets_at": now + 50_000}
    half = {"budget": "a", "key": [], "percent": 5.0, "calls": 900, "unit": "usd", "used": "5.00", **ends}
    (row,) = json.loads(call_app(dashboard.Dashboard(budgets=lambda: [half]), "/api/v1/budgets")[2])["rows"]
    low, high = map(Decimal, row["pace"])
    assert 8 < low < 10 < high < 12
    hidden = dashboard.Dashboard(lambda: taximeter.Ledger(path), budgets=lambda: standings, redact=["customer"])
    assert b"acme" not in call_app(hidden, "/api/v1/budgets")[2]
    assert json.loads(call_app(dashboard.Dashboard(lambda: taximeter.Ledger(path)), "/api/v1/budgets")[2])["rows"] == []


def test_exports_are_those_of_the_ledger(server, ledger):
    status, headers, body = ask(server, "/api/v1/export.csv?where=model%3Dgpt-4o-mini")
    rows = list(csv.DictReader(io.StringIO(body.decode(), newline="")))
    assert (status, headers["Content-Disposition"]) == (200, 'attachment; filename="taximeter-calls.csv"')
    assert len(rows) == 40
    assert not any(row["customer"].startswith("=") for row in rows)
    lines = ask(server, "/api/v1/export.jsonl?since=all")[2].splitlines()
    assert [json.loads(line)["id"] for line in lines] == [event["id"] for event in ledger.events()]


@pytest.mark.parametrize("target", ["series.svg?by=customer&bin=day", "latency.svg", "top.svg?by=customer"])
def test_a_chart_is_a_file_that_runs_nothing(server, target):
    status, headers, body = ask(server, f"/chart/{target}")
    assert (status, headers["Content-Type"]) == (200, "image/svg+xml")
    assert "sandbox" in headers["Content-Security-Policy"]
    assert "script-src" not in headers["Content-Security-Policy"]
    root = ET.fromstring(body)
    assert root.get("role") == "img"
    assert not list(root.iter("{http://www.w3.org/2000/svg}script"))


def test_json_is_ascii_and_names_come_back_as_they_are(server):
    _, _, body = ask(server, "/api/v1/top?by=customer")
    assert body.isascii()
    assert b"\x1b" not in body
    assert {row["customer"] for row in json.loads(body)["rows"]} == {*HOSTILE, None}


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("top?by=modle", "did you mean 'model'"), ("series?metric=cots", "metric"), ("series?bin=dya", "did you mean 'day'"), ("top?limit=0", "limit"),
        ("top?limit=501", "500"), ("top?limit=1e3", "limit"), ("summary?start=dya", "did you mean 'day'"), ("summary?sicne=1d", "did you mean 'since'"), ("summary?since=1d&since=2d", "twice"),
        ("summary?since=never", "since"), ("summary?tz=Mars", "tz"), ("summary?where=nosuch%3D1", "where"), ("top?sort=colour", "colour"),
        ("series?bin=hour&since=all&where=model%3D" + "x" * 9000, "the most are"), ("series?since=2026-01-01&until=2026-11-01&bin=hour", "750"),
        ("summary?" + "&".join(["where=model%3Dx"] * 101), "100 fields"),
    ],
)  # fmt: skip
def test_wrong_requests_name_the_field(server, target, message):
    status, body = refused(server, f"/api/v1/{target}")
    assert status in {400, 414}
    assert message in json.loads(body)["error"]


def test_the_ledger_of_the_settings_is_the_default(state):
    taximeter.init(instrument=False, state_dir=state)
    taximeter.track(provider="openai", model="gpt-4o", input_tokens=1)
    assert json.loads(call_app(dashboard.app, "/api/v1/summary")[2])["total"]["calls"] == 1
    taximeter.close()


def test_a_ledger_that_cannot_be_read_is_said(tmp_path):
    (tmp_path / "ledger.db").write_bytes(b"this is no database" * 100)
    app = dashboard.Dashboard(lambda: taximeter.Ledger(tmp_path / "ledger.db"))
    status, _, body = call_app(app, "/api/v1/summary")
    assert status == 503
    assert "ledger" in json.loads(body)["error"]
    empty = dashboard.Dashboard(lambda: taximeter.Ledger(tmp_path / "none.db"))
    assert json.loads(call_app(empty, "/api/v1/series?since=all")[2])["series"] == []
    assert json.loads(call_app(empty, "/api/v1/meta")[2])["first"] is None


def test_a_failure_is_logged_and_says_nothing_of_the_program(caplog):
    def broken():
        raise RuntimeError("a secret")

    status, _, body = call_app(dashboard.Dashboard(broken), "/api/v1/summary")
    assert status == 500
    assert b"secret" not in body
    assert "cannot answer" in caplog.text
    # The reader was given back.
    app = dashboard.Dashboard(broken, readers=1)
    assert [call_app(app, "/api/v1/summary")[0] for _ in range(3)] == [500] * 3
