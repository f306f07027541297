"""The dashboard's data over HTTP: who may read it, what it says, and that it only reads."""

from __future__ import annotations

import csv
import hashlib
import http.client
import io
import json
import math
import re
import socket
import threading
import time
import xml.etree.ElementTree as ET
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from urllib.parse import urlencode, urlsplit
from wsgiref.util import setup_testing_defaults
from zoneinfo import ZoneInfo

import pytest
from prometheus_client.parser import text_string_to_metric_families

import taximeter
from conftest import DAY, HALF_HOUR, events_of, keep_clear_of_the_end, wait_for
from dashboard_server import HOSTILE, TOKEN, serving
from taximeter import dashboard
from taximeter.dashboard.panels import PANELS
from taximeter.dashboard.prices import remedy
from taximeter.dashboard.server import own_token
from taximeter.ledger.series import series

NOW = datetime.now(timezone.utc)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """Return a ledger of 120 calls of 20 days, some failed, some without a price, with hostile names."""
    meter = taximeter.Meter(state_dir=tmp_path_factory.mktemp("served"))
    for number in range(120):
        meter.track(
            provider="openai", model=("gpt-4o", "gpt-4o-mini", "nosuch")[number % 3], input_tokens=1000 + number, output_tokens=number,
            cache_read_tokens=number, started_at=NOW - timedelta(hours=4 * number + 1), customer=HOSTILE[number % 7], user=f"u{number % 5}",
            tags={"plan": "pro"}, latency_ms=number * 37 % 101 if number % 4 else None, error="RateLimitError" if number % 10 == 0 else None,
        )  # fmt: skip
    # Many calls of one microsecond: pages must neither lose nor repeat any.
    for _ in range(200):
        meter.track(provider="openai", model="gpt-4o", input_tokens=1, started_at=NOW - timedelta(days=25))
    events_of(meter)
    meter.close()
    return meter.settings.ledger


@pytest.fixture(scope="module")
def server(path):
    with serving(path) as running:
        yield running


@pytest.fixture(scope="module")
def ledger(path):
    return taximeter.Ledger(path, timezone="UTC")


