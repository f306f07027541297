"""What a person sees of the ledger: exact sums, days of any zone, and tables that no name can break."""

from __future__ import annotations

import csv
import decimal
import io
import json
import os
import pty
import random
import re
import subprocess
import sys
from collections import Counter
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

import taximeter
from conftest import DAY, HALF_HOUR, events_of, keep_clear_of_the_end
from taximeter import _core, table
from taximeter.ledger import report as reports
from taximeter.moments import unix_ns
from taximeter.sanitize import printable

HOSTILE = ["[/foo]", "[red]acme[/red]", "\x1b[2Jacme", "a\nb", "株式会社アクメ", "=HYPERLINK(1)", "\u202eacme", "é" * 200, "<script>"]
# Both changes of the clock, half an hour from UTC, a change of half an hour, a zone whose day ends far from UTC's, no midnight on a day.
ZONES = ["Europe/Paris", "Asia/Kolkata", "Australia/Lord_Howe", "Pacific/Chatham", "Pacific/Auckland", "America/Santiago", "UTC"]
CHANGES = [
    datetime(2025, 3, 30, 1, tzinfo=timezone.utc), datetime(2025, 10, 26, 1, tzinfo=timezone.utc),
    datetime(2025, 4, 5, 15, tzinfo=timezone.utc), datetime(2025, 9, 7, 4, tzinfo=timezone.utc), datetime(2025, 12, 31, 23, tzinfo=timezone.utc),
]  # fmt: skip


@pytest.fixture(scope="module")
def travelled(tmp_path_factory):
    """Return a ledger of events around changes of clocks, and the time of each in seconds since 1970."""
    state = tmp_path_factory.mktemp("travelled")
    meter = taximeter.Meter(state_dir=state)
    random.seed(3)
    times = [int(moment.timestamp()) + random.randrange(-100_000, 100_000) for moment in CHANGES for _ in range(150)]
    for number, moment in enumerate(times):
        meter.track(
            provider="openai", model="gpt-4o", input_tokens=1, started_at=moment, user=f"u{number % 3}", team=f"t{number % 2}"
        )
        if number in {300, 600}:
            assert meter.flush(60).pending == 0
            _core.ledger_pack(state / "ledger.db", None)
    events_of(meter)
    meter.close()
    return state / "ledger.db", times


def label(unit: str, moment: datetime) -> str:
    """Return the label of the part of time that contains a moment, by what the clocks of its zone show."""
    if unit == "hour":
        text = moment.replace(minute=0, second=0).isoformat(timespec="minutes")
        return text.replace("+00:00", "Z") if moment.tzinfo is timezone.utc else text
    return {"day": moment.strftime("%Y-%m-%d"), "week": moment.strftime("%G-W%V"), "month": moment.strftime("%Y-%m")}[unit]


@pytest.mark.parametrize("name", ZONES)
@pytest.mark.parametrize("unit", ["hour", "day", "week", "month"])
def test_parts_of_time_are_those_that_the_clocks_of_a_zone_show(travelled, name, unit):
    path, times = travelled
    zone = timezone.utc if name == "UTC" else ZoneInfo(name)
    ledger = taximeter.Ledger(path, timezone=name)
    expected = Counter(label(unit, datetime.fromtimestamp(moment, zone)) for moment in times)
    if unit == "hour" and name in {"Australia/Lord_Howe", "Pacific/Chatham"}:
        # An hour in which clocks change has parts with two offsets, or begins within an hour.
        assert sum(row.calls for row in ledger.report(unit)) == len(times)
        return
    for extra in ((), ("team",), ("user",)):
        found: Counter[str] = Counter()
        for row in ledger.report((unit, *extra)):
            found[row.key[unit]] += row.calls
        assert found == expected, extra
    keys = [row.key[unit] for row in ledger.report(unit)]
    assert keys == sorted(keys, key=lambda key: (key[:10], key[-6:] < "+", key)) or unit == "hour"
    chosen = random.Random(4).sample(sorted(expected), 6) if len(expected) > 6 else expected
    for part in chosen:
        assert ledger.report((), where={unit: part}).total.calls == expected[part], part
        assert len(list(ledger.events(where={unit: part}))) == expected[part]


