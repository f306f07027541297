"""ClickHouse against the real server: bytes, equal reports, repeats, and recovery from what can be wrong with a server."""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import datetime, timezone
from decimal import Context, Decimal
from functools import reduce

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import taximeter
from clickhouse_server import ClickHouse, Recorder, environment
from conftest import wait_for
from taximeter import Destination
from taximeter.cli.main import main
from taximeter.errors import LedgerError
from taximeter.ledger import Above, Below, Ledger, Like, Not
from taximeter.ledger.clickhouse import Server, Table
from taximeter.table import EXACT

TABLE = "taximeter_events"


@pytest.fixture(scope="module")
def running(tmp_path_factory) -> Iterator[ClickHouse]:
    server = ClickHouse(tmp_path_factory.mktemp("clickhouse")).start()
    yield server
    server.kill()


@pytest.fixture
def server(running) -> ClickHouse:
    """Return the server with an empty table."""
    if running.process is None:
        running.start()
    running.run(f"DROP TABLE IF EXISTS {TABLE} SYNC")
    Table(Server(running.destination(user="default", token=None))).create()
    return running


@pytest.fixture
def make(state, server):
    made = []

    def meter(*others, **options) -> taximeter.Meter:
        made.append(taximeter.Meter(destination=[*others, server.destination(**options)], state_dir=state))
        return made[-1]

    yield meter
    for one in made:
        one.close(0.5)


def remote(meter: taximeter.Meter) -> dict:
    return next(stats for stats in meter.stats()["destinations"].values() if stats["host"])


def reader(server: ClickHouse) -> Ledger:
    return Ledger(server.destination(user="reader", token="reader-key-4711"), timezone="UTC")


def cli(*arguments: str, **env: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "taximeter", *arguments]
    return subprocess.run(command, env=environment(**env), capture_output=True, text=True, timeout=120)


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=30)
optional = st.none() | texts
events = st.fixed_dictionaries(
    {
        "provider": texts,
        "model": texts,
        "status": st.sampled_from(["success", "error"]),
        "cost_usd": st.none() | st.decimals(0, 99_999_999, places=18) | st.just(Decimal("0.000000000000000000000001")),
        "usage": st.dictionaries(
            st.sampled_from(
                ["input_tokens", "output_tokens", "input_audio_tokens", "reasoning_tokens", "cache_read_tokens", "cache_write_tokens"]
            ),
            st.integers(0, 10**12),
            max_size=3,
        ),
        "tags": st.dictionaries(texts, texts, max_size=3),
        "latency_ms": st.none() | st.integers(0, 10**7),
        "ttft_ms": st.none() | st.integers(0, 10**6),
        "batch": st.booleans(),
        "started_at": st.integers(0, 4_133_980_799),
        **dict.fromkeys(("error", "finish_reason", "service_tier", "region", "agent", "feature", "team", "customer"), optional),
        **dict.fromkeys(("user", "session", "operation"), optional),
    }
)


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(tracked=st.lists(events, min_size=1, max_size=40))
def test_every_field_comes_back_as_the_ledger_has_it(tracked, running, tmp_path_factory):
    running.run(f"DROP TABLE IF EXISTS {TABLE} SYNC")
    Table(Server(running.destination(user="default", token=None))).create()
    state = tmp_path_factory.mktemp("state")
    meter = taximeter.Meter(destination=["ledger", running.destination()], state_dir=state)
    for event in tracked:
        given = {name: value for name, value in event.items() if value is not None}
        meter.track(**given, trace_id="ab" * 16, span_id="cd" * 8, parent_span_id="ef" * 8, call_id="call-1")
    assert meter.flush(60).pending == 0
    meter.close()
    expected = {event["id"]: event for event in Ledger(state / "ledger.db").events()}
    found = {event["id"]: event for event in reader(running).events()}
    assert found == expected
    assert len(found) > 0


def test_a_ledger_is_copied_and_copying_it_again_changes_nothing(both, server):
    own, _, state = both
    for _ in range(2):
        done = cli(
            "--state-dir", state, "export", "--to", server.url, CLICKHOUSE_USER="writer", CLICKHOUSE_PASSWORD="writer-key-4711"
        )
        assert (done.returncode, done.stderr) == (0, "20,000 calls are in clickhouse://127.0.0.1/default\n")
    assert server.number("count()") == 20_000
    found, expected = ({event["id"]: event for event in ledger.events()} for ledger in (reader(server), own))
    assert found == expected


def test_amounts_and_notes_at_their_ends_come_back(server, make):
    """Negative amounts and fractions of seconds come from events of other sources, such as credits."""
    meter = make("ledger")
    for amount in ("0", "0.000000000000000000000001", "99999999.5"):
        meter.track(provider="openai", model="gpt-4o", usage={"audio_seconds": 1.5}, cost_usd=Decimal(amount))
    meter.track(provider="nobody", model="unheard-of", input_tokens=1)
    assert meter.flush(60).pending == 0
    own, other = list(Ledger(meter.settings.ledger).events()), list(reader(server).events())
    assert sorted(own, key=lambda event: event["id"]) == sorted(other, key=lambda event: event["id"])
    assert {event["cost_usd"] for event in other} == {"0", "0.000000000000000000000001", "99999999.5", None}


