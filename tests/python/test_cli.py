from __future__ import annotations

import csv
import io
import json
import re
import socket
import subprocess
import sys
from importlib import metadata

import pytest

import taximeter
from conftest import ROOT, rows
from taximeter.ledger.where import GROUPS, NUMBERS


@pytest.fixture
def used(run):
    """Leave events of a process that was killed before it delivered them."""
    run(
        """
        import os, taximeter
        taximeter.init(instrument=False, team="acme")
        for n in range(3):
            taximeter.track(provider="openai", model="gpt-4o", input_tokens=1000, output_tokens=100, tags={"plan": "pro"}, feature=f"f,{n}")
        taximeter.track(provider="openai", model="no-such-model", input_tokens=7)
        os._exit(0)
        """
    )


def test_the_overview_includes_events_of_dead_processes(cli, used):
    outcome = cli()
    assert "today" in outcome.stdout
    assert "1 call (25.0 %) has no price and is in no sum: taximeter unpriced" in outcome.stdout
    assert "gpt-4o" in outcome.stdout
    assert "0.0105" in outcome.stdout
    assert "unknown" in outcome.stdout
    both = json.loads(cli("--json").stdout)
    assert both["today"]["total"]["calls"] == both["total"]["calls"] == 4


def test_the_overview_without_events_names_the_ledger(cli, state):
    assert str(state) in cli().stderr


def test_report_groups_filters_and_prints_three_formats(cli, used):
    assert "acme" in cli("report", "--by", "team,model").stdout
    rows = json.loads(cli("report", "--by", "tag:plan", "--json").stdout)["rows"]
    assert {(row["tag:plan"], row["calls"], row["cost_usd"]) for row in rows} == {("pro", 3, "0.0105"), (None, 1, "0")}
    table = list(csv.DictReader(io.StringIO(cli("report", "--by", "feature", "--where", "model=gpt-4o", "--csv").stdout)))
    assert {row["feature"] for row in table} == {"f,0", "f,1", "f,2"}
    assert json.loads(cli("report", "--until", "2026-01-01", "--json").stdout)["rows"] == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("report", "--by", "colour"), "colour"),
        (("report", "--since", "soon"), "soon"),
        (("report", "--where", "x"), "FIELD=VALUE"),
        (("whatif",), "there is no command 'whatif'; did you mean 'what-if'?"),
        (("price", "gpt-4o", "--at", "1999-01-01"), "--at: '1999-01-01' must lie between 2015 and 2100"),
    ],
)
def test_bad_input_is_reported_on_stderr_with_exit_code_2(cli, arguments, message):
    outcome = cli(*arguments, code=2)
    assert message in outcome.stderr
    assert outcome.stdout == ""


def test_export_prints_every_event(cli, used):
    events = [json.loads(line) for line in cli("export").stdout.splitlines()]
    assert len(events) == 4
    rows = list(csv.DictReader(io.StringIO(cli("export", "--csv").stdout)))
    assert [row["id"] for row in rows] == [event["id"] for event in events]
    assert json.loads(rows[0]["tags"]) == {"plan": "pro"}
    assert rows[-1]["cost_usd"] == ""


def test_tail_prints_the_last_events(cli, used):
    lines = cli("tail", "-n", "2", "--no-follow").stdout.splitlines()
    assert len(lines) == 2
    assert "unpriced" in lines[-1]
    assert json.loads(cli("tail", "-n", "1", "--no-follow", "--json").stdout)["model"] == "no-such-model"


def test_tail_prints_the_events_of_a_running_process(meter, state):
    meter.track(provider="openai", model="gpt-4o", input_tokens=1)
    meter.flush()
    with subprocess.Popen(
        [sys.executable, "-m", "taximeter", "tail", "--json"], stdout=subprocess.PIPE, text=True, cwd=state.parent
    ) as tail:
        try:
            assert json.loads(tail.stdout.readline())["input_tokens"] == 1
            meter.track(provider="openai", model="gpt-4o", input_tokens=2)
            assert json.loads(tail.stdout.readline())["input_tokens"] == 2
        finally:
            tail.kill()