def test_rows_by_time_are_in_its_order_and_others_by_cost(travelled):
    ledger = taximeter.Ledger(travelled[0], timezone="UTC")
    days = [row.key["day"] for row in ledger.report(("team", "day"))]
    assert days == sorted(days)
    report = ledger.report("team")
    assert [row.key["team"] for row in report.sorted_by("team")] == ["t0", "t1"]
    assert [row.key["team"] for row in report.sorted_by("-team")] == ["t1", "t0"]
    calls = [row.calls for row in ledger.report("day").sorted_by("calls")]
    assert calls == sorted(calls, reverse=True)
    with pytest.raises(ValueError, match="colour"):
        report.sorted_by("colour")


@pytest.mark.parametrize("by", ["user", ("team", "user"), ("day", "user"), "month", ()])
def test_a_part_of_a_report_is_that_of_the_whole_and_the_sum_of_the_rest(travelled, by):
    ledger = taximeter.Ledger(travelled[0], timezone="UTC")
    whole = ledger.report(by)
    for sort in (None, "calls", "-input_tokens", *whole.by[:1], *(f"-{name}" for name in whole.by[:1])):
        ordered = whole if sort is None else whole.sorted_by(sort)
        for limit, offset in ((0, 0), (1, 0), (2, 1), (None, 2), (10_000, 0), (5, 10_000)):
            part = ledger.report(by, sort=sort, limit=limit, offset=offset)
            is_last = limit is not None and sort is None and by in {("day", "user"), "month"}
            assert part == (ordered.page(limit, offset, is_last=is_last) if limit is not None or offset else ordered)
            assert (part.total, part.groups, part.left_out) == (whole.total, len(whole), len(whole) - len(part.rows))
            rest = [row for row in whole if row not in part.rows]
            assert part.others == (reports.total(rest) if rest else None)
            assert sum(row.calls for row in part.folded()) == (whole.total.calls if whole.by else sum(row.calls for row in part))
    if whole.by:
        part = ledger.report(by, limit=1)
        place = 0 if part.is_last else -1
        assert part.folded().rows[place].key[whole.by[0]] == f"{len(whole) - 1:,} others"
        assert f"{len(whole) - 1:,} others" in str(part)
        assert repr(part) == repr(whole)
        assert part.to_dict()["others"]["calls"] == part.others.calls
        assert "others" not in whole.to_dict()
        with pytest.raises(ValueError, match="limit: .* make it without limit"):
            part.plot()


@pytest.mark.parametrize(
    ("options", "message"),
    [({"sort": "colour"}, "sort: 'colour'"), ({"limit": -1}, "limit: -1 is negative"), ({"offset": -2}, "offset: -2 is negative")],
)
def test_the_part_of_a_report_is_checked(travelled, options, message):
    with pytest.raises(ValueError, match=message):
        taximeter.Ledger(travelled[0]).report(**options)


def test_a_span_of_days_begins_at_midnight_in_reports_by_day(meter):
    keep_clear_of_the_end(DAY, 30)
    now = datetime.now(timezone.utc)
    midnight = datetime.combine(now.date() - timedelta(days=2), datetime.min.time(), timezone.utc)
    for hours in (-1, 1, 30):
        meter.track(provider="openai", model="gpt-4o", input_tokens=1, started_at=midnight + timedelta(hours=hours))
    events_of(meter)
    ledger = taximeter.Ledger(meter.settings.ledger, timezone="UTC")
    assert ledger.report("day", since="2d").total.calls == 2
    assert ledger.report("day", since="2d").since == midnight
    assert ledger.report("model", since="2d").since > midnight or now == midnight


def test_moments_are_those_of_the_zone():
    keep_clear_of_the_end(HALF_HOUR, 10)
    paris = ZoneInfo("Europe/Paris")
    today = datetime.now(paris).date()
    begin = {
        "today": today,
        "yesterday": today - timedelta(days=1),
        "2026-11": date(2026, 11, 1),
        "2026-W48": date(2026, 11, 23),
        "this-month": today.replace(day=1),
        "2026-11-02": date(2026, 11, 2),
    }
    for text, day in begin.items():
        expected = datetime(day.year, day.month, day.day, tzinfo=paris).timestamp()
        assert unix_ns("since", text, paris) == expected * 1e9, text
    assert unix_ns("since", "last-month") == unix_ns(
        "since", (datetime.now(timezone.utc).date().replace(day=1) - timedelta(days=1)).replace(day=1)
    )
    for text in ("2026-13", "2026-W60", "last-year", "tomorrow"):
        with pytest.raises(ValueError, match="last-month"):
            unix_ns("since", text)


