from __future__ import annotations

import pytest

import taximeter
from taximeter.fields import ATTRIBUTION, FIELDS
from taximeter.settings import default_state_dir, resolve


def test_arguments_come_before_environment_before_file_before_default(tmp_path):
    (tmp_path / "taximeter.toml").write_text('team = "file"\nagent = "file"\nfeature = "file"\n[tags]\na = "file"\nb = "file"\n')
    environ = {
        "TAXIMETER_TEAM": "environment",
        "TAXIMETER_AGENT": "environment",
        "TAXIMETER_TAGS": "b=environment,c=environment",
    }
    settings = resolve({"team": "argument", "tags": {"c": "argument"}}, environ, tmp_path)
    assert settings.attribution == {"team": "argument", "agent": "environment", "feature": "file"}
    assert settings.tags == {"a": "file", "b": "environment", "c": "argument"}
    assert settings.enabled
    assert settings.backend == "mapped"


def test_a_pyproject_table_is_found_from_a_subdirectory(tmp_path):
    (tmp_path / "pyproject.toml").write_text('[tool.taximeter]\nteam = "project"\nbudget_mb = 64\n')
    below = tmp_path / "src" / "deep"
    below.mkdir(parents=True)
    settings = resolve({}, {}, below)
    assert (settings.attribution, settings.budget) == ({"team": "project"}, 64 * 1024 * 1024)


@pytest.mark.parametrize(
    ("arguments", "environ", "message"),
    [
        ({"colour": "red"}, {}, r"colour: not a setting \(from argument\); there are agent, backend"),
        ({"custmer": "acme"}, {}, r"custmer: not a setting \(from argument\); did you mean customer\?"),
        ({"destination": "https://example.com"}, {}, "destination"),
        ({"durability": "process"}, {}, "durability: not a setting"),
        ({"backend": "cloud"}, {}, "backend"),
        ({"budget_mb": "lots"}, {}, "budget_mb"),
        ({"budget_mb": float("nan")}, {}, "budget_mb"),
        ({"budget_mb": 1}, {}, "budget_mb"),
        ({"linger_ms": "long"}, {}, "linger_ms"),
        ({"linger_ms": -1}, {}, "linger_ms"),
        ({"linger_ms": float("nan")}, {}, "linger_ms"),
        ({"linger_ms": True}, {}, "linger_ms"),
        ({"linger_ms": 60_001}, {}, "linger_ms"),
        ({"retention": "400"}, {}, "retention"),
        ({"retention": "12h"}, {}, "retention"),
        ({}, {"TAXIMETER_RETENTION": "for ever"}, "retention"),
        ({"tags": 7}, {}, "tags"),
        ({"instrument": 7}, {}, "instrument"),
        ({}, {"TAXIMETER_ENABLED": "perhaps"}, "enabled"),
        ({}, {"TAXIMETER_DISABLED": "perhaps"}, "TAXIMETER_DISABLED"),
    ],
)
def test_a_bad_setting_is_an_error_that_names_it(arguments, environ, message, tmp_path):
    with pytest.raises(taximeter.ConfigError, match=message):
        resolve(arguments, environ, tmp_path)


def test_a_broken_file_is_an_error_but_a_broken_pyproject_is_ignored(tmp_path):
    (tmp_path / "pyproject.toml").write_text("[tool")
    assert resolve({}, {}, tmp_path).attribution == {}
    (tmp_path / "taximeter.toml").write_text("team =")
    with pytest.raises(taximeter.ConfigError, match=r"taximeter\.toml"):
        resolve({}, {}, tmp_path)


def test_the_wait_for_a_transaction_comes_from_argument_environment_or_file(tmp_path):
    assert resolve({}, {}, tmp_path).linger_ms == 250.0
    (tmp_path / "taximeter.toml").write_text("linger_ms = 100\n")
    assert resolve({}, {}, tmp_path).linger_ms == 100.0
    assert resolve({}, {"TAXIMETER_LINGER_MS": "50.5"}, tmp_path).linger_ms == 50.5
    assert resolve({"linger_ms": 0}, {"TAXIMETER_LINGER_MS": "50.5"}, tmp_path).linger_ms == 0.0


def test_family_names_can_come_from_the_environment(tmp_path):
    assert resolve({}, {"TAXIMETER_INSTRUMENT": "openai, anthropic"}, tmp_path).instrument == ("openai", "anthropic")
    assert resolve({}, {"TAXIMETER_INSTRUMENT": "false"}, tmp_path).instrument is False