def test_price_explains_known_and_unknown_prices(cli):
    asked = ("price", "gpt-4o", "--input", "1200", "--cache-read", "800", "--output", "350")
    assert cli(*asked).stdout.splitlines()[1:] == ["total: $0.0055"]
    assert "input_tokens: 400 × $2.5 per 1000000 = $0.001" in cli(*asked, "--explain").stdout
    dated = cli("price", "o3", "--input", "1000000", "--at", "2025-06-01", "--usage", "web_searches=2", "--json").stdout
    assert json.loads(dated)["rows"][0]["usd"] == "10.02"
    assert "UNIT=N" in cli("price", "o3", "--usage", "web_searches", code=2).stderr
    assert "'foo' is not a unit" in cli("price", "o3", "--usage", "foo=3", code=2).stderr
    assert rows(cli("price", "gpt-4o", "--input", "1000000", "--batch", "--json"))[0]["usd"] == "1.25"
    assert "unpriced" in cli("price", "no-such-model", code=1).stdout
    assert "input_tokens" in cli("price", "gpt-4o", "--input", "-5", code=2).stderr


def test_models_lists_matching_models(cli):
    assert "openai/gpt-4o" in cli("models", "gpt-4o").stdout.splitlines()
    assert len(rows(cli("models", "--json"))) > 2_000
    cli("models", "no-such-model", code=1)


@pytest.mark.slow
def test_prices_lists_own_rates_and_those_of_the_catalog(cli, state):
    (state.parent / "taximeter.toml").write_text('[prices.rates."openai/gpt-4o"]\ninput_tokens = { per_1m = 1.5 }\n')
    lines = [re.sub(" +", " ", line) for line in cli("prices", "list", "openai/gpt-4o").stdout.splitlines()]
    assert lines[0] == "model condition input output cache read other units"  # the family has no rate for writing to caches
    assert lines[1] == 'openai/gpt-4o your rates {"input_tokens": {"per_1m": "1.5"}}'
    assert lines[2].startswith(" 2.5 10 1.25 ")
    assert "web_searches 10 per 1,000" in lines[2]
    assert any(line.startswith(" batch 1.25 5") for line in lines)
    assert len(rows(cli("prices", "list", "--provider", "openai", "--limit", "3", "--json"))) == 3
    assert cli("prices", "list", "gpt-4o", "--csv").stdout.startswith("model,condition,input,output,cache_read,cache_write,others\n")
    assert "the nearest names are gpt-4o" in cli("prices", "list", "gtp-4o", code=1).stderr
    assert "did you mean 'openai'?" in cli("models", "--provider", "openia", code=1).stderr
    found = json.loads(cli("prices", "--json").stdout)
    assert found["as_of"]
    assert len(found["rows"]) > 2_000
    assert "manual" in cli("price", "gpt-4o", "--input", "1", "--json").stdout
    cli("prices", "list", "no-such-model", code=1)