def test_a_bad_zone_names_the_setting(tmp_path, monkeypatch):
    with pytest.raises(taximeter.ConfigError, match="timezone: 'Europe/Pariss'"):
        taximeter.Ledger(tmp_path / "ledger.db", timezone="Europe/Pariss")
    monkeypatch.setenv("TAXIMETER_TIMEZONE", "nowhere")
    with pytest.raises(taximeter.ConfigError, match="timezone"):
        taximeter.Meter(state_dir=tmp_path / "state").track(provider="openai", model="gpt-4o")
        taximeter.Ledger()


def row(cost: Decimal, **key: str) -> reports.Row:
    counts = dict.fromkeys(
        (
            "calls",
            "errors",
            "unpriced",
            *(f"{name}_tokens" for name in ("input", "output", "cache_read", "cache_write", "reasoning")),
        ),
        0,
    )
    return reports.Row(key=key, cost_usd=cost, **{**counts, "calls": 1})


@given(st.lists(st.integers(0, 10**38), min_size=1, max_size=20), st.sampled_from([1, 6, 28]))
def test_the_total_is_exact_under_any_decimal_context(units, precision):
    rows = [row(Decimal(unit).scaleb(-24, decimal.Context(prec=50)), model=f"m{index}") for index, unit in enumerate(units)]
    with decimal.localcontext() as context:
        context.prec = precision
        context.traps[decimal.Inexact] = True
        report = reports.Report(("model",), tuple(rows), reports.total(rows))
        text, parsed = str(report), json.loads(report.to_json())
    assert int(report.total.cost_usd.scaleb(24, decimal.Context(prec=100))) == sum(units)
    assert parsed["total"]["cost_usd"] == format(report.total.cost_usd, "f")
    assert text.splitlines()[-1].split()[0] == "total"


def test_amounts_of_a_column_align_and_lose_no_digit_that_matters():
    assert table.amounts([Decimal("31.41"), Decimal("1234567.5"), Decimal(0)]) == ["31.41", "1,234,567.50", "0.00"]
    assert table.amounts([Decimal("0.0105"), Decimal(3)]) == ["0.0105", "3.0000"]
    assert table.amounts([Decimal("0.00000123")]) == ["0.000001"]


@given(st.lists(st.tuples(st.text(max_size=40), st.integers(0, 10**12)), min_size=1, max_size=5), st.integers(20, 200))
def test_a_table_fits_and_keeps_every_digit(cells, width):
    names, numbers = [text for text, _ in cells], [f"{number:,}" for _, number in cells]
    columns = [table.Column("name", names, is_text=True), table.Column("n", numbers, rank=1), table.Column("cost", numbers)]
    lines, dropped = table.layout(columns, width=width)
    least = max(map(len, [*numbers, "cost"])) + 3
    assert all(table.display_width(line) <= max(width, least) for line in lines)
    assert all(line.isprintable() for line in lines)
    for line, number in zip(lines[2:], numbers, strict=True):
        assert line.endswith(number)
        assert line.count(number) >= (1 if dropped else 2)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """Return a state directory with calls of customers with hostile names."""
    state = tmp_path_factory.mktemp("hostile") / "state"
    meter = taximeter.Meter(state_dir=state)
    for name in HOSTILE:
        meter.track(
            provider="openai", model="gpt-4o", input_tokens=123_456, output_tokens=7, customer=name, team="search", feature=name,
            user=name, session=name, latency_ms=1100,
        )  # fmt: skip
    meter.track(provider="openai", model="no-such-model", input_tokens=7, customer="unpriced")
    meter.track(provider="openai", model="gpt-4o", customer="cut", status="error", error="RateLimitError", usage_status="missing")
    events_of(meter)
    meter.close()
    return state