@pytest.fixture(scope="module")
def both(running, tmp_path_factory) -> tuple[Ledger, Ledger, str]:
    """Return two ledgers with the same 20,000 calls of several weeks: the file and the table; and the state directory."""
    # A table of its own, because other tests drop theirs.
    table = Destination(f"{running.url}/both", user="default")
    Table(Server(table)).create()
    state = tmp_path_factory.mktemp("both")
    meter = taximeter.Meter(destination=["ledger", table], state_dir=state)
    draw = random.Random(7)
    for _ in range(20_000):
        failed, provider = draw.random() < 0.05, draw.choice(["openai", "anthropic", "nobody"])
        meter.track(
            provider=provider, cache_read_tokens=draw.choice([0, 0, draw.randrange(2_000)]), cache_write_tokens=draw.choice([0, 0, 7]), model=draw.choice(["gpt-4o", "claude-sonnet-4-5", "x"]),
            input_tokens=2_007 + draw.randrange(5_000), output_tokens=draw.randrange(900),
            status="error" if failed else "success", error=draw.choice(["Timeout", "Refused"]) if failed else None,
            started_at=1_759_000_000 + draw.randrange(50 * 86_400) + draw.random(), latency_ms=draw.randrange(9_000) / 8,
            team=draw.choice(["a", "b", "Ünï", None]), customer=f"c{draw.randrange(300)}", user=draw.choice(["u'1", "`u`2", 'u"3', "u\\4"]),
            region=draw.choice([None, "eu"]), tags={"plan": draw.choice(["pro", "free\n"]), "it's": "{p0:String}"},
        )  # fmt: skip
    assert meter.flush(60).pending == 0
    meter.close()
    other = Ledger(Destination(f"{running.url}/both", user="reader", token="reader-key-4711"), timezone="UTC")
    return Ledger(state / "ledger.db", timezone="UTC"), other, str(state)


FIELDS = (
    "provider", "model", "operation", "status", "cost_status", "agent", "feature", "team", "customer", "user", "session", "usage_status",
    "service_tier", "region", "error", "finish_reason", "catalog", "cost_notes", "trace_id", "call_id", "hour", "day", "week", "month",
    "tag:plan", "tag:it's", "tag:nothing",
)  # fmt: skip


@pytest.mark.parametrize(
    "by", [(), *((field,) for field in FIELDS), ("team", "day"), ("day", "hour", "model"), ("user", "tag:plan", "status")], ids=str
)
def test_a_report_is_the_same_to_the_last_digit(by, both):
    own, other, _ = both
    expected, found = own.report(by), other.report(by)
    assert found == expected
    assert (str(found), found.to_json()) == (str(expected), expected.to_json())
    assert found.total.calls == 20_000
    assert found.total.cache_saved_usd > 0


PAGES = ((0, 0), (1, 0), (4, 2), (None, 3), (7, 100_000))


@pytest.mark.parametrize("by", ["customer", ("tag:plan", "region"), ("day", "user"), ()], ids=str)
def test_a_part_of_a_report_is_the_same(by, both):
    own, other, _ = both
    names = (by,) if isinstance(by, str) else by
    for place, sort in enumerate(
        [None, "calls", "-input_tokens", "cache_saved_usd", "-cost_usd", *names, *(f"-{name}" for name in names)]
    ):
        for limit, offset in PAGES[place % 2 :: 2]:
            expected, found = (ledger.report(by, sort=sort, limit=limit, offset=offset) for ledger in (own, other))
            assert found == expected, (sort, limit, offset)
            assert (found.total, found.others, found.groups) == (expected.total, expected.others, expected.groups)


def test_only_the_rows_of_a_page_are_asked_for(both, monkeypatch):
    answers = []
    run = Server.run

    def recorded(*arguments, **options) -> str:
        answers.append(run(*arguments, **options))
        return answers[-1]

    monkeypatch.setattr(Server, "run", recorded)
    report = both[1].report("customer", limit=3)
    assert (len(report.rows), report.groups, report.total.calls) == (3, 300, 20_000)
    assert max(answer.count("\n") for answer in answers if "c1" in answer) == 3


@pytest.mark.parametrize("zone", ["Europe/Paris", "Asia/Kathmandu", "America/St_Johns", "Pacific/Chatham"])
def test_days_of_zones_are_the_same(zone, both):
    own, other, _ = both
    for by in ("hour", "day", "week", "month", ("month", "model")):
        assert other.report(by, tz=zone) == own.report(by, tz=zone)