@pytest.mark.slow
def test_prices_are_compared_and_updated_from_a_file(cli, state, tmp_path):
    catalog = json.loads((ROOT / "data" / "catalog.json").read_text("utf-8"))
    openai = next(provider for provider in catalog["providers"] if provider["id"] == "openai")
    model = next(model for model in openai["models"] if model["id"] == "gpt-4o")
    model["prices"][0]["rates"] |= {"input_tokens": "3", "output_tokens": "11"}
    (tmp_path / "new.json").write_text(json.dumps(catalog))
    shown = cli("prices", "diff", "--from", str(tmp_path / "new.json")).stdout.splitlines()
    assert shown == ["openai/gpt-4o input_tokens: 2.5 → 3", "openai/gpt-4o output_tokens: 10 → 11"]
    assert not (state / "prices").exists()
    assert "2 changes" in cli("prices", "update", "--from", str(tmp_path / "new.json")).stderr
    assert "total: $3" in cli("price", "gpt-4o", "--input", "1000000").stdout
    model["prices"][0]["rates"]["input_tokens"] = "31"
    (tmp_path / "new.json").write_text(json.dumps(catalog))
    assert "held back" in cli("prices", "update", "--from", str(tmp_path / "new.json")).stdout
    update = ("prices", "update", "--from", str(tmp_path / "new.json"), "--accept", "openai/gpt-4o", "--json")
    assert rows(cli(*update))[0]["changes"][0]["new"] == "31"
    (tmp_path / "new.json").write_text("{")
    assert f"{tmp_path / 'new.json'}: not JSON" in cli("prices", "update", "--from", str(tmp_path / "new.json"), code=2).stderr
    assert "total: $31" in cli("price", "gpt-4o", "--input", "1000000").stdout
    assert "total: $2.5" in cli("--state-dir", str(tmp_path / "other"), "price", "gpt-4o", "--input", "1000000").stdout
    assert "empty" in cli("prices", "update", "--from", "", code=2).stderr


@pytest.mark.slow
def test_reprice_prints_its_changes(cli, used, state):
    (state.parent / "taximeter.toml").write_text('[prices.rates."openai/no-such-model"]\ninput_tokens = { per_token = 0.001 }\n')
    cli("drain")
    shown = cli("reprice", "--since", "1h", "--dry-run")
    lines = [line.split() for line in shown.stdout.splitlines()]
    assert lines[1:] == [["openai/no-such-model", "1", "1", "unpriced", "0.007000", "+0.007000"]]
    assert "4 calls examined, 1 would change" in shown.stderr
    found = json.loads(cli("reprice", "--since", "1h", "--where", "model=no-such-model", "--json").stdout)
    assert (found["total"]["examined"], found["rows"][0]["after_usd"]) == (1, "0.007")
    assert cli("reprice").stdout == ""
    assert "nonsense" in cli("reprice", "--since", "nonsense", code=2).stderr
    assert "FIELD=VALUE" in cli("reprice", "--where", "x", code=2).stderr
    assert "BAD" not in cli("doctor").stdout


def test_drain_delivers_events_of_dead_processes(cli, used):
    assert rows(cli("drain", "--json"))[0] == {
        "delivered": 4,
        "left": 0,
        "expired": 0,
        "damaged": 0,
        "reasons": [],
        "failures": [],
    }
    assert cli("drain").stdout == "0 events delivered\n"


def test_drain_reports_undelivered_events_and_exits_with_1(cli, run, state):
    settings = "destination='cloudevents+http://127.0.0.1:9/v1', instrument=False"
    text = f"import os, taximeter; taximeter.init({settings}); taximeter.track(provider='p', model='m', input_tokens=1); os._exit(0)"
    run(text)
    (state.parent / "taximeter.toml").write_text('destination = "cloudevents+http://127.0.0.1:9/v1"\n')
    outcome = cli("drain", code=1)
    assert outcome.stdout == "0 events delivered, 1 left\n"
    assert "127.0.0.1" in outcome.stderr
    report = rows(cli("drain", "--json", code=1))[0]
    assert (report["delivered"], report["left"], report["expired"], report["damaged"]) == (0, 1, 0, 0)
    assert "127.0.0.1" in report["reasons"][0]


def test_doctor_names_what_is_wrong(cli, used, state):
    outcome = cli("drain")
    outcome = cli("doctor", code=1)
    assert "unknown for openai/no-such-model (1)" in outcome.stdout
    (state / "ledger.db").write_bytes(b"garbage" * 1000)
    checks = {check["check"]: check for check in rows(cli("doctor", "--json", code=1))}
    assert not checks["ledger"]["ok"]
    assert checks["state directory"]["ok"]


