"""The screens of the command line in a real terminal: tmux keeps the grid of characters that a person would see."""

from __future__ import annotations

import itertools
import json
import os
import pty
import random
import re
import shlex
import shutil
import signal
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

import taximeter
from conftest import DAY, events_of, keep_clear_of_the_end, wait_for
from taximeter.table import display_width

pytestmark = pytest.mark.skipif(shutil.which("tmux") is None, reason="needs tmux, which `make` installs on Debian")

HOSTILE = {
    "[/foo]": "[/foo]", "\x1b[2Jacme": r"\x1b[2Jacme", "\u202eacme": r"\u202eacme", "=1+1": "=1+1", "株式会社": "株式会社", "a\nb": r"a\nb",
    "<script>": "<script>", "x" * 512: "xxxxx…xxxxx",
}  # fmt: skip
"""Names of customers, and how they are shown."""
_NUMBERS = itertools.count()
WIDTHS = (80, 120, 200)


@pytest.fixture(scope="module")
def spent(tmp_path_factory):
    """Return a state directory with calls of 40 days: three models, hostile customers, failures, and calls without a price."""
    random.seed(7)
    keep_clear_of_the_end(DAY, 300)
    state = tmp_path_factory.mktemp("screens") / "state"
    meter = taximeter.Meter(state_dir=state, timezone="UTC", budgets=[taximeter.Budget("all", usd="700", per="month")])
    now = datetime.now(timezone.utc)
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    for number in range(800):
        back = number % 40
        at = now - timedelta(seconds=number) if back == 0 else midnight - timedelta(days=back, seconds=-number * 60)
        model = ("gpt-4o", "gpt-4o-mini", "claude-sonnet-4-5")[number % 3]
        shared = {
            "provider": "anthropic" if "claude" in model else "openai",
            "model": model,
            "started_at": max(at, midnight - timedelta(days=back)),
        }
        customer = list(HOSTILE)[number % len(HOSTILE)]
        if number % 50 == 49:
            meter.track(**shared, customer=customer, status="error", error="RateLimitError", usage_status="missing")
        else:
            meter.track(
                **shared, customer=customer, team="search", latency_ms=random.uniform(300, 3000), input_tokens=random.randrange(2_000, 900_000),
                cache_read_tokens=random.randrange(2_000), output_tokens=random.randrange(10, 90_000),
            )  # fmt: skip
    meter.track(provider="openai", model="my-finetune", input_tokens=7, customer="[/foo]", started_at=now)
    events_of(meter)
    meter.close()
    return state


class Terminal:
    """A terminal of so many columns and lines."""

    def __init__(self, state, columns: int, lines: int = 40) -> None:
        self.name = f"taximeter-test-{os.getpid()}-{next(_NUMBERS)}"
        self._state, self._size = state, ("-x", str(columns), "-y", str(lines))
        self._runs = 0

    def tmux(self, *arguments: str) -> str:
        environment = {**os.environ, "TAXIMETER_STATE_DIR": str(self._state), "LC_ALL": "C.UTF-8", "TZ": "UTC"}
        # pytest-xdist sets COLUMNS, which would hide the terminal's own size.
        for name in ("TMUX", "COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR"):
            environment.pop(name, None)
        command = ["tmux", "-L", self.name, "-f", "/dev/null", *arguments]
        outcome = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=300, check=False, env=environment)
        assert outcome.returncode == 0, outcome.stderr
        return outcome.stdout

    def start(self, *arguments: str) -> None:
        self._runs += 1
        words = shlex.join([sys.executable, "-m", "taximeter", *arguments])
        end = f"tmux -L {self.name} wait-for -S done{self._runs}"
        script = f'cd {shlex.quote(str(self._state.parent))}; {words}; echo "exit $?"; {end}; exec sleep 600'
        if self._runs == 1:
            self.tmux("new-session", "-d", *self._size, script)
        else:
            self.tmux("new-window", script)

    def finish(self) -> list[str]:
        self.tmux("wait-for", f"done{self._runs}")
        return self.lines()

    def run(self, *arguments: str) -> list[str]:
        """Return the lines of the screen after a command. No line was longer than the terminal."""
        self.start(*arguments)
        lines = self.finish()
        assert lines == self.lines("-J"), "a line is wrapped"
        return lines

    def lines(self, *options: str) -> list[str]:
        return [line.rstrip() for line in self.tmux("capture-pane", "-p", *options).rstrip("\n").splitlines()]

    def close(self) -> None:
        self.tmux("kill-server")