@pytest.mark.parametrize(
    "where",
    [
        {"team": "a"}, {"team": None}, {"team": ["a", None]}, {"team": Not("a")}, {"team": Not(["a", None])}, {"user": "u'1"},
        {"user": "u\\4"}, {"tag:plan": "free\n"}, {"tag:it's": Like("P0")}, {"team": Like("ünÏ")}, {"latency_ms": Above(500.125)},
        {"cost_usd": Below("0.01")}, {"cost_usd": None}, {"cost_usd": Not(None)}, {"input_tokens": [1, 2, 3]},
        {"day": "2025-10-02"}, {"status": "error", "customer": ["c1", "c2"]}, {"ttft_ms": Above(1)}, {"ttft_ms": None},
    ],
    ids=str,
)  # fmt: skip
def test_filters_select_the_same_calls(where, both):
    own, other, _ = both
    assert other.report(("model", "team"), where=where) == own.report(("model", "team"), where=where)
    cut = {"since": "2025-10-02T10:20:30.5Z", "until": "2025-10-20T01:02:03Z", "where": where}
    assert other.report("day", **cut) == own.report("day", **cut)
    ids = [{event["id"] for event in ledger.events(**cut)} for ledger in both[:2]]
    assert ids[0] == ids[1]


def test_single_calls_are_the_same(both):
    own, other, _ = both
    assert other.newest(50) == own.newest(50)
    for measure in ("cost_usd", "latency_ms"):
        found, expected = (ledger.highest(measure, 30, offset=5) for ledger in (other, own))
        assert [event.get(measure) for event in found] == [event.get(measure) for event in expected]
    for by in (("model", "team"), ()):
        found, expected = (ledger.percentiles("latency_ms", by) for ledger in (other, own))
        assert [one[:2] for one in found] == [one[:2] for one in expected]
        for one, two in zip(found, expected, strict=True):
            assert one[2] == pytest.approx(two[2], rel=0.05)
    event = own.newest(1)[0]
    assert other.find(event["id"]) == event
    assert other.find(event["id"][:20]) == own.find(event["id"][:20])
    assert other.find("zz") is None
    found, expected = ({event["id"]: event for event in ledger.events()} for ledger in (other, own))
    assert found == expected
    for nothing in ({"where": {"team": "nobody"}}, {"since": "2031-01-01"}):
        assert list(other.events(**nothing)) == []
        assert other.report((), **nothing) == own.report((), **nothing)
        assert other.report("day", **nothing) == own.report("day", **nothing)


def test_errors_name_the_field_and_what_a_file_is_needed_for(both):
    _, other, _ = both
    for call in (lambda: other.report("nothing"), lambda: list(other.events(where={"nothing": "x"}))):
        with pytest.raises(ValueError, match="nothing. is not a field of reports; use provider"):
            call()
    with pytest.raises(LedgerError, match="no order of arrival"):
        next(other.follow())
    with pytest.raises(LedgerError, match="is in ClickHouse"):
        _ = other.path
    assert repr(other) == "Ledger('clickhouse://127.0.0.1/default')"


def test_commands_print_the_same(both, running, monkeypatch, capsys):
    own, _, state = both
    for name, value in environment().items():
        monkeypatch.setenv(name, value)

    def cli(*arguments: str) -> subprocess.CompletedProcess:
        # In this process: there are many, and a new process takes longer than its query.
        code = main(list(arguments))
        return subprocess.CompletedProcess(arguments, code, *capsys.readouterr())

    for command in (
        ["report", "--by", "team,day"], ["customers", "--limit", "3"], ["daily", "--since", "2025-10-01"], ["errors"], ["unpriced"],
        ["report", "--json", "--where", "team=a"], ["calls", "-n", "7", "--timezone", "UTC"], ["report", "--csv", "--by", "user"],
    ):  # fmt: skip
        expected = cli("--state-dir", state, *command)
        found = cli("--state-dir", state, *command, "--from", f"{running.url}/both")
        assert (found.returncode, found.stdout) == (0, expected.stdout), found.stderr
        assert len(found.stdout) > 50
    for command in (["what-if", "--model", "gpt-4o-mini"], ["what-if", "--model", "gpt-4o-mini", "--where", "team=a", "--json"]):
        expected, found = (cli("--state-dir", state, *more, *command) for more in ((), ("--from", f"{running.url}/both")))
        assert (found.returncode, found.stdout) == (0, expected.stdout), found.stderr
        assert len(found.stdout) > 50
    event = own.newest(1)[0]
    shown = cli("show", event["id"], "--from", f"{running.url}/both")
    assert event["id"] in shown.stdout
    for form in ([], ["--csv"], ["--csv", "--raw"]):
        expected = cli("--state-dir", state, "export", *form).stdout
        found = cli("export", *form, "--from", f"{running.url}/both").stdout
        assert len(found.splitlines()) == 20_000 + bool(form)
        assert sorted(found.splitlines()) == sorted(expected.splitlines())


HOSTILE = (
    "'; DROP TABLE taximeter_events; --", "`x`", "{p0:String}", "a" * 512, "é" * 256, "a\0b", "a\t\n\rb", "\\", "\\N", "NULL", "%00", "İ", "ß",
    "\u202e", "🚕" * 100, "' OR 1=1",
)  # fmt: skip