def test_doctor_distinguishes_missing_usage_from_missing_prices(cli, meter):
    meter.track(provider="openai", model="gpt-4o", usage_status="missing")
    meter.track(provider="openai", model="gpt-4o", status="error", usage_status="missing")
    assert meter.flush(60).pending == 0
    checks = {check["check"]: check for check in rows(cli("doctor", "--json"))}
    assert checks["prices"] == {"check": "prices", "ok": True, "detail": "known for every call of the last 30 days"}
    assert checks["usage"]["detail"].startswith("usage missing for openai/gpt-4o (1): ask with stream_options=")
    assert "note  usage: " in cli("doctor").stdout
    meter.track(provider="groq", model="m", usage_status="missing", finish_reason="stop")
    assert meter.flush(60).pending == 0
    checks = {check["check"]: check for check in rows(cli("doctor", "--json", code=1))}
    assert not checks["usage reports"]["ok"]
    assert checks["usage reports"]["detail"].startswith("usage missing for groq/m (1): ")


def test_doctor_names_units_without_a_rate_and_the_line_to_write(cli, meter, state):
    meter.track(provider="openai", model="gpt-5", usage={"input_tokens": 10, "code_executions": 2})
    assert meter.flush(60).pending == 0
    checks = {check["check"]: check for check in rows(cli("doctor", "--json"))}
    line = 'prices.rates."openai/gpt-5" = { base = "catalog", code_executions = { per_execution = … } }'
    assert checks["rates"]["detail"].startswith(f"no rate for code_executions of openai/gpt-5 (1): {line}")
    (state.parent / "taximeter.toml").write_text(line.replace("…", "0.03"))
    assert "rates: " not in cli("doctor").stdout


def test_a_file_instead_of_the_state_directory_is_an_error(cli, state):
    state.write_text("a file")
    assert "not a directory" in cli("report", code=2).stderr


def test_a_missing_ledger_is_named_with_what_to_do_next(cli, state):
    for arguments in ((), ("report",), ("daily",), ("calls",), ("tail", "--no-follow"), ("what-if", "--model", "gpt-4o")):
        shown = cli(*arguments)
        assert shown.stdout == ""
        assert f"there is no ledger at {state / 'ledger.db'} yet" in shown.stderr
        assert "taximeter doctor" in shown.stderr
    assert cli("-q", "report").stderr == ""


def test_a_question_without_an_answer_says_what_was_looked_for(cli, used):
    assert "no failed calls with team=nobody in " in (told := cli("errors", "--where", "team=nobody").stderr)
    assert "; the last call began on " in told
    assert "no calls without a price with team=nobody since 3d" in cli("unpriced", "--where", "team=nobody", "--since", "3d").stderr
    assert "no calls with team=nobody since 24h in " in cli("hourly", "--where", "team=nobody").stderr
    assert "there are no budgets; taximeter budgets set " in cli("budgets").stderr


def test_a_report_by_nothing_has_one_row(cli, used):
    shown = cli("report", "--by", "").stdout.splitlines()
    assert len(shown) == 2
    assert shown[1].split()[:3] == ["≥", "0.0105", "100"]
    assert len(rows(cli("report", "--by", "", "--json"))) == 1


def test_what_if_leaves_out_and_counts_what_it_cannot_price(cli, meter):
    for usage in ({"input_tokens": 1_000_000}, {"input_tokens": 1_000_000, "web_searches": 3}):
        meter.track(provider="openai", model="gpt-4o", usage=usage)
    meter.track(provider="openai", model="gpt-4o", usage_status="missing")
    meter.track(provider="openai", model="no-such-model", input_tokens=5)
    assert meter.flush(60).pending == 0
    shown = cli("what-if", "--model", "gpt-4.1-nano").stdout.splitlines()
    assert shown[0] == "1 call: $2.50 -> $0.10 (-96 %); tokenizers may differ"
    assert sorted(shown[1:]) == [
        "1 call left out: gpt-4.1-nano has no rate for web_searches",
        "1 call left out: their usage is not known",
        "1 call left out: they have no price now; see taximeter unpriced",
    ]
    assert "the nearest names are gpt-4o" in cli("what-if", "--model", "gtp-4o", code=2).stderr
    assert "2 calls" in cli("what-if", "--model", "o3", "--at", "now").stdout


