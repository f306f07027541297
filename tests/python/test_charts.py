"""Charts: SVG that any page may contain, and what reports look like in a notebook."""

from __future__ import annotations

import decimal
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from datetime import datetime, timezone
from decimal import Decimal

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

import taximeter
from conftest import events_of
from taximeter import chart, scale

HOSTILE = [
    "<script>alert(1)</script>",
    "[/foo]",
    "\x1b[2J",
    "\u202eacme",
    "=1+1",
    "株式会社アクメ",
    "é" * 256,
    "\ud800",
    "a&b\"'",
    "]]>",
    "\ufffe",
    "",
]
SVG = "{http://www.w3.org/2000/svg}"
NOVEMBER = datetime(2026, 11, 1, tzinfo=timezone.utc)


def elements(drawn: chart.Chart, name: str) -> list[ET.Element]:
    return list(ET.fromstring(drawn.svg).iter(SVG + name))


def charts(names) -> list[chart.Chart]:
    labels, values = [f"{name}{number}" for number, name in enumerate(names)], [Decimal(number) for number in range(len(names))]
    series = dict.fromkeys(names, values)
    return [
        chart.bars(labels, series, title=names[0], unit="USD"), chart.lines(labels, series, title=names[0], ticks=names),
        chart.ranking(labels, values, title=names[0]), chart.sparkline(values, title=names[0]),
    ]  # fmt: skip


@pytest.fixture(scope="module")
def ledger(tmp_path_factory):
    """Return a ledger of three weeks, with names that no page may take for markup."""
    meter = taximeter.Meter(state_dir=tmp_path_factory.mktemp("charted"))
    for number in range(60):
        started = NOVEMBER.timestamp() + (number % 21) * 86_400 + 3600
        name = HOSTILE[number % 9] or None
        model = "gpt-4o" if number % 3 else "nosuch"
        meter.track(
            provider="openai", model=model, input_tokens=number, output_tokens=1, started_at=started, customer=name, team=f"t{number}"
        )
    events_of(meter)
    meter.close()
    return taximeter.Ledger(meter.settings.ledger, timezone="UTC")


@pytest.mark.parametrize("number", range(4))
def test_charts_are_well_formed_and_accessible_whatever_the_names_are(number):
    drawn = charts(HOSTILE)[number]
    root = ET.fromstring(drawn.svg)
    assert (root.get("role"), root[0].tag, root[1].tag) == ("img", SVG + "style", SVG + "title")
    assert ET.fromstring(drawn.markup)[0].text == "<script>alert(1)</script>"
    assert root.find(SVG + "desc").text
    # Names are text and nothing else: not even an element that they name.
    assert {element.tag for element in root.iter()} <= {
        SVG + name for name in "svg style title desc g defs pattern path rect circle text polygon polyline".split()
    }
    assert "\x1b" not in drawn.svg
    assert "\u202e" not in drawn.svg
    drawn.svg.encode()


@pytest.mark.parametrize("number", range(4))
def test_charts_need_no_inline_styles_and_no_scripts(number):
    """A strict content security policy blocks them, and the page has the style sheet itself."""
    markup = charts(["one", "two"])[number].markup
    assert not re.search(r"\sstyle=|<style|<script|\son\w+=|href", markup)
    assert chart.STYLE not in markup
    assert charts(["one", "two"])[number].svg.count(chart.STYLE) == 1


def test_series_differ_in_more_than_their_colour():
    names = [f"series {number}" for number in range(8)]
    drawn = chart.bars(["a"], {name: [1] for name in names}, title="t")
    fills = [group.get("fill") for group in elements(drawn, "g") if group.get("data-series") and group.get("fill")]
    assert len(fills) == 8
    assert all((one == "currentColor") != (two == "currentColor") for one, two in zip(fills, fills[1:], strict=False))
    patterns = {pattern.get("id"): pattern[1].get("d") for pattern in elements(drawn, "pattern")}
    assert len(set(patterns.values())) == 4
    assert {fill[5:-1] for fill in fills if fill.startswith("url")} == set(patterns)
    lines = [
        group
        for group in elements(chart.lines(["a", "b"], {name: [1, 2] for name in names[:4]}, title="t"), "g")
        if group.get("stroke-width")
    ]
    assert len({group.get("stroke-dasharray") for group in lines}) == 4
    assert len({next(group.iter(SVG + "g")).findall(f".//{SVG}path")[1].get("d") for group in lines}) == 4