def test_hostile_names_are_values_and_nothing_else(server, make):
    meter = make("ledger")
    for text in HOSTILE:
        meter.track(provider=text, model=text, input_tokens=1, team=text, user=text, session=text, tags={text: text, "k": text})
    # Python's own form of a byte that is no UTF-8.
    meter.track(provider="openai", model="gpt-4o", input_tokens=1, customer="\udcff")
    assert meter.flush(60).pending == 0
    own, other = Ledger(meter.settings.ledger, timezone="UTC"), reader(server)
    by_id = [{event["id"]: event for event in ledger.events()} for ledger in (own, other)]
    assert by_id[0] == by_id[1]
    assert len(by_id[0]) == len(HOSTILE) + 1
    for by in ("model", "team", "session", "customer", "tag:k", ("provider", "tag:' OR 1=1")):
        assert other.report(by) == own.report(by)
    for text in HOSTILE:
        for where in ({"team": text}, {"user": Not(text)}, {"model": Like(text)}, {f"tag:{text}": text}, [("team", text)] * 60):
            assert other.report((), where=where) == own.report((), where=where), where
        assert other.find(text) is None


def test_many_values_and_hours_of_years_are_more_than_a_url_takes(server, make):
    meter = make("ledger")
    for number in range(60):
        meter.track(
            provider="openai", model="gpt-4o", input_tokens=1, customer=f"c{number}", started_at=1_451_606_400 + number * 40 * 86_400
        )
    assert meter.flush(60).pending == 0
    own, other = Ledger(meter.settings.ledger, timezone="UTC"), reader(server)
    many = {"customer": [f"c{number}" for number in range(0, 6_000, 2)]}
    assert other.report((), where=many) == own.report((), where=many)
    assert other.report((), where=many).total.calls == 30
    with pytest.raises(LedgerError, match="where: too many values"):
        other.report((), where={"customer": ["c" * 100 + str(number) for number in range(2_000)]})
    for by in ("hour", ("day", "hour", "model"), "week"):
        for more in ({}, {"since": "2016-02-03T04:30:00Z", "until": "2021-05-06T07:45:00Z"}):
            assert other.report(by, tz="Asia/Kolkata", **more) == own.report(by, tz="Asia/Kolkata", **more)
            for cut in (
                {"limit": 3},
                {"limit": 2, "offset": 5, "sort": "-hour" if "hour" in by else "-week"},
                {"sort": "cost_usd", "offset": 50},
            ):
                assert other.report(by, tz="Asia/Kolkata", **more, **cut) == own.report(by, tz="Asia/Kolkata", **more, **cut), (
                    by,
                    cut,
                )


def test_screens_of_today_are_the_same(server, make, state):
    """The bare screen, `top` and `statusline`. The calls have no durations, whose percentiles are not exact in a ledger."""
    meter = make("ledger")
    for number in range(300):
        meter.track(provider="openai", model=["gpt-4o", "gpt-4o-mini", "unheard-of"][number % 3], input_tokens=9_000 + number,
                    cache_read_tokens=number * 7, output_tokens=number, team=["a", None][number % 2])  # fmt: skip
    assert meter.flush(60).pending == 0
    meter.close()
    for command in (
        [],
        ["--json"],
        ["top", "--by", "team", "--json"],
        ["top", "--where", "team=a"],
        ["statusline"],
        ["statusline", "--json"],
    ):
        expected = cli("--state-dir", state, *command, "--timezone", "UTC")
        found = cli(*command, "--from", server.url, "--timezone", "UTC")
        assert found.returncode == 0, found.stderr
        assert without_clock(found.stdout) == without_clock(expected.stdout)
        assert len(found.stdout) > 20
    assert "caching saved $" in cli("--from", server.url).stdout
    # Before the command, too; and a command of this machine refuses it.
    assert cli("--from", server.url, "report", "--json").stdout == cli("report", "--json", "--from", server.url).stdout
    refused = cli("--from", server.url, "doctor")
    assert (refused.returncode, "--from: taximeter doctor needs the files of this machine" in refused.stderr) == (2, True)


def without_clock(text: str) -> str:
    """Remove what is another one a second later."""
    return re.sub(r"\d\d:\d\d(:\d\d(\.\d+)?)?|p50.*p95 [^ ]+ s", "", text)