def test_fields_of_conditions_are_those_of_the_ledger(meter):
    ledger = taximeter.Ledger(meter.settings.ledger)
    with pytest.raises(ValueError, match="is not a field") as raised:
        ledger.report((), where={"no-such-field": "x"})
    told = {*re.findall(r"\w+", str(raised.value).partition("; use ")[2])} - {"or", "tag", "KEY", "a", "number"}
    assert told == {*GROUPS, *NUMBERS}


def test_names_near_a_misspelt_model_are_told_alike(cli, state):
    (state.parent / "text").write_text("abc")
    told = [
        cli("models", "gtp-4o", code=1).stderr, cli("prices", "list", "gtp-4o", code=1).stderr, cli("price", "gtp-4o", code=1).stdout,
        cli("tokens", "text", "--model", "gtp-4o", code=2).stderr,
    ]  # fmt: skip
    for text in told:
        assert "the nearest names are gpt-4o" in text


def test_an_empty_report_has_its_headings(cli):
    assert cli("report", "--csv").stdout.startswith("model,calls,errors,unpriced,input_tokens")


@pytest.mark.slow
def test_doctor_checks_which_clients_can_be_metered(cli, state):
    checks = {check["check"]: check for check in rows(cli("doctor", "--json", "--clients"))}
    version = metadata.version("openai")
    assert checks["client openai"] == {"check": "client openai", "ok": True, "detail": f"{version}: can be metered"}
    # A version whose private function has other parameters.
    package = state.parent / "openai"
    package.mkdir()
    (package / "__init__.py").write_text("__version__ = '99.0'")
    base = "class {0}:\n    def _process_response(self, *, options, http_response): ...\n"
    (package / "_base_client.py").write_text(base.format("SyncAPIClient") + base.format("AsyncAPIClient"))
    checks = {check["check"]: check for check in rows(cli("doctor", "--json", "--clients", code=1))}
    assert not checks["client openai"]["ok"]
    assert "99.0: openai._base_client: " in checks["client openai"]["detail"]
    assert "has no parameter 'response'; this version of the client is not supported" in checks["client openai"]["detail"]


def test_doctor_shows_a_client_that_a_program_could_not_meter(cli, run, state):
    package = state.parent / "openai"
    package.mkdir()
    (package / "__init__.py").write_text("__version__ = '99.0'")
    base = "class {0}:\n    def _process_response(self, *, options, http_response): ...\n"
    (package / "_base_client.py").write_text(base.format("SyncAPIClient") + base.format("AsyncAPIClient"))
    for _ in range(2):
        run("import sys; sys.path.insert(0, '.'); import taximeter; taximeter.init(); import openai._base_client")
    # The same fault is noted once a day.
    assert len((state / "failed-clients.tsv").read_text().splitlines()) == 1
    # Another version is installed.
    assert "note  client openai: 99.0: openai._base_client: " in (shown := cli("doctor").stdout)
    assert f"{metadata.version('openai')} is installed here" in shown
    information = state.parent / "openai-99.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: openai\nVersion: 99.0\n")
    assert "BAD   client openai: 99.0: openai._base_client: " in cli("doctor", code=1).stdout
    (line,) = (state / "failed-clients.tsv").read_text().splitlines()
    (state / "failed-clients.tsv").write_text(line.rpartition("\t")[0] + "\t1700000000\n")
    assert "BAD" not in cli("doctor").stdout


def test_doctor_passes_on_an_empty_state_directory(cli):
    assert "BAD" not in cli("doctor").stdout