@pytest.fixture(params=WIDTHS)
def terminal(spent, request):
    one = Terminal(spent, request.param)
    yield one
    one.close()


@pytest.fixture
def small(spent):
    one = Terminal(spent, 80, 24)
    yield one
    one.close()


def data(state, *arguments: str) -> dict:
    environment = {**os.environ, "TAXIMETER_STATE_DIR": str(state), "TZ": "UTC"}
    command = [sys.executable, "-m", "taximeter", *arguments, "--json"]
    outcome = subprocess.run(
        command, capture_output=True, encoding="utf-8", timeout=300, check=True, env=environment, cwd=state.parent
    )
    return json.loads(outcome.stdout)


def matches(line: str, *parts: str) -> bool:
    return re.fullmatch(" +".join(parts), line.strip()) is not None


def ends(lines: list[str], pattern: str) -> set[int]:
    """Return the columns in which what matches a pattern ends in each line."""
    return {display_width(line[: re.search(pattern, line).end()]) for line in lines}


COST = r"(≥ )?\$?[\d,]+\.\d+"


def test_the_screens_look_as_drawn(terminal, spent):
    now = datetime.now(timezone.utc)
    shown = terminal.run()
    assert matches(shown[0], f"{now:%a %d %b %Y} \\d\\d:\\d\\d, UTC")
    assert shown[1].split() == ["cost", "before", "calls", "errors", "cached"]
    today = next(line for line in shown if line.startswith("today "))
    assert matches(today, "today", COST, r"([+-][\d,]+ %)?", r"\d+", r"\d\.\d %", r"\d+ %", r"p50 \d\.\d s +p95 \d\.\d s")
    month = next(line for line in shown if line.startswith(f"{now:%B} "))
    assert len(ends([shown[1], today, month], r"cost|\d\.\d+")) == 1
    rest = "    ".join(shown[4 : shown.index("")])
    assert re.fullmatch(
        r"forecast  \$[\d,]+(-[\d,]+)? by \d\d \w{3}    now \$[\d.]+/h    budget all [#.]{9} \d+ % of \$700(, on pace \$[\d,.]+(-[\d,.]+)?)?",
        rest,
    )
    shown = shown[shown.index("") - 5 :]
    assert shown[6].split() == ["model", f"({now:%B})", "cost", "share", "calls", "cached", "14", "days"]
    assert matches(shown[7], "claude-sonnet-4-5", COST, r"\d+ %", r"\d+", r"\d+ %", "[▁▂▃▄▅▆▇█]{14}")
    assert any(re.match(r"1 call \(\d\.\d %\) has no price and is in no sum: taximeter unpriced", line) for line in shown)

    shown = terminal.run("daily", "--since", "2d")
    # No call of these days failed.
    assert shown[0].split() == ["day", "cost", "calls", "input", "output"]
    days = [now - timedelta(days=back) for back in (2, 1, 0)]
    form = "%a %d %b" if {day.year for day in days} == {now.year} else "%d %b %Y"
    for line, back, day in zip(shown[1:4], (2, 1, 0), days, strict=True):
        tail = [r"\(so far\)"] if back == 0 else []
        assert matches(line, f"{day:{form}}", COST, r"#+\.*", r"\d+", r"[\d,.]+[kM]?", r"[\d,.]+[kM]?", *tail), line
    assert len(ends(shown[:4], r"cost|\d\.\d+")) == 1
    assert terminal.run("daily", "--since", "20d")[0].split() == ["day", "cost", "calls", "errors", "input", "output"]
    for command in ("hourly", "weekly", "daily"):
        # Neither a bar nor a part of time is cut.
        assert not any("…" in line for line in terminal.run(command))

    shown = terminal.run("tail", "--no-follow", "-n", "30")
    calls = [line for line in shown if re.match(r"\d\d:\d\d:\d\d  ", line)]
    good = re.compile(r"\d\d:\d\d:\d\d  \S+ +[\d,]+ in +[\d,]+ out  (\$\d+\.\d+|unpriced) ")
    assert sum(good.match(line) is not None for line in calls) > 10
    assert any("usage missing" in line and "RateLimitError" in line for line in calls + shown)
    assert not any("0 in" in line and " 0 out" in line for line in calls)

    shown = terminal.run("what-if", "--model", "gpt-4o-mini", "--where", "model=gpt-4o", "--since", "30d")
    assert re.match(r"\d+ calls: \$[\d.,]+ -> \$[\d.,]+ \(-9\d %\); tokenizers may differ", shown[0])