def test_repeats_count_once(server, state):
    """The same request is dropped, also after `kill -9`. Other cuts of the same calls are stored, and reports count them once."""
    with Recorder() as recorder:
        meter = taximeter.Meter(destination=recorder.destination(), state_dir=state)
        for number in range(1_000):
            meter.track(provider="openai", model="gpt-4o", input_tokens=number)
        assert meter.flush(60).pending == 0
        meter.close()
    (query, body), *_ = recorder.requests
    assert "insert_deduplication_token=tm1-" in query
    server.run("CREATE MATERIALIZED VIEW rollup ENGINE = SummingMergeTree ORDER BY model "
               "SETTINGS non_replicated_deduplication_window = 10000 AS "
               f"SELECT model, count() AS calls FROM {TABLE} GROUP BY model")  # fmt: skip
    try:
        for place, old in enumerate(("", "23.8", "24.8", "25.3")):
            server.run(f"TRUNCATE TABLE {TABLE} SYNC")
            server.run("TRUNCATE TABLE rollup SYNC")
            # Tokens are remembered although the table is empty, so each version has its own.
            own = query.replace("insert_deduplication_token=tm1", f"insert_deduplication_token=v{place}")
            more = f"&compatibility={old}" if old else ""
            counts = []
            for _ in range(3):
                server.post(own + more, body)
                counts.append((server.number("count()"), int(server.run("SELECT sum(calls) FROM rollup"))))
            assert len(set(counts)) == 1 and counts[0][0] == counts[0][1] > 0, (old, counts)
        before = server.number("count()")
        server.restart()
        server.post(own, body)
        assert server.number("count()") == before
        server.post(query.replace("insert_deduplication_token=tm1", "insert_deduplication_token=other"), body)
        assert (server.number("count()"), server.number("count()", "FINAL")) == (2 * before, before)
        assert reader(server).report(()).total.calls == before
        assert ("repeats", None) in [check[:2] for check in Table(Server(server.destination(user="default", token=None))).check()]
        server.run(f"OPTIMIZE TABLE {TABLE} FINAL")
        assert server.number("count()") == before
    finally:
        server.run("DROP TABLE IF EXISTS rollup SYNC")


CLOCK = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>
int clock_gettime(clockid_t clock, struct timespec *now) {
    static int (*next)(clockid_t, struct timespec *);
    if (!next) next = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int result = next(clock, now);
    if (!result && clock == CLOCK_REALTIME) now->tv_sec += atol(getenv("SKEW"));
    return result;
}
"""
SKEWED = """
import sys, time, taximeter
central = taximeter.Destination(sys.argv[1], user="writer", token="writer-key-4711")
taximeter.init(destination=["ledger", central], state_dir=sys.argv[2], instrument=False)
for number in range(150):
    taximeter.track(provider="openai", model="gpt-4o", input_tokens=number, team=sys.argv[3])
assert taximeter.flush(60).pending == 0
print(time.time())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the clock is replaced by the dynamic linker of Linux")
def test_hosts_whose_clocks_differ_have_the_hours_of_their_own_clocks(server, tmp_path):
    library = tmp_path / "clock.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-x", "c", "-o", str(library), "-", "-ldl"], input=CLOCK, text=True, check=True)
    ends, own = {}, {}
    for team, skew in (("ahead", 3 * 3600 + 600), ("right", 0), ("behind", -25 * 60 - 86_400)):
        state = str(tmp_path / team)
        for _ in range(2):
            done = subprocess.run(
                [sys.executable, "-c", SKEWED, server.url, state, team], env={**environment(), "LD_PRELOAD": str(library), "SKEW": str(skew)},
                capture_output=True, text=True, timeout=120, check=False,
            )  # fmt: skip
            assert done.returncode == 0, done.stderr
        own[team] = Ledger(f"{state}/ledger.db", timezone="UTC")
        ends[team] = float(done.stdout)
    assert ends["ahead"] - ends["right"] > 3 * 3600
    assert ends["behind"] - ends["right"] < -86_400
    other = reader(server)
    assert other.report(()).total.calls == 900
    for team, ledger in own.items():
        for by in ("hour", "day", ("hour", "model")):
            found, expected = other.report(by, where={"team": team}), ledger.report(by)
            assert (found.rows, found.total.calls) == (expected.rows, 300)
        event = ledger.newest(1)[0]
        assert other.find(event["id"]) == event
    # Calls of one host keep their order, and no id is of two calls.
    places = [(event["team"], event["id"]) for ledger in own.values() for event in ledger.events()]
    assert len(set(places)) == 900
    assert max(id_ for team, id_ in places if team == "behind") < min(id_ for team, id_ in places if team == "right")
    assert max(id_ for team, id_ in places if team == "right") < min(id_ for team, id_ in places if team == "ahead")
    # What is sent again counts once, whatever the clock of the host that sends it is.
    for team in own:
        done = cli(
            "--state-dir",
            str(tmp_path / team),
            "export",
            "--to",
            server.url,
            CLICKHOUSE_USER="writer",
            CLICKHOUSE_PASSWORD="writer-key-4711",
        )
        assert done.returncode == 0, done.stderr
    assert other.report(()).total.calls == 900