def test_the_state_directory_follows_the_platform_or_the_environment(tmp_path):
    assert default_state_dir({"TAXIMETER_STATE_DIR": str(tmp_path)}) == str(tmp_path)
    assert default_state_dir({"XDG_STATE_HOME": "/x"}).endswith("taximeter")


def test_disabled_by_the_environment_nothing_is_recorded_and_nothing_fails(run, state):
    run(
        """
        import taximeter
        taximeter.init()
        receipt = taximeter.track(provider="openai", model="gpt-4o", input_tokens=1)
        assert (receipt.refused, receipt.cost_usd, bool(receipt)) == ("disabled", None, False)
        with taximeter.measure(provider="openai", model="gpt-4o") as call:
            call.set_usage(input_tokens=1)
        assert taximeter.flush() == (0, 0, 0)
        assert taximeter.price("gpt-4o", {"input_tokens": 1}).usd is not None
        """,
        TAXIMETER_DISABLED="1",
    )
    assert not state.exists()


def test_a_second_init_changes_the_given_settings_and_loses_nothing(state, run):
    run(
        """
        import taximeter
        def track(): assert taximeter.track(provider="openai", model="gpt-4o", input_tokens=1)
        meter = taximeter.init(instrument=False, team="first", agent="kept")
        track()
        assert taximeter.init(team="second") is meter
        track()
        taximeter.init()
        track()
        assert taximeter.Ledger().path == meter.settings.ledger
        taximeter.init(state_dir="elsewhere", team="third")
        track()
        taximeter.flush()
        assert taximeter.Ledger().report().total.calls == 1
        """
    )
    report = taximeter.Ledger(state / "ledger.db").report(("team", "agent"))
    assert {tuple(row.key.values()): row.calls for row in report} == {("first", "kept"): 1, ("second", "kept"): 2}
    (row,) = taximeter.Ledger(state.parent / "elsewhere" / "ledger.db").report(("team", "agent"))
    assert tuple(row.key.values()) == ("third", "kept")


def test_disabled_takes_precedence_only_if_true(tmp_path):
    assert not resolve({"enabled": True}, {"TAXIMETER_DISABLED": "1"}, tmp_path).enabled
    assert not resolve({}, {"TAXIMETER_DISABLED": "0", "TAXIMETER_ENABLED": "false"}, tmp_path).enabled
    assert resolve({}, {"TAXIMETER_DISABLED": "0"}, tmp_path).enabled


def test_the_environments_state_directory_comes_before_the_files(tmp_path):
    (tmp_path / "taximeter.toml").write_text('state_dir = "/file"\n')
    assert resolve({}, {"TAXIMETER_STATE_DIR": str(tmp_path / "environment")}, tmp_path).state_dir == tmp_path / "environment"
    assert resolve({}, {}, tmp_path).state_dir.name == "file"


@pytest.mark.parametrize("arguments", [{"team": object()}, {"tags": {"a": [1]}}, {"state_dir": 7}])
def test_values_of_the_wrong_type_raise_config_errors(state, arguments):
    with pytest.raises(taximeter.ConfigError, match=next(iter(arguments)).removesuffix("s")):
        taximeter.Meter(**arguments)


def test_a_destinations_key_is_not_repeated(tmp_path):
    with pytest.raises(taximeter.ConfigError) as caught:
        resolve({"destination": "https://user:canary@example.com"}, {}, tmp_path)
    assert "canary" not in str(caught.value)


def test_a_broken_file_does_not_fail_the_first_event(run, state):
    (state.parent / "taximeter.toml").write_text("team =")
    outcome = run("import taximeter; assert taximeter.track(provider='openai', model='gpt-4o', input_tokens=1)")
    assert "settings cannot be read" in outcome.stderr


def test_every_field_of_attribution_is_a_setting_with_its_environment_variable(tmp_path):
    environ = {FIELDS[name].environment: f"the {name}" for name in ATTRIBUTION} | {FIELDS["tags"].environment: "a=b"}
    settings = resolve({}, environ, tmp_path)
    assert settings.attribution == {name: f"the {name}" for name in ATTRIBUTION}
    assert settings.tags == {"a": "b"}


@pytest.mark.parametrize("make", [taximeter.Meter, taximeter.init])
def test_an_unknown_keyword_is_rejected_by_name(make):
    with pytest.raises(TypeError, match=r"there is no 'destinatoin'; did you mean 'destination'\?"):
        make(destinatoin="ledger")