def test_hostile_names_are_literal_and_cells_are_aligned(terminal, spent):
    shown = terminal.run("customers")
    rows = shown[1 : 1 + len(HOSTILE)]
    for name in HOSTILE.values():
        start, _, end = name.partition("…")
        assert sum(line.startswith(start) and end in line for line in rows) == 1, name
    assert len(ends(rows, r" \d[\d,]*\.\d+")) == 1
    total = data(spent, "customers")["total"]
    assert any(line.startswith("total") and f"{total['calls']:,}" in line for line in shown)
    for arguments in (
        ("report", "--by", "customer,team,model,status,provider"),
        ("calls", "-n", "20"),
        ("errors",),
        ("prices", "list", "gpt-5"),
    ):
        shown = terminal.run(*arguments)
        assert all(line.isprintable() for line in shown)
        if arguments[0] == "calls":
            assert sum(re.search(r"[\d,]+ in +[\d,]+ out  (\$\d+\.\d+|unpriced)( |$)", line) is not None for line in shown) >= 15
        if arguments[0] == "report":
            # No digit of a sum is cut.
            costs = [row["cost_usd"] for row in data(spent, *arguments)["rows"]]
            found = [re.search(COST, line)[0] for line in shown[1:20] if line.startswith(("x", "acme", "[", "\\", "<", "=", "株"))]
            assert found
            assert all(any(abs(float(cost) - float(one.replace(",", "").lstrip("≥ "))) < 0.01 for cost in costs) for one in found)


def test_a_pipe_gets_all_rows_in_full(spent):
    environment = {**os.environ, "TAXIMETER_STATE_DIR": str(spent), "COLUMNS": "40", "LINES": "5"}
    command = [sys.executable, "-m", "taximeter", "customers"]
    outcome = subprocess.run(
        command, capture_output=True, encoding="utf-8", timeout=300, check=True, env=environment, cwd=spent.parent
    )
    assert "x" * 512 in outcome.stdout
    assert outcome.stdout.replace("\n", "").isprintable()
    assert len(outcome.stdout.splitlines()) >= 1 + len(HOSTILE) + 2


def test_top_takes_keys_and_gives_the_terminal_back(small):
    small.start("top", "--every", "0.2")
    wait_for(lambda: "by model, sorted by cost" in "".join(small.lines()))
    small.tmux("send-keys", "g")
    wait_for(lambda: "by provider" in "".join(small.lines()))
    small.tmux("send-keys", "s")
    wait_for(lambda: "sorted by calls" in "".join(small.lines()))
    small.tmux("send-keys", "/")
    wait_for(lambda: "filter, such as" in "".join(small.lines()))
    small.tmux("send-keys", "-l", "model~gpt")
    small.tmux("send-keys", "Enter")
    wait_for(lambda: "model~gpt" in small.lines()[0])
    assert not any(line.startswith("anthropic") for line in small.lines())
    small.tmux("send-keys", "/")
    wait_for(lambda: "filter, such as" in "".join(small.lines()))
    small.tmux("send-keys", "-l", "modl=x")
    small.tmux("send-keys", "Enter")
    wait_for(lambda: "did you mean 'model'?" in "".join(small.lines()))
    small.tmux("send-keys", "p")
    wait_for(lambda: "paused" in "".join(small.lines()))
    small.tmux("send-keys", "q")
    shown = small.finish()
    assert shown == ["exit 0"], "the screen from before is back"
    assert small.tmux("display", "-p", "#{cursor_flag} #{alternate_on}").split() == ["1", "0"]