def test_sums_near_the_largest_and_times_to_2100_are_exact(server):
    draw = random.Random(9)
    hours = [draw.randrange(4_090_000_000, 4_133_980_800) for _ in range(20)]
    calls = [
        (
            Decimal(draw.randrange(10 ** draw.randrange(20, 36))).scaleb(-24, Context(prec=40)),
            draw.choice(hours) + draw.randrange(60),
            f"u{draw.randrange(3)}",
        )
        for _ in range(400)
    ]
    # All of them together are just below the largest amount that is exact.
    whole = reduce(EXACT.add, (cost for cost, _, _ in calls))
    calls.append((EXACT.subtract(Decimal(10**14), EXACT.add(whole, Decimal("1E-24"))), 4_133_980_799, "u0"))
    names = "id, started_at, provider, model, operation, status, user, cost_usd, cost_status, usage_status"
    values = ", ".join(
        f"(generateUUIDv4(), fromUnixTimestamp64Nano({moment}000000000, 'UTC'), 'openai', 'gpt-4o', 'chat', 'success', '{user}', "
        f"toDecimal128('{cost:f}', 24), 'priced', 'complete')"
        for cost, moment, user in calls
    )
    server.run(f"INSERT INTO {TABLE} ({names}) VALUES {values}")
    other = reader(server)
    sums: dict[tuple[str, str], Decimal] = {}
    for cost, moment, user in calls:
        key = datetime.fromtimestamp(moment, timezone.utc).strftime("%Y-%m-%dT%H:00Z"), user
        sums[key] = EXACT.add(sums.get(key, Decimal(0)), cost)
    report = other.report(("hour", "user"))
    assert {(row.key["hour"], row.key["user"]): row.cost_usd for row in report} == sums
    assert report.total.cost_usd == Decimal("99999999999999.999999999999999999999999")
    part = other.report(("hour", "user"), sort="cost_usd", limit=3)
    assert [row.cost_usd for row in part] == sorted(sums.values(), reverse=True)[:3]
    assert part.total == report.total
    assert max(event["started_at"] for event in other.events()) == "2100-12-31T23:59:59.000000000Z"
    # A greater sum is the largest amount, as in a ledger, and not another one.
    server.run(f"INSERT INTO {TABLE} ({names}) SELECT generateUUIDv4(), {names.removeprefix('id, ')} FROM {TABLE} WHERE cost_usd > 1")
    assert (
        other.report(()).total.cost_usd
        == other.report("user", limit=1).total.cost_usd
        == Decimal("170141183460469.231731687303715884105727")
    )


def test_a_later_revision_of_a_call_replaces_it(server, make):
    meter = make()
    meter.track(provider="openai", model="gpt-4o", input_tokens=10**6)
    assert meter.flush(60).pending == 0
    server.run(f"INSERT INTO {TABLE} SELECT * REPLACE (toDecimal128(7, 24) AS cost_usd, 1 AS revision) FROM {TABLE}")
    report = reader(server).report(())
    assert (report.total.calls, report.total.cost_usd) == (1, Decimal(7))


SENDERS = """
import os, random, signal, sys, time
import taximeter
draw, acknowledged = random.Random(3), 0
for _ in range(int(sys.argv[2])):
    reads, writes = os.pipe()
    process = os.fork()
    if not process:
        os.close(reads)
        central = taximeter.Destination(sys.argv[1], user="writer", token="writer-key-4711", linger=0)
        taximeter.init(destination=["ledger", central], instrument=False)
        number = 0
        while True:
            for _ in range(50):
                taximeter.track(provider="openai", model="gpt-4o", input_tokens=number)
                number += 1
            os.write(writes, b"%20d" % number)
            if number % 200 == 0:
                taximeter.flush(10)
    os.close(writes)
    for _ in range(draw.randrange(1, 7)):
        last = int(os.read(reads, 20))
    # At any point of a request.
    time.sleep(draw.random() / 50)
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    while rest := os.read(reads, 20):
        last = int(rest)
    os.close(reads)
    acknowledged += last
print(acknowledged)
"""
KILLS = 50


def test_senders_that_are_killed_lose_and_double_nothing(server, state):
    """A new process for each sender would take longer than what it sends, so one process forks them all."""
    command = [sys.executable, "-c", SENDERS, server.url, str(KILLS)]
    acknowledged = int(subprocess.run(command, capture_output=True, text=True, check=True, timeout=300).stdout)
    meter = taximeter.Meter(destination=["ledger", server.destination()], state_dir=state)
    wait_for(lambda: meter.drain_report().left == 0)
    meter.close()
    expected = Ledger(state / "ledger.db").report(()).total
    # A sender says how many calls it has after every 50th.
    assert KILLS * 50 <= acknowledged <= expected.calls < acknowledged + KILLS * 50
    assert server.number("uniqExact(id)") == expected.calls
    assert reader(server).report(()).total == expected


def test_a_server_that_is_killed_gets_everything_when_it_is_back(server, make):
    meter = make("ledger", linger=0.01)
    stop = threading.Event()

    def track() -> None:
        while not stop.is_set():
            meter.track(provider="openai", model="gpt-4o", input_tokens=1)
            time.sleep(0.001)

    threads = [threading.Thread(target=track) for _ in range(8)]
    for thread in threads:
        thread.start()
    for _ in range(2):
        wait_for(lambda before=remote(meter)["delivered"]: remote(meter)["delivered"] > before + 500)
        server.restart()
    stop.set()
    for thread in threads:
        thread.join()
    wait_for(lambda: meter.flush(60).pending == 0)
    expected = Ledger(meter.settings.ledger).report(())
    assert server.number("uniqExact(id)") == expected.total.calls
    assert reader(server).report(()).total == expected.total
    assert remote(meter)["dead"] == remote(meter)["dropped"] == 0


