from __future__ import annotations

import pytest

import taximeter
from taximeter.config import default_state_dir, resolve


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


def test_a_pyproject_table_is_found_from_below(tmp_path):
    (tmp_path / "pyproject.toml").write_text('[tool.taximeter]\nteam = "project"\nbudget_mb = 64\n')
    below = tmp_path / "src" / "deep"
    below.mkdir(parents=True)
    settings = resolve({}, {}, below)
    assert (settings.attribution, settings.budget) == ({"team": "project"}, 64 * 1024 * 1024)


@pytest.mark.parametrize(
    ("arguments", "environ", "message"),
    [
        ({"colour": "red"}, {}, "colour: not a setting"),
        ({"destination": "https://example.com"}, {}, "destination"),
        ({"durability": "every"}, {}, "durability"),
        ({"backend": "cloud"}, {}, "backend"),
        ({"budget_mb": "lots"}, {}, "budget_mb"),
        ({"budget_mb": float("nan")}, {}, "budget_mb"),
        ({"budget_mb": 1}, {}, "budget_mb"),
        ({"tags": 7}, {}, "tags"),
        ({"instrument": 7}, {}, "instrument"),
        ({}, {"TAXIMETER_ENABLED": "perhaps"}, "enabled"),
        ({}, {"TAXIMETER_DISABLED": "perhaps"}, "TAXIMETER_DISABLED"),
    ],
)
def test_a_bad_setting_is_an_error_that_names_it(arguments, environ, message, tmp_path):
    with pytest.raises(taximeter.ConfigError, match=message):
        resolve(arguments, environ, tmp_path)


def test_a_broken_file_is_an_error_and_a_broken_pyproject_is_not_ours(tmp_path):
    (tmp_path / "pyproject.toml").write_text("[tool")
    assert resolve({}, {}, tmp_path).attribution == {}
    (tmp_path / "taximeter.toml").write_text("team =")
    with pytest.raises(taximeter.ConfigError, match=r"taximeter\.toml"):
        resolve({}, {}, tmp_path)


def test_names_of_providers_come_from_the_environment_too(tmp_path):
    assert resolve({}, {"TAXIMETER_INSTRUMENT": "openai, anthropic"}, tmp_path).instrument == ("openai", "anthropic")
    assert resolve({}, {"TAXIMETER_INSTRUMENT": "false"}, tmp_path).instrument is False


def test_the_state_directory_follows_the_platform_or_the_environment(tmp_path):
    assert default_state_dir({"TAXIMETER_STATE_DIR": str(tmp_path)}) == tmp_path
    assert default_state_dir({"XDG_STATE_HOME": "/x"}).as_posix().endswith("taximeter")


def test_disabled_by_the_environment_nothing_is_recorded_and_nothing_breaks(run, state):
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


def test_init_again_changes_the_settings_and_loses_nothing(state):
    meter = taximeter.init(instrument=False, team="first")
    taximeter.track(provider="openai", model="gpt-4o", input_tokens=1)
    assert taximeter.init(instrument=False, team="second") is meter
    taximeter.track(provider="openai", model="gpt-4o", input_tokens=1)
    taximeter.init(instrument=False, state_dir=state.parent / "elsewhere", team="third")
    taximeter.track(provider="openai", model="gpt-4o", input_tokens=1)
    taximeter.close(5)
    assert {row.key["team"] for row in taximeter.Ledger(state / "ledger.db").report("team")} == {"first", "second"}
    assert {row.key["team"] for row in taximeter.Ledger(state.parent / "elsewhere" / "ledger.db").report("team")} == {"third"}


def test_a_broken_file_does_not_fail_the_first_event(run, state):
    (state.parent / "taximeter.toml").write_text("team =")
    outcome = run("import taximeter; assert taximeter.track(provider='openai', model='gpt-4o', input_tokens=1)")
    assert "settings cannot be read" in outcome.stderr