@pytest.mark.parametrize(("key", "code"), [("C-c", 130), ("TERM", 143)])
def test_the_terminal_is_given_back_when_a_signal_ends_top(small, key, code):
    small.start("top", "--every", "60")
    wait_for(lambda: "by model" in "".join(small.lines()))
    if key == "TERM":
        (shell,) = small.tmux("list-panes", "-F", "#{pane_pid}").split()
        (child,) = Path(f"/proc/{shell}/task/{shell}/children").read_text().split()
        os.kill(int(child), signal.SIGTERM)
    else:
        small.tmux("send-keys", key)
    shown = small.finish()
    assert shown[-1] == f"exit {code}"
    assert not any("Traceback" in line or "by model" in line for line in shown)
    assert small.tmux("display", "-p", "#{cursor_flag} #{alternate_on}").split() == ["1", "0"]


def test_watch_redraws_until_q(small, spent):
    small.start("customers", "--watch", "0.2")
    wait_for(lambda: "total" in "".join(small.lines()))
    meter = taximeter.Meter(state_dir=spent)
    meter.track(provider="openai", model="gpt-4o", input_tokens=1, customer="newcomer")
    events_of(meter)
    meter.close()
    wait_for(lambda: any(line.startswith("newcomer") for line in small.lines()))
    small.tmux("send-keys", "q")
    assert small.finish() == ["exit 0"]


def test_colours_follow_the_options_and_the_environment(spent):
    def has_colours(*arguments: str, **environment: str) -> bool:
        command = [sys.executable, "-m", "taximeter", *arguments, "daily"]
        told = {**os.environ, "TAXIMETER_STATE_DIR": str(spent), **environment}
        outcome = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=300, check=True, env=told, cwd=spent.parent)
        return "\x1b[" in outcome.stdout

    assert not has_colours()
    assert has_colours("--color", "always")
    assert has_colours(FORCE_COLOR="1")
    assert not has_colours(FORCE_COLOR="1", NO_COLOR="1")
    assert has_colours("--color", "always", NO_COLOR="1")
    assert not has_colours("--color", "never", FORCE_COLOR="1")


def test_a_dumb_terminal_gets_no_escapes(spent):
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TAXIMETER_STATE_DIR": str(spent), "TERM": "dumb"}
    for arguments in (("top",), ("customers", "--watch"), ("daily",)):
        command = [sys.executable, "-m", "taximeter", *arguments]
        subprocess.run(command, stdout=theirs, stderr=subprocess.DEVNULL, timeout=300, check=True, env=environment, cwd=spent.parent)
        assert b"\x1b" not in os.read(ours, 1 << 16)
    os.close(ours)
    os.close(theirs)


def test_a_report_is_drawn_into_a_file(spent):
    environment = {**os.environ, "TAXIMETER_STATE_DIR": str(spent)}
    command = [sys.executable, "-m", "taximeter", "report", "--by", "day,customer", "--plot", "chart.svg"]
    subprocess.run(command, capture_output=True, timeout=300, check=True, env=environment, cwd=spent.parent)
    drawn = (spent.parent / "chart.svg").read_text("utf-8")
    assert drawn.startswith("<svg")
    assert "&lt;script&gt;" in drawn
    assert "<script>" not in drawn