def broken(meter: taximeter.Meter, count: int = 50) -> dict:
    """Track calls, try to deliver them, and return the counts. Nothing may become a dead letter."""
    for number in range(count):
        meter.track(provider="openai", model="gpt-4o", input_tokens=number)
    meter.flush(5)
    stats = remote(meter)
    assert (stats["dead"], stats["dropped"], stats["rejected"]) == (0, 0, 0)
    assert stats["pending"] >= count
    return stats


def mended(make, server: ClickHouse, count: int = 50) -> None:
    """Check that all calls arrive now: the next process does not wait for the end of the pause, which is five minutes."""
    meter = make()
    wait_for(lambda: meter.drain_report() is not None and server.number("uniqExact(id)") == count)
    assert all(stats["dead"] == 0 for stats in meter.stats()["destinations"].values())


def test_a_missing_table_pauses_until_it_is_created(server, make):
    server.run(f"DROP TABLE {TABLE} SYNC")
    meter = make()
    stats = broken(meter)
    assert stats["state"] == "paused"
    # A user with rights on this table alone may not know whether it exists.
    assert "code 497, ACCESS_DENIED; create the table with `taximeter clickhouse init`" in stats["last_error"]
    done = cli("clickhouse", "init", server.url, CLICKHOUSE_USER="default", CLICKHOUSE_PASSWORD="")
    assert (done.returncode, done.stdout) == (0, "created the table taximeter_events\n"), done.stderr
    meter.close(0.1)
    mended(make, server)


@pytest.mark.parametrize(
    ("change", "mend"),
    [
        ("MODIFY COLUMN input_tokens String", "MODIFY COLUMN input_tokens UInt64 CODEC(T64, ZSTD(1))"),
        ("DROP COLUMN call_id", None),
    ],
)
def test_other_columns_pause_until_they_are_mended(server, make, change, mend):
    if "MODIFY" in change:
        server.run(f"ALTER TABLE {TABLE} MODIFY COLUMN input_tokens UInt64 CODEC(ZSTD(1))")
    server.run(f"ALTER TABLE {TABLE} {change}")
    meter = make()
    assert broken(meter)["state"] == "paused"
    check = cli("clickhouse", "check", server.url, CLICKHOUSE_USER="default", CLICKHOUSE_PASSWORD="")
    assert check.returncode == 1
    assert ("input_tokens" in check.stdout) or ("no column call_id" in check.stdout)
    if mend is None:
        done = cli("clickhouse", "init", server.url, CLICKHOUSE_USER="default", CLICKHOUSE_PASSWORD="")
        assert done.stdout == "added the column call_id\n", done.stderr
    else:
        server.run(f"ALTER TABLE {TABLE} {mend}")
    meter.close(0.1)
    mended(make, server)


def test_a_wrong_key_and_a_revoked_grant_pause(server, make, state):
    wrong = taximeter.Meter(destination=server.destination(token="wrong-key-4711"), state_dir=state / "other")
    stats = broken(wrong)
    assert (stats["state"], "AUTHENTICATION_FAILED" in stats["last_error"]) == ("paused", True)
    assert "4711" not in json.dumps(stats)
    wrong.close(0.1)
    server.restart(writer="GRANT SELECT ON default.nothing", reader="GRANT SELECT ON default.*")
    try:
        meter = make()
        stats = broken(meter)
        assert (stats["state"], "ACCESS_DENIED" in stats["last_error"]) == ("paused", True)
    finally:
        server.restart(writer="GRANT INSERT ON default.taximeter_events", reader="GRANT SELECT ON default.*")
    meter.close(0.1)
    mended(make, server)


def test_too_many_parts_are_waited_for(server, make):
    server.run("SYSTEM STOP MERGES")
    server.run(f"ALTER TABLE {TABLE} MODIFY SETTING parts_to_throw_insert = 3, parts_to_delay_insert = 2, max_delay_to_insert = 1")
    meter = make(linger=0)
    try:
        wait_for(lambda: broken_by_parts(meter))
        stats = remote(meter)
        assert stats["state"] != "paused"
    finally:
        server.run("SYSTEM START MERGES")
        server.run(f"ALTER TABLE {TABLE} RESET SETTING parts_to_throw_insert, parts_to_delay_insert, max_delay_to_insert")
    wait_for(lambda: meter.flush(60).pending == 0)
    assert server.number("uniqExact(id)") == meter.stats()["tracked"]
    assert remote(meter)["dead"] == 0


def broken_by_parts(meter: taximeter.Meter) -> bool:
    meter.track(provider="openai", model="gpt-4o", input_tokens=1)
    meter.flush(5)
    return "TOO_MANY_PARTS" in (remote(meter)["last_error"] or "")