def in_terminal(state, *arguments: str, columns: int, lines: int = 60) -> str:
    """Return what a command prints to a terminal."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TAXIMETER_STATE_DIR": str(state), "COLUMNS": str(columns), "LINES": str(lines), "NO_COLOR": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "taximeter", *arguments], stdout=theirs, stderr=subprocess.PIPE, env=environment, cwd=state.parent
    )
    os.close(theirs)
    read = b""
    while True:
        try:
            data = os.read(ours, 65_536)
        except OSError:
            data = b""
        if not data:
            break
        read += data
    assert process.wait(60) == 0, process.stderr.read()
    process.stderr.close()
    os.close(ours)
    return read.decode().replace("\r\n", "\n")


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
@pytest.mark.parametrize("columns", [80, 120, 200])
@pytest.mark.parametrize("by", ["customer", "customer,team,feature,user,session"])
def test_a_report_fits_the_terminal_whatever_the_names(hostile, columns, by):
    shown = in_terminal(hostile, "report", "--by", by, columns=columns)
    lines = shown.splitlines()
    assert all(line.isprintable() and table.display_width(line) <= columns for line in lines)
    assert len(lines) == 1 + len(HOSTILE) + 2 + 2
    assert shown.count("0.3087") == len(HOSTILE)
    assert "≥ 2.7784" in lines[-1]
    if by == "customer":
        for name in (
            "[/foo]",
            "[red]acme[/red]",
            r"\x1b[2Jacme",
            r"a\nb",
            "株式会社アクメ",
            "=HYPERLINK(1)",
            r"\u202eacme",
            "<script>",
        ):
            assert name in shown


def test_tail_names_its_values_and_keeps_a_call_on_a_line(hostile):
    lines = in_terminal(hostile, "tail", "--no-follow", "-n", "20", columns=100).splitlines()
    assert len(lines) == len(HOSTILE) + 2
    assert all(line.isprintable() and table.display_width(line) <= 100 for line in lines)
    assert re.match(r"\d\d:\d\d:\d\d  gpt-4o +123,456 in +7 out  \$0\.3087 +1\.1s  ", lines[0])
    assert "customer=[/foo]" in lines[0]
    assert "usage missing" in lines[-1]
    assert "RateLimitError" in lines[-1]
    assert "unpriced" in lines[-2]


def command(state, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "TAXIMETER_STATE_DIR": str(state), "PYTHONIOENCODING": "utf-8"}
    return subprocess.run(
        [sys.executable, "-m", "taximeter", *arguments],
        capture_output=True,
        encoding="utf-8",
        timeout=300,
        check=False,
        env=environment,
        cwd=state.parent,
    )


def test_csv_holds_no_formula_and_no_control_character(hostile):
    for arguments in (("report", "--by", "customer"), ("export",)):
        safe = command(hostile, *arguments, "--csv").stdout
        found = {line["customer"] for line in csv.DictReader(io.StringIO(safe))}
        assert {"'=HYPERLINK(1)", r"\x1b[2Jacme", "[/foo]"} <= found
        assert "\x1b" not in safe
        raw = {
            line["customer"]
            for line in csv.DictReader(io.StringIO(command(hostile, *arguments, "--csv", "--raw").stdout, newline=""))
        }
        assert {"=HYPERLINK(1)", "\x1b[2Jacme", "a\nb"} <= raw
        assert command(hostile, *arguments, "--csv", "--json").returncode == 2


def test_other_forms_of_a_report_show_names_literally(hostile):
    report = taximeter.Ledger(hostile / "ledger.db").report("customer")
    html = report._repr_html_()
    assert "&lt;script&gt;" in html
    assert html.replace("\n", "").isprintable()
    assert re.fullmatch(r"<Report by customer: 11 rows, 11 calls, at least \$2\.78>", repr(report))
    top = report.top(3)
    assert [row.key["customer"] for row in top][-1] == "8 others"
    assert sum(row.calls for row in top) == 11
    assert len(str(taximeter.Ledger(hostile / "ledger.db").report(())).splitlines()) == 3


@pytest.mark.slow
def test_report_options_are_checked_and_explained(hostile, tmp_path):
    document = json.loads(command(hostile, "report", "--by", "day", "-z", "Asia/Tokyo", "--since", "yesterday", "--json").stdout)
    assert (document["schema_version"], document["command"], document["timezone"]) == (1, "report", "Asia/Tokyo")
    assert document["since"].endswith("T00:00:00+09:00")
    assert document["total"]["calls"] == 11
    for arguments, message in [
        (("report", "--where", "nosuch=1"), "--where: there is no field 'nosuch'"),
        (("report", "--where", "modl=1"), "did you mean 'model'?"),
        (("report", "--by", "custmer"), "--by: there is no field 'custmer'; did you mean 'customer'?"),
        (("daily", "--breakdown", "taem"), "--breakdown: there is no field 'taem'; did you mean 'team'?"),
        (("report", "--where", "latency_ms>=2"), "'=2' is not a decimal number; > needs one, such as latency_ms>2000"),
        (("report", "--where", "model>x"), "'x' is not a decimal number"),
        (("--csv", "show", "x"), "--csv: taximeter show prints no CSV"),
        (("report", "-z", "nowhere"), "timezone: 'nowhere'"),
        (("report", "--limit", "x"), "'x' is not a whole number"),
        (("report", "--sort", "colour"), "'colour'"),
        (("report", "--state-dir", str(tmp_path / "no-such")), "there is no directory"),
    ]:
        outcome = command(hostile, *arguments)
        assert outcome.returncode == 2
        assert message in outcome.stderr, outcome.stderr
        assert outcome.stdout == ""
    empty = command(hostile, "report", "--where", "team=none")
    assert "with team=none" in empty.stderr
    assert empty.stdout == ""
    first, second = (command(hostile, *arguments).stdout for arguments in (("report", "--limit", "2"), ("report", "--limit", "9")))
    assert first == second
    assert "9 others" in command(hostile, "report", "--by", "customer", "--limit", "2").stdout


def test_columns_are_chosen_and_exact_numbers_have_all_digits(hostile):
    names = ["report", "--by", "model", "--columns", "calls,input,cost"]
    head, row, *_ = command(hostile, *names).stdout.splitlines()
    assert head.split() == ["model", "calls", "input", "cost"]
    assert row.split()[-2].endswith("M")
    exact = command(hostile, *names, "--exact").stdout.splitlines()[1].split()
    total = taximeter.Ledger(hostile / "ledger.db").report("model").rows[0]
    assert exact[-2] == f"{total.input_tokens:,}"
    assert Decimal(exact[-1].replace(",", "")) == total.cost_usd
    daily = command(hostile, "daily", "--columns", "errors,calls").stdout.splitlines()
    assert daily[0].split() == ["day", "errors", "calls"]
    wrong = command(hostile, "report", "--columns", "cots")
    assert wrong.returncode == 2
    assert "did you mean 'cost'?" in wrong.stderr


@given(st.text())
def test_printable_text_is_one_line_that_can_be_written(text):
    assert printable(text).isprintable()
    printable(text).encode()
    assert printable(text) == text or not text.isprintable()


@pytest.fixture(scope="module")
def month(tmp_path_factory):
    """Return a state directory with calls of the last 40 days: one on each day, two of another model on each third day."""
    keep_clear_of_the_end(DAY, 300)
    state = tmp_path_factory.mktemp("month") / "state"
    meter = taximeter.Meter(state_dir=state, timezone="UTC")
    noon = datetime.now(timezone.utc).replace(hour=0, minute=0, second=1)
    for back in range(40):
        for model, calls in (("gpt-4o", 1), ("gpt-4o-mini", 2 if back % 3 == 0 else 0)):
            for _ in range(calls):
                meter.track(
                    provider="openai", model=model, input_tokens=1_000_000, started_at=noon - timedelta(days=back), customer=f"c{back % 4}"
                )  # fmt: skip
    meter.track(
        provider="openai",
        model="gpt-4o",
        status="error",
        error="RateLimitError",
        usage_status="missing",
        started_at=noon,
        customer="c0",
    )
    events_of(meter)
    meter.close()
    return state


def test_the_overview_shows_today_the_month_and_a_forecast(month):
    shown = in_terminal(month, columns=80).splitlines()
    today = datetime.now(timezone.utc).date()
    assert "UTC" in shown[0] or today.strftime("%d") in shown[0]
    assert re.match(r"today +\$2\.80 .* 4 +25\.0 %", shown[2])
    document = json.loads(command(month, "--json").stdout)
    assert Decimal(document["today"]["total"]["cost_usd"]) == Decimal("2.8")
    month_usd = Decimal(document["total"]["cost_usd"])
    assert Decimal(document["forecast"]["low_usd"]) >= month_usd
    assert any("gpt-4o-mini" in line and "▁" in line + "▁" for line in shown)
    assert all(table.display_width(line) <= 80 for line in shown)


def test_a_forecast_adds_the_mean_of_each_remaining_weekday():
    from taximeter.cli.overview import forecast

    now = datetime(2026, 11, 28, 12, tzinfo=timezone.utc)
    daily = {
        now.date() - timedelta(days=back): Decimal(10 if (now.date() - timedelta(days=back)).weekday() < 5 else 4)
        for back in range(1, 29)
    }
    found = forecast(Decimal(200), daily, now)
    # Half a Saturday, a Sunday and a Monday, and no day differs from the others of its name.
    assert found == (Decimal(216), Decimal(216), date(2026, 11, 30))
    assert forecast(Decimal(1), dict(list(daily.items())[:2]), now) is None
    uneven = {day: cost * (1 + day.day % 2) for day, cost in daily.items()}
    low, high, _ = forecast(Decimal(200), uneven, now)
    assert 200 < low < high


@pytest.mark.parametrize(
    ("arguments", "rows", "calls"),
    [
        (("daily",), 14, None), (("weekly",), 7, None), (("monthly",), 2, 69), (("customers",), 4, 69), (("session",), 1, 69),
        (("errors",), 1, 1), (("unpriced",), 0, 0), (("daily", "--since", "2d"), 3, None), (("monthly", "--breakdown", "model"), 4, 69),
        (("hourly",), 1, None), (("customers", "--where", "model=gpt-4o-mini"), 4, 28), (("daily", "--limit", "3"), 4, None),
    ],
)  # fmt: skip
def test_ready_made_reports_have_their_rows(month, arguments, rows, calls):
    found = json.loads(command(month, *arguments, "-z", "UTC", "--json").stdout)
    assert found["command"] == arguments[0]
    if arguments[0] == "monthly":
        assert len(found["rows"]) % (2 if len(arguments) > 1 else 1) == 0
    elif arguments[0] != "weekly":
        assert len(found["rows"]) == rows
    if calls is not None:
        assert found["total"]["calls"] == calls
    assert sum(row["calls"] for row in found["rows"]) == found["total"]["calls"]


def test_a_report_by_time_has_bars_and_says_what_goes_on(month):
    lines = command(month, "daily", "-z", "UTC").stdout.splitlines()
    today = next(line for line in lines if "(so far)" in line)
    now = datetime.now(timezone.utc)
    # With the year, if a day of the last two weeks was in another.
    assert today.startswith((f"{now:%a %d %b}", f"{now:%d %b %Y}"))
    assert today.endswith("(so far)")
    assert re.search(r"  #+\.*  ", today)
    assert lines[0].split() == ["day", "cost", "calls", "errors", "input", "output"]
    cut = command(month, "hourly", "--since", "90m", "-z", "UTC").stdout
    assert "(partial)" in cut or "(so far)" in cut or "2026" not in cut
    narrow = in_terminal(month, "daily", columns=60)
    assert all(table.display_width(line) <= 60 for line in narrow.splitlines())


def test_calls_are_listed_and_shown(month):
    events = json.loads(command(month, "calls", "-n", "500", "--json").stdout)["rows"]
    assert len(events) == 69
    assert [event["started_at"] for event in events] == sorted((event["started_at"] for event in events), reverse=True)
    lines = command(month, "calls", "-n", "3").stdout.splitlines()
    assert sum(event["id"] in line for line, event in zip(lines[-3:], events, strict=False)) == 3
    shown = command(month, "show", events[5]["id"][:-3]).stdout
    assert f"model  {events[5]['model']}" in re.sub(" +", "  ", shown)
    unknown = command(month, "show", "ffff")
    assert unknown.returncode == 2
    assert "begins with 'ffff'" in unknown.stderr
    assert len(command(month, "calls", "--where", "status=error").stdout.splitlines()) == 1


def test_rich_shows_names_literally_too(hostile):
    from rich.console import Console

    console = Console(width=200, record=True, file=io.StringIO())
    console.print(taximeter.Ledger(hostile / "ledger.db").report("customer"))
    shown = console.export_text()
    assert "[red]acme[/red]" in shown
    assert r"\x1b[2Jacme" in shown
    assert shown.replace("\n", "").isprintable()