def test_doctor_notes_variables_that_look_like_a_misspelt_setting(cli, monkeypatch):
    monkeypatch.setenv("TAXIMETER_TAEM", "search")
    monkeypatch.setenv("TAXIMETER_TEAM", "search")
    monkeypatch.setenv("TAXIMETER_URL", "of the user's own")
    lines = [line for line in cli("doctor").stdout.splitlines() if "environment:" in line]
    assert lines == ["note  environment: TAXIMETER_TAEM is not a setting; did you mean TAXIMETER_TEAM?"]


def test_a_closed_pipe_is_not_an_error(used, state):
    command = f"{sys.executable} -m taximeter models | head -1; exit ${{PIPESTATUS[0]}}"
    outcome = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=300, check=False)
    assert outcome.returncode == 0
    assert outcome.stderr == ""


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", ">&- 2>&-"])
def test_closed_streams_are_not_an_error(used, state, closed):
    outcome = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m taximeter report --where model=none {closed}"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert outcome.returncode == 0
    assert "Traceback" not in outcome.stderr
    # A message does not go to standard output because standard error is closed.
    assert "no calls" not in outcome.stdout


def test_a_port_in_use_is_named_with_what_to_do(cli, used):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        error = cli("serve", "--port", str(port), code=2).stderr
    assert f"--port: the page cannot listen at port {port} of '127.0.0.1'" in error
    assert "0 for a free one" in error


def test_control_characters_of_arguments_are_escapes_in_errors(cli, used):
    for arguments in (("calls", "--nosuch=\x1b[2J"), ("query", "\x1b[2J"), ("backup", "/nosuch\x1b[2J/file")):
        error = cli(*arguments, code=2).stderr
        assert "\x1b" not in error
        assert "\\x1b[2J" in error or arguments[0] == "query"
    assert "\\x1b[2J" in cli("report", "--where", "model=\x1b[2J").stderr


def test_tokens_of_a_file_and_of_standard_input(cli, state):
    place = state.parent / "prompt.txt"
    place.write_text("Hello, world", encoding="utf-8")
    assert cli("tokens", str(place), "--model", "gpt-4o").stdout == "3 tokens (o200k_base, exact)\n"
    assert cli("tokens", str(place), "--model", "claude-sonnet-4-5").stdout == "3 tokens (cl100k_base, an estimate)\n"
    assert cli("tokens", str(place), "--encoding", "gpt2").stdout == "3 tokens (gpt2, exact)\n"
    shown = cli("tokens", str(place), "--model", "gpt-4o", "--cost").stdout.splitlines()
    assert shown == ["3 tokens (o200k_base, exact)", "$0.0000075 as input of gpt-4o"]
    fields = rows(cli("tokens", str(place), "--model", "gpt-4o", "--cost", "--json"))[0]
    assert fields == {"model": "gpt-4o", "tokens": 3, "encoding": "o200k_base", "exact": True, "cost_usd": "0.0000075"}
    text = "é 😀\r\n"
    command = [sys.executable, "-m", "taximeter", "tokens", "-", "--model", "gpt-4o", "--json"]
    piped = subprocess.run(command, input=text.encode(), capture_output=True, check=True)
    assert rows(piped)[0]["tokens"] == taximeter.encoding("o200k_base").count(text)


def test_tokens_reports_what_it_cannot_count(cli, state):
    place = state.parent / "prompt.txt"
    place.write_bytes(b"abc\xff")
    assert "prompt.txt is not a UTF-8 text: byte 3 is invalid" in cli("tokens", str(place), "--model", "gpt-4o", code=2).stderr
    place.write_text("abc")
    assert "the nearest names are gpt-4o" in cli("tokens", str(place), "--model", "gtp-4o", code=2).stderr
    assert "there is no file" in cli("tokens", str(place) + "x", "--model", "gpt-4o", code=2).stderr
    assert "--cost needs --model" in cli("tokens", str(place), "--encoding", "gpt2", "--cost", code=2).stderr
    assert "the price is unknown" in cli("tokens", str(place), "--model", "whisper-1", "--cost", code=1).stdout