def test_too_little_memory_is_met_with_smaller_requests(server, make):
    rights = {"writer": "GRANT INSERT ON default.taximeter_events", "reader": "GRANT SELECT ON default.*"}
    server.restart(**rights, profile="<max_memory_usage>10000000</max_memory_usage>")
    try:
        meter = make()
        for number in range(20_000):
            meter.track(provider="openai", model="gpt-4o", input_tokens=number, user=f"user {number}" * 20)
        wait_for(lambda: meter.flush(60).pending == 0)
        assert remote(meter)["dead"] == 0
        assert remote(meter)["failures"] > 0
        assert server.number("uniqExact(id)") == 20_000
    finally:
        server.restart(**rights)


def test_a_table_of_the_first_schema_says_that_savings_are_unknown_until_it_is_brought_up_to_date(server, make):
    server.run(f"ALTER TABLE {TABLE} DROP COLUMN cache_saved_usd")
    server.run(f"ALTER TABLE {TABLE} MODIFY COMMENT 'taximeter schema 1'")
    # A sender of that version names its own columns.
    server.run(f"INSERT INTO {TABLE} (id, started_at, provider, model, cache_read_tokens, cost_usd, cost_status) VALUES "
               "('019adf00-0000-7000-8000-000000000001', now64(9), 'openai', 'gpt-4o', 5, 1.5, 'priced')")  # fmt: skip
    old = reader(server)
    assert (old.report("model").rows[0].cache_saved_usd, old.report(()).total.cache_saved_usd) == (None, None)
    assert old.report().to_dicts()[0]["cache_saved_usd"] is None
    assert ",\n" in old.report().to_json()
    assert "cache_saved_usd" not in next(old.events())
    with pytest.raises(ValueError, match="metric: cache_saved_usd is unknown"):
        old.report().plot("cache_saved_usd")
    printed = cli("report", "--csv", "--from", server.url).stdout
    assert printed.splitlines()[1].endswith(",1.5,")
    check = cli("clickhouse", "check", server.url, CLICKHOUSE_USER="default", CLICKHOUSE_PASSWORD="")
    assert (check.returncode, "no column cache_saved_usd" in check.stdout) == (1, True)
    meter = make()
    assert "run `taximeter clickhouse init`" in broken(meter)["last_error"]
    meter.close(0.1)
    done = cli("clickhouse", "init", server.url, CLICKHOUSE_USER="default", CLICKHOUSE_PASSWORD="")
    assert (done.returncode, done.stdout) == (0, "added the column cache_saved_usd\n"), done.stderr
    comment = server.run(f"SELECT comment FROM system.tables WHERE name = '{TABLE}' AND database = 'default'")
    assert comment == "taximeter schema 2"
    mended(make, server, 51)
    # The same reader sees the column now. The call of the old version has no savings.
    total = old.report(()).total
    assert (total.calls, total.cache_saved_usd) == (51, 0)


def test_the_server_can_collect_the_requests_of_small_senders(server, make):
    meter = make(server_batches=True, linger=0)
    for _ in range(3):
        meter.track(provider="openai", model="gpt-4o", input_tokens=1)
        assert meter.flush(60).pending == 0
    assert server.number("count()") == 3


def test_a_table_that_taximeter_did_not_create_is_left_alone(server):
    server.run(f"DROP TABLE {TABLE} SYNC")
    server.run(f"CREATE TABLE {TABLE} (id UUID) ENGINE = MergeTree ORDER BY id")
    done = cli("clickhouse", "init", server.url, CLICKHOUSE_USER="default", CLICKHOUSE_PASSWORD="")
    assert done.returncode == 2
    assert "did not create (MergeTree)" in done.stderr
    newer = "CREATE TABLE other (id UUID) ENGINE = ReplacingMergeTree ORDER BY id COMMENT 'taximeter schema 99'"
    server.run("DROP TABLE IF EXISTS other SYNC")
    server.run(newer)
    done = cli("clickhouse", "init", f"{server.url}/other", CLICKHOUSE_USER="default", CLICKHOUSE_PASSWORD="")
    assert "a newer version of taximeter created the table, with schema 99" in done.stderr
    server.run("DROP TABLE other SYNC")


def test_another_database_and_its_table_are_created(server):
    url = f"clickhouse+http://127.0.0.1:{server.port}/metering/calls"
    done = cli("clickhouse", "init", url, "--ttl", "400d", CLICKHOUSE_USER="default", CLICKHOUSE_PASSWORD="")
    assert done.stdout == "created the database metering\ncreated the table calls\n", done.stderr
    again = cli("clickhouse", "init", url, CLICKHOUSE_USER="default", CLICKHOUSE_PASSWORD="")
    assert again.stdout == "the table calls is up to date\n"
    again = cli("clickhouse", "init", url, "--json", CLICKHOUSE_USER="default", CLICKHOUSE_PASSWORD="")
    assert json.loads(again.stdout)["rows"] == [{"done": "the table calls is up to date"}]
    checked = cli("clickhouse", "check", url, "--json", CLICKHOUSE_USER="default", CLICKHOUSE_PASSWORD="")
    assert checked.returncode == 0
    assert {check["check"]: check["ok"] for check in json.loads(checked.stdout)["rows"]} == dict.fromkeys(
        ["server", "table", "columns", "calls", "parts"], True
    )
    server.run("DROP DATABASE metering SYNC")