def luminance(colour: str) -> float:
    parts = [int(colour[index : index + 2], 16) / 255 for index in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, two: str) -> float:
    lighter, darker = sorted((luminance(one), luminance(two)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def test_colours_are_legible_in_both_colour_schemes():
    for colour in re.findall(r"var\(--taximeter-\d,(#\w+)\)", chart.STYLE):
        assert contrast(colour, "#ffffff") >= 3, colour
        assert contrast(colour, "#0d1117") >= 3, colour
    for text, background in re.findall(r"color:(#\w+);background:(#\w+)", chart.STYLE):
        background = background if len(background) == 7 else "#ffffff"
        # Labels have three quarters of the text's strength.
        parts = [round(int(text[i : i + 2], 16) * 0.75 + int(background[i : i + 2], 16) * 0.25) for i in (1, 3, 5)]
        assert contrast("#{:02x}{:02x}{:02x}".format(*parts), background) >= 4.5


def test_bars_are_as_high_as_their_values():
    drawn = chart.bars(["a", "b"], {"x": [Decimal(30), Decimal(10)], "y": [Decimal(10), None]}, title="t", unit="USD")
    sizes = [float(rect.get("height")) for rect in elements(drawn, "rect") if rect.get("data-bin")]
    assert sizes[0] == pytest.approx(sizes[1] * 3, rel=0.05) == pytest.approx(sizes[2] * 3, rel=0.05)
    titles = [title.text for title in elements(drawn, "title")]
    assert "a · x: $30.00 (75%)" in titles
    assert "b · x: $10.00 (100%)" in titles
    below = chart.bars(["a"], {"x": [-5]}, title="t")
    (rect,) = [rect for rect in elements(below, "rect") if rect.get("data-bin")]
    assert float(rect.get("height")) > 100


def test_a_missing_value_interrupts_a_line():
    drawn = chart.lines(list("abcde"), {"x": [1, None, float("nan"), 2, 3]}, title="t", unit="ms")
    (path,) = [path.get("d") for path in elements(drawn, "path") if path.get("d").count("M") > 1 and "L" in path.get("d")]
    assert (path.count("M"), path.count("L")) == (2, 1)
    assert "d · x: 2 ms" in [title.text for title in elements(drawn, "title")]


@given(st.floats(-1e14, 1e14), st.floats(0, 1e14))
def test_axes_have_few_round_numbers_around_the_values(low, size):
    marks = scale.round_numbers(low, low + size)
    assert 2 <= len(marks) <= 7
    slack = 1e-8 * max(abs(low), size, 1)
    assert float(marks[0]) <= low + slack
    assert float(marks[-1]) >= low + size - slack
    texts = [scale.axis_text(mark, marks, "USD") for mark in marks]
    assert len(set(texts)) == len(texts)


def test_texts_of_axes_and_values():
    for high, expected in {
        32: ["$0", "$10", "$20", "$30", "$40"], 0.07: ["$0.00", "$0.02", "$0.04", "$0.06", "$0.08"], 9e6: ["$0.0M", "$2.5M", "$5.0M", "$7.5M", "$10.0M"],
        40_000: ["$0k", "$10k", "$20k", "$30k", "$40k"], 0: ["$0.00", "$0.25"],
    }.items():  # fmt: skip
        marks = scale.round_numbers(0, high)
        assert [scale.axis_text(mark, marks, "USD") for mark in marks] == expected
    for high, expected in {900: ["0 ms", "250 ms", "500 ms", "750 ms", "1,000 ms"], 8_000: ["0 s", "2 s", "4 s", "6 s", "8 s"], 9e4: ["0 s", "25 s", "50 s", "75 s", "100 s"]}.items():  # fmt: skip
        marks = scale.round_numbers(0, high)
        assert [scale.axis_text(mark, marks, "ms") for mark in marks] == expected
    assert [scale.value_text(value, "USD") for value in (None, Decimal("-1.5"), 0.25)] == ["unknown", "-$1.50", "$0.2500"]
    assert [scale.value_text(value, "ms") for value in (1234, 1.25)] == ["1,234 ms", "1.2 ms"]


def test_a_chart_is_saved_as_svg_or_png(tmp_path, monkeypatch):
    drawn = chart.sparkline([1, 2], title="t")
    drawn.save(tmp_path / "a.SVG")
    assert (tmp_path / "a.SVG").read_text("utf-8") == drawn.svg == drawn._repr_html_()
    drawn.save(tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ValueError, match=r"'.*a\.pdf' ends with neither \.svg nor \.png"):
        drawn.save(tmp_path / "a.pdf")
    assert repr(drawn) == "<Chart: t>"
    monkeypatch.setitem(sys.modules, "resvg_py", None)
    with pytest.raises(ModuleNotFoundError, match=r"taximeter\[png\]"):
        drawn.save(tmp_path / "b.png")
    assert not (tmp_path / "b.png").exists()


def test_the_text_of_a_png_appears_or_the_error_says_what_to_install(tmp_path, monkeypatch):
    import resvg_py

    drawn = chart.bars(["a"], {"x": [1]}, title="t")
    original = resvg_py.svg_to_bytes
    drawn.save(tmp_path / "a.png")
    monkeypatch.setattr(resvg_py, "svg_to_bytes", lambda **given: original(skip_system_fonts=True, **given))
    with pytest.raises(OSError, match="fonts-dejavu-core"):
        drawn.save(tmp_path / "b.png")
    assert not (tmp_path / "b.png").exists()
    # A sparkline has no text.
    chart.sparkline([1, 2], title="t").save(tmp_path / "c.png")
    # A machine whose only font is one that charts do not name.
    serif = subprocess.run(["fc-list", ":family=DejaVu Serif:style=Book", "file"], capture_output=True, text=True, check=False).stdout
    if serif:
        font = serif.splitlines()[0].partition(":")[0]
        monkeypatch.setattr(resvg_py, "svg_to_bytes", lambda **given: original(skip_system_fonts=True, font_files=[font], **given))
        bare = original(svg_string=drawn.markup, zoom=2, background="white", skip_system_fonts=True, font_files=[font])
        drawn.save(tmp_path / "d.png")
        assert len((tmp_path / "d.png").read_bytes()) > len(bare)


def test_a_single_series_more_than_colours_shares_none():
    colours = [re.findall(r'class="(tm-\d)"', group)[0] for group in re.findall(r"<g data-series.*?</g>", legend_of(9))]
    assert len(colours) == len(set(colours)) == 9


def legend_of(count: int) -> str:
    return chart.bars(["a"], {f"s{number}": [1] for number in range(count)}, title="t").markup.partition("<g data-left")[0]


def test_a_series_of_another_length_is_an_error():
    with pytest.raises(ValueError, match="'x' has 1 values for 2 labels"):
        chart.bars(["a", "b"], {"x": [1]}, title="t")


def test_empty_charts_are_drawn():
    for drawn in (
        chart.bars([], {}, title="t"),
        chart.lines([], {"x": []}, title="t"),
        chart.ranking([], [], title="t"),
        chart.sparkline([], title="t"),
    ):
        ET.fromstring(drawn.svg)


def test_a_report_by_time_is_drawn_with_days_that_have_no_calls(ledger):
    report = ledger.report(("day", "team"), since="2026-10-30", until="2026-11-25")
    drawn = report.plot()
    bins = {int(rect.get("data-bin")) for rect in elements(drawn, "rect") if rect.get("data-bin")}
    # From 30 October to 24 November there are 26 days, with calls on 1 to 21 November.
    assert bins <= set(range(2, 23))
    assert "2026-10-30 to 2026-11-24" in elements(drawn, "desc")[0].text
    names = [title.text for group in elements(drawn, "g") if group.get("transform") for title in group.findall(SVG + "title")]
    assert len(names) == 9
    assert names[-1] == "52 others"
    assert "(20 of 60 calls have no price)" in drawn.title
    with decimal.localcontext() as context:
        context.prec = 3
        assert report.plot() == drawn


def test_days_are_in_their_order_whatever_the_order_of_the_rows(ledger):
    report = ledger.report("day")
    assert report.sorted_by("-cost_usd").plot() == report.plot()


def test_a_report_of_models_is_a_ranking_that_shows_no_unknown_cost_as_zero(ledger):
    drawn = ledger.report("model").plot()
    texts = [text.text for text in elements(drawn, "text")]
    assert texts[texts.index("nosuch") + 1] == "unknown"
    assert texts[texts.index("gpt-4o") + 1].startswith("$0.")
    calls = [text.text for text in elements(ledger.report("model").plot("calls"), "text")]
    assert calls[1:] == ["gpt-4o", "40", "nosuch", "20"]
    assert elements(ledger.report(()).plot("calls"), "text")[-1].text == "60"


def test_wrong_arguments_of_plot_name_the_nearest(ledger):
    report = ledger.report("model")
    for arguments, message in {("cots_usd",): "metric.*'cost_usd'", ("calls", "line"): "kind.*'lines'"}.items():
        with pytest.raises(ValueError, match=message):
            report.plot(arguments[0], kind=(*arguments, "bars")[1])
    with pytest.raises(ValueError, match="top: 0"):
        report.plot(top=0)
    with pytest.raises(ValueError, match="1,000|longer unit"):
        ledger.report("hour", since="2026-10-01", until="2026-11-29").plot()


def test_a_report_in_a_notebook_has_its_period_and_few_rows(ledger):
    shown = ledger.report("team", since="2026-11-01")._repr_html_()
    assert "since 2026-11-01 00:00, UTC" in shown
    body = re.search("<tbody>(.*)</tbody>", shown)[1]
    assert body.count("<tr>") == 26
    assert "35 others" in body.rpartition("<tr>")[2]
    assert re.search(r"<tfoot><tr><th[^>]*>total</th>", shown)
    assert "<svg" not in shown
    # The last days are shown, and the sum of the others before them.
    days = ledger.report(("day", "team"))._repr_html_()
    rows = re.search("<tbody>(.*)</tbody>", days)[1].split("<tr>")[1:]
    assert "35 others" in rows[0]
    assert "2026-11-21" in rows[-1]
    assert 'role="img"' in days


def test_a_report_in_a_notebook_is_sanitised(ledger):
    shown = ledger.report(("day", "customer"))._repr_html_()
    assert "<script" not in shown
    assert "\x1b" not in shown
    assert "\u202e" not in shown
    assert "&lt;script&gt;" in shown
    for line in re.findall(r"<td[^>]*>[\d,]+</td>", shown):
        assert "text-align:right" in line


def test_the_representation_of_a_report_is_one_line(ledger):
    assert re.fullmatch(r"<Report by model: 2 rows, 60 calls, at least \$0\.\d+>", repr(ledger.report("model")))
    assert re.fullmatch(r"<Report: 1 row, 1 call, .*>", repr(ledger.report((), where={"team": "t1"})))


def test_rows_become_a_frame_of_polars_with_exact_costs(ledger):
    report = ledger.report(("model", "customer"))
    frame = pl.DataFrame(report.rows)
    assert frame["cost_usd"].sum() == report.total.cost_usd
    assert frame["calls"].sum() == 60


def test_charts_are_imported_when_they_are_needed():
    text = "import sys, taximeter, taximeter.ledger; print([name for name in ('taximeter.chart', 'taximeter.ledger.notebook') if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True).stdout.strip() == "[]"