def ask(server, target: str, method: str = "GET", **headers: str):
    """Send a request as it stands. Return the status, the headers and the body."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=30)
    given = {"Host": f"127.0.0.1:{server.server_port}", "Authorization": f"Bearer {TOKEN}"}
    given |= {name.replace("_", "-"): value for name, value in headers.items()}
    connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
    for name, value in given.items():
        if value:
            connection.putheader(name, value)
    connection.endheaders()
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, answer.headers, body


def get(server, panel: str, **query):
    status, headers, body = ask(server, f"/api/v1/{panel}?{urlencode(query, doseq=True)}")
    assert status == 200, body
    assert headers["Content-Type"] == "application/json"
    return json.loads(body)


def refused(server, target: str, **headers: str) -> tuple[int, str]:
    status, _, body = ask(server, target, **headers)
    return status, body.decode()


def test_every_response_has_the_headers_of_a_page_that_runs_nothing_foreign(server):
    for target in ("/", "/healthz", "/api/v1/summary", "/api/v1/nosuch", "/nosuch", "/api/v1/export.csv", "/chart/series.svg"):
        _, headers, _ = ask(server, target)
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["Cross-Origin-Resource-Policy"] == headers["Cross-Origin-Opener-Policy"] == "same-origin"
        assert headers["Cache-Control"] == "no-store"
        assert headers["Content-Security-Policy"].startswith("default-src 'none'; ")
        assert "Access-Control-Allow-Origin" not in headers
        assert "Python" not in headers["Server"]
    _, headers, _ = ask(server, "/api/v1/summary")
    for rule in ("script-src 'self'", "frame-ancestors 'none'", "base-uri 'none'", "require-trusted-types-for 'script'"):
        assert rule in headers["Content-Security-Policy"]


@pytest.mark.parametrize(
    ("request_line", "status"), [(b"garbage", 400), (b"GET / HTTP/9.9", 505), (b"GET /" + b"a" * 70_000 + b" HTTP/1.1", 414)]
)
def test_what_is_no_request_is_answered_with_the_same_headers(server, request_line, status):
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=30) as connection:
        connection.sendall(request_line + b"\r\n\r\n")
        head, _, body = connection.makefile("rb").read().partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.0 %d " % status)
    assert b"nosniff" in head
    assert b"default-src 'none'" in head
    assert b"Python" not in head
    assert b"garbage" not in body


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1", "127.0.0.1:1", "localhost.evil.example", "", "127.0.0.1@evil.example"])
def test_another_host_is_refused_before_anything_else(server, host):
    for target in ("/", "/api/v1/summary", "/healthz", "/nosuch"):
        assert refused(server, target, Host=host)[0] == 403
    assert ask(server, "/api/v1/summary", "POST", Host=host)[0] == 403


def test_the_names_of_this_machine_are_admitted(server):
    for host in ("localhost", "LOCALHOST", "[::1]", "127.0.0.1"):
        assert ask(server, "/api/v1/summary", Host=f"{host}:{server.server_port}")[0] == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND"])
def test_only_reading_methods_are_allowed(server, method):
    status, headers, _ = ask(server, "/api/v1/summary", method)
    assert (status, headers["Allow"]) == (405, "GET, HEAD")


def test_head_has_the_headers_of_get_and_no_body(server):
    _, expected, body = ask(server, "/healthz")
    status, headers, nothing = ask(server, "/healthz", "HEAD")
    assert (status, nothing, headers["Content-Length"]) == (200, b"", expected["Content-Length"])
    assert body == b"ok\n"


def test_another_sites_page_cannot_read(server):
    for site in ("cross-site", "same-site"):
        assert refused(server, "/api/v1/summary", Sec_Fetch_Site=site)[0] == 403
        assert refused(server, "/api/v1/summary", Sec_Fetch_Site=site, Sec_Fetch_Mode="navigate")[0] == 403
        assert refused(server, "/", Sec_Fetch_Site=site, Sec_Fetch_Mode="navigate")[0] != 403
    for origin in ("http://evil.example", "null", f"https://127.0.0.1:{server.server_port}"):
        assert refused(server, "/api/v1/summary", Origin=origin)[0] == 403
    own = {"Sec_Fetch_Site": "same-origin", "Origin": f"http://127.0.0.1:{server.server_port}"}
    assert refused(server, "/api/v1/summary", **own)[0] == 200


@pytest.mark.parametrize(
    "credentials",
    [
        {"Authorization": ""},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "Basic " + TOKEN},
        {"Authorization": "", "Cookie": "taximeter=1"},
        {"Authorization": "Bearer é"},
    ],
)
def test_without_a_secret_there_is_nothing_to_read(server, credentials):
    for target in ("/", "/api/v1/summary", "/api/v1/calls/x", "/chart/series.svg", "/api/v1/export.csv", "/nosuch"):
        status, headers, body = ask(server, target, **credentials)
        assert status == 401
        assert headers["WWW-Authenticate"].startswith("Bearer")
        assert b"gpt" not in body
    assert ask(server, "/healthz", **credentials)[0] == 200


def test_a_code_becomes_a_cookie_once(server):
    address = urlsplit(server.address())
    anonymous = {"Authorization": ""}
    status, headers, _ = ask(server, f"{address.path}?{address.query}&by=team", **anonymous)
    cookie = headers["Set-Cookie"]
    assert (status, headers["Location"]) == (303, "/?by=team")
    assert cookie.startswith(f"taximeter-{server.server_port}=")
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= {part.strip() for part in cookie.split(";")}
    own = cookie.partition(";")[0]
    assert ask(server, "/api/v1/summary", Cookie=f"other=1; {own}", **anonymous)[0] == 200
    # A second use of the code is refused, but the browser that has the cookie may reload the address.
    assert ask(server, f"{address.path}?{address.query}", **anonymous)[0] == 401
    assert ask(server, f"{address.path}?{address.query}", Cookie=own, **anonymous)[0] == 303
    assert ask(server, "/api/v1/summary", Cookie=own + "x", **anonymous)[0] == 401


def test_one_code_admits_one_of_many_that_come_at_once(server):
    address, found = urlsplit(server.address()), []
    threads = [
        threading.Thread(target=lambda: found.append(ask(server, f"/?{address.query}", Authorization="")[0])) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == [303] + [401] * 7


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
    rows = {row["model"]: row for row in get(server, "latency", since="60d")["rows"]}
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
    assert get(server, "latency", where="model=nosuch2")["rows"] == []
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


class Events:
    """Reads a stream of server-sent events, as a browser does."""

    def __init__(self, server, query: str = "", last: str = ""):
        self.connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=30)
        headers = {"Authorization": f"Bearer {TOKEN}"} | ({"Last-Event-ID": last} if last else {})
        self.connection.request("GET", f"/api/v1/live?{query}", headers=headers)
        self.answer = self.connection.getresponse()
        self.last = last

    def message(self) -> dict | None:
        """Return the call of the next message; `None` for a message without one."""
        found = None
        while line := self.answer.readline().decode().rstrip("\n"):
            name, _, value = line.partition(": ")
            if name == "id":
                self.last = value
            elif name == "data":
                found = json.loads(value)
        return found

    def close(self):
        self.answer.close()
        self.connection.close()


@pytest.fixture
def live(meter):
    """Serve the ledger of a meter that still runs, with quick heartbeats."""
    meter.track(provider="openai", model="gpt-4o", input_tokens=1)
    events_of(meter)
    with serving(meter.settings.ledger) as running:
        one = running._dashboard._live
        one.every, one.heartbeat = 0.01, 0.05
        yield running


def test_live_calls_arrive_once_and_in_order_across_a_reconnect(live, meter):
    stream, found, sent = Events(live), [], []
    assert stream.message() is None  # where it begins
    assert stream.answer.headers["Content-Type"] == "text/event-stream"
    for part in range(4):
        for number in range(part * 25, part * 25 + 25):
            meter.track(provider="openai", model="gpt-4o", input_tokens=number, team=f"t{number % 2}")
            sent.append(number)
        events_of(meter)
        while len(found) < len(sent):
            if (call := stream.message()) is not None:
                found.append(call["input_tokens"])
            # In the middle of a page, and at its end.
            if len(found) in {60, 75}:
                stream.close()
                stream = Events(live, last=stream.last)
    stream.close()
    assert found == sent
    filtered = Events(live, "where=team%3Dt1", last="1")
    assert [filtered.message()["team"] for _ in range(50)] == ["t1"] * 50
    filtered.close()


def test_a_live_stream_that_is_far_behind_goes_on_with_the_newest_calls(live, meter, monkeypatch):
    monkeypatch.setattr("taximeter.dashboard.live._MOST_BEHIND", 50)
    monkeypatch.setattr("taximeter.dashboard.live._NEWEST", 20)
    for number in range(100):
        meter.track(provider="openai", model="gpt-4o", input_tokens=number)
    events_of(meter)
    stream = Events(live, last="1")
    assert stream.message() == 80
    assert [stream.message()["input_tokens"] for _ in range(20)] == list(range(80, 100))
    stream.close()


def test_live_streams_are_limited_and_make_place_again(live):
    live._dashboard._live.places = threading.BoundedSemaphore(3)
    streams = [Events(live) for _ in range(3)]
    assert [stream.message() for stream in streams] == [None, None, None]
    assert refused(live, "/api/v1/live")[0] == 503
    streams.pop().close()
    # The place is free as soon as the next look finds the reader gone.
    statuses = iter(lambda: refused_stream(live), 200)
    assert all(status == 503 for status in statuses)
    for stream in streams:
        stream.close()


def refused_stream(live) -> int:
    stream = Events(live)
    status = stream.answer.status
    stream.close()
    return status


def test_wrong_live_requests_are_answered(live):
    assert refused(live, "/api/v1/live", Last_Event_ID="x")[0] == 400
    assert refused(live, "/api/v1/live?where=nosuch%3D1")[0] == 400
    assert ask(live, "/api/v1/live", "HEAD")[0] == 200
    # A number of another file begins anew.
    stream = Events(live, last="999999")
    assert stream.message() is None
    assert stream.last == "1"
    stream.close()


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


def test_metrics_need_a_secret_and_are_those_of_the_ledger(server, ledger):
    assert ask(server, "/metrics", Authorization="")[0] == 401
    status, headers, body = ask(server, "/metrics")
    families = {family.name: family for family in text_string_to_metric_families(body.decode())}
    calls = sum(sample.value for sample in families["taximeter_calls"].samples)
    assert (status, calls) == (200, ledger.report(()).total.calls)
    assert headers["Content-Type"].startswith("text/plain; version=0.0.4")
    _, headers, body = ask(server, "/metrics", Accept="application/openmetrics-text; version=1.0.0")
    assert headers["Content-Type"].startswith("application/openmetrics-text")
    assert body.endswith(b"# EOF\n")


def test_metrics_have_budgets_and_delivery_and_hide_what_is_redacted(path):
    standing = {
        "budget": "a",
        "by": ["team"],
        "key": ["search"],
        "unit": "usd",
        "amount": "1",
        "used": "0.5",
        "held": "0",
        "percent": 50.0,
    }
    hidden = {**standing, "budget": "b", "by": ["customer"], "key": ["acme"]}
    ended = ({"journal": "ended", "pid": ""}, {"tracked": 3, "destinations": {"ledger": {"delivered": 3}}})
    running = ({"journal": "x", "pid": "7"}, {"tracked": 4, "destinations": {"ledger": {"delivered": 2, "pending": 2}}})
    given = {
        "budgets": lambda: [standing, hidden, {**hidden, "key": ["other"], "percent": 9.0}],
        "processes": lambda: [ended, running], "metrics_by": ["team"],
    }  # fmt: skip
    text = call_app(dashboard.Dashboard(lambda: taximeter.Ledger(path), **given), "/metrics")[2].decode()
    assert 'taximeter_budget_ratio{budget="a",key="search",unit="usd"} 0.5\n' in text
    assert re.findall(r'taximeter_budget_ratio\{budget="b".*', text) == ['taximeter_budget_ratio{budget="b",key="",unit="usd"} 0.5']
    assert 'taximeter_destination_delivered_total{destination="ledger",host=""} 5\n' in text
    assert 'taximeter_destination_pending{journal="x",pid="7",destination="ledger",host=""} 2\n' in text
    assert "taximeter_tracked_total 7\n" in text
    assert 'model="gpt-4o",' in text
    assert ',team=""}' in text
    text = call_app(dashboard.Dashboard(lambda: taximeter.Ledger(path), redact=["model"], **given), "/metrics")[2].decode()
    assert "search" not in text
    assert "gpt-4o" not in text
    assert 'model="model-' in text
    with pytest.raises(ValueError, match="metrics by"):
        dashboard.Dashboard(metrics_by=["customer"])


def test_metrics_go_on_when_a_scraper_does_not_wait_for_them(path):
    app = dashboard.Dashboard(lambda: taximeter.Ledger(path))
    app._readers.longest = 1e-9
    # The client has gone, and panels would be stopped at once: the answer is for its next request.
    status, _, body = call_app(app, "/metrics", **{"taximeter.is_gone": lambda: True})
    assert status == 200
    assert b"taximeter_ledger_readable 1\n" in body


def test_metrics_of_a_damaged_ledger_say_so(tmp_path):
    (tmp_path / "ledger.db").write_text("no database" * 1_000)
    app = dashboard.Dashboard(lambda: taximeter.Ledger(tmp_path / "ledger.db"), processes=lambda: [({}, {"tracked": 1})])
    status, _, body = call_app(app, "/metrics")
    assert status == 200
    assert b"taximeter_ledger_readable 0\n" in body
    assert b"taximeter_tracked_total 1\n" in body


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


def test_paths_are_matched_as_they_stand(server):
    for target in (
        "/api/v1/",
        "/api/v1/summary/",
        "/api/v1//summary",
        "/api/v1/%2e%2e/summary",
        "//evil.example/",
        "/%ff",
        "/api/v1/calls/..%2f",
    ):
        assert refused(server, target)[0] == 404
    assert refused(server, "/api/v1/nosuch")[1].startswith("{")


def test_serving_changes_no_byte_of_the_ledger(server, path):
    before = hashlib.sha256(path.read_bytes()).hexdigest()
    panels = [f"/api/v1/{panel}" for panel in (*PANELS, "budgets", "export.csv", "export.jsonl")]
    for target in (*panels, "/", "/metrics", "/chart/series.svg", "/chart/latency.svg", "/chart/top.svg"):
        assert ask(server, target)[0] == 200
    stream = Events(server)
    stream.message()
    stream.close()
    assert hashlib.sha256(path.read_bytes()).hexdigest() == before


def call_app(app, target: str, **environ):
    """Call a WSGI application as a server would."""
    parts, heads = urlsplit(target), []
    given = {"PATH_INFO": parts.path, "QUERY_STRING": parts.query, **environ}
    setup_testing_defaults(given)
    body = b"".join(app(given, lambda status, headers: heads.append((status, dict(headers)))))
    return int(heads[0][0][:3]), heads[0][1], body


def test_it_is_mounted_behind_a_login_of_ones_own(path):
    app = dashboard.Dashboard(lambda: taximeter.Ledger(path))
    status, _, body = call_app(app, "/api/v1/summary", HTTP_HOST="bill.example", SCRIPT_NAME="/bill")
    assert status == 200
    assert json.loads(body)["total"]["calls"] == 320
    assert call_app(app, "/api/v1/summary", HTTP_SEC_FETCH_SITE="cross-site")[0] == 403
    assert call_app(app, "/api/v1/summary", REQUEST_METHOD="POST")[0] == 405


def test_the_ledger_of_the_settings_is_the_default(state):
    taximeter.init(instrument=False, state_dir=state)
    taximeter.track(provider="openai", model="gpt-4o", input_tokens=1)
    assert json.loads(call_app(dashboard.app, "/api/v1/summary")[2])["total"]["calls"] == 1
    taximeter.close()


def test_redacted_values_are_codes_everywhere(path):
    app = dashboard.Dashboard(lambda: taximeter.Ledger(path), redact=("user", "tag:plan"))
    top = json.loads(call_app(app, "/api/v1/top?by=user")[2])
    names = {row["user"] for row in top["rows"]} - {None}
    assert len(names) == 5
    assert all(name.startswith("user-") for name in names)
    series = json.loads(call_app(app, "/api/v1/series?by=user")[2])
    assert names <= {group["name"] for group in series["series"]}
    (call,) = json.loads(call_app(app, "/api/v1/calls?limit=1")[2])["rows"]
    assert call["user"] in names
    assert call["tags"]["plan"] != "pro"
    one = json.loads(call_app(app, f"/api/v1/calls/{call['id']}")[2])["call"]
    assert one == call
    # Neither filters nor downloads nor charts give the values away.
    assert call_app(app, "/api/v1/summary?where=user%3Du1")[0] == 400
    assert call_app(app, "/api/v1/export.jsonl")[0] == 403
    assert b">u1<" not in call_app(app, "/chart/series.svg?by=user")[2]


def test_a_redacted_model_is_in_no_answer(path):
    app = dashboard.Dashboard(lambda: taximeter.Ledger(path), redact=("model",))
    model, call = "gpt-4o", json.loads(call_app(app, "/api/v1/calls?where=cost_status%3Dpriced&limit=1&since=all")[2])["rows"][0]
    for panel in ("latency", "unpriced", "cache", "errors", "top", "series", f"calls/{call['id']}"):
        status, _, body = call_app(app, f"/api/v1/{panel}?since=all" if "/" not in panel else f"/api/v1/{panel}")
        assert status == 200, body
        assert model not in body.decode(), panel


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


def test_the_token_of_a_file(tmp_path):
    path = tmp_path / "state" / "serve.token"
    with pytest.raises(taximeter.ConfigError, match="cannot be used"):
        own_token(path)
    token = own_token(path, is_made=True)
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert own_token(path, is_made=True) == own_token(path) == token
    assert path.stat().st_mode & 0o777 == 0o600
    path.write_text("short")
    with pytest.raises(taximeter.ConfigError, match="20 printable"):
        own_token(path)
    with pytest.raises(taximeter.ConfigError, match="cannot be used"):
        own_token(tmp_path / "nosuch")


def test_an_answer_that_takes_too_long_ends(meter):
    # SQLite looks at the time after some thousands of its instructions.
    for number in range(2_000):
        meter.track(provider="openai", model="gpt-4o", input_tokens=1, user=f"u{number % 5}", latency_ms=number)
    events_of(meter)
    path = meter.settings.ledger
    ledger = taximeter.Ledger(path)
    ledger.timeout = 1e-9
    for ask_it in (
        lambda: ledger.report("model", where={"user": "u1"}),
        lambda: ledger.percentiles(by="user"),
        lambda: ledger.newest(400),
        lambda: ledger.highest("cost_usd", 400),
        lambda: list(ledger.export()),
    ):
        with pytest.raises(taximeter.LedgerTimeoutError, match="longer than allowed"):
            ask_it()
    ledger.timeout = None
    assert ledger.report(()).total.calls == 2_000
    with pytest.raises(ValueError, match="timeout"):
        ledger.timeout = 0
    app = dashboard.Dashboard(lambda: taximeter.Ledger(path))
    app._readers.longest = 1e-9
    for panel in ("summary", "series", "top", "latency", "calls"):
        status, _, body = call_app(app, f"/api/v1/{panel}?where=user%3Du1")
        assert status == 503 and "choose a shorter period" in json.loads(body)["error"]
    # A download may take as long as it likes.
    assert len(call_app(app, "/api/v1/export.jsonl?since=all")[2].splitlines()) == 2_000


def test_what_a_client_no_longer_waits_for_ends(path):
    asked, ended = threading.Event(), []

    class Endless(taximeter.Ledger):
        def report(self, *arguments, **options):
            asked.set()
            try:
                while True:
                    super().report(*arguments, **options)
            except taximeter.LedgerError as error:
                ended.append(str(error))
                raise

    with serving(path, Endless) as running:
        running._dashboard._readers.longest = None
        connection = http.client.HTTPConnection("127.0.0.1", running.server_port)
        connection.request("GET", "/api/v1/summary", headers={"Authorization": f"Bearer {TOKEN}"})
        assert asked.wait(30)
        assert not ended
        connection.sock.close()
        connection.close()
        wait_for(lambda: ended)
    assert ended == ["stopped before the end"]


class Slow:
    """A source whose reports wait until they may answer."""

    timezone = timezone.utc
    path = None
    is_file = True
    timeout = None

    def __init__(self, state):
        self.state = state

    def report(self, *_, **__):
        with self.state["lock"]:
            self.state["now"] += 1
            self.state["most"] = max(self.state["most"], self.state["now"])
        self.state["entered"].release()
        assert self.state["may"].wait(30)
        with self.state["lock"]:
            self.state["now"] -= 1
        raise taximeter.LedgerError("too slow")


def test_no_more_than_four_requests_read_at_once_and_the_others_wait(monkeypatch):
    from taximeter.dashboard import source

    state = {"lock": threading.Lock(), "now": 0, "most": 0, "entered": threading.Semaphore(0), "may": threading.Event()}
    app, statuses, opened = None, [], []

    def make():
        opened.append(1)
        return Slow(state)

    app = dashboard.Dashboard(make)
    threads = [threading.Thread(target=lambda: statuses.append(call_app(app, "/api/v1/summary")[0])) for _ in range(12)]
    for thread in threads:
        thread.start()
    for _ in range(4):
        assert state["entered"].acquire(timeout=30)
    # One that comes too late for its wait is told so.
    monkeypatch.setattr(source, "_WAIT", 0)
    status, headers, body = call_app(app, "/api/v1/summary")
    assert (status, headers["Retry-After"]) == (503, "10")
    assert "busy" in json.loads(body)["error"]
    state["may"].set()
    for thread in threads:
        thread.join()
    assert (state["most"], statuses) == (4, [503] * 12)
    assert len(opened) == 4
