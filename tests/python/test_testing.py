"""What users' tests are given: the events of a block, apart from everything else."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading

import openai
import pytest

import taximeter
from taximeter import testing
from taximeter.meter import Engine, meter_with


def track(**fields):
    return taximeter.track(provider="openai", model="gpt-4o", input_tokens=1200, output_tokens=350, **fields)


def ask(provider):
    with openai.OpenAI(base_url=f"{provider.url}/v1", api_key="k") as client:
        return client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "Hello"}])


@pytest.fixture
def own(state):
    """Yield the default meter with settings of its own, and its events."""
    meter = taximeter.default_meter
    given = meter._engine._given
    taximeter.init(state_dir=state, instrument=False, team="own")
    yield lambda: [event.get("feature") for event in taximeter.Ledger().events()]
    taximeter.close()
    # Other tests do not have this one's destinations.
    meter._engine._given = given
    meter._engine.configure({})


def test_a_block_has_its_events_and_the_ledger_has_the_others(own, state):
    track(feature="before")
    with testing.capture() as captured:
        assert captured.events == []
        receipt = track(feature="within")
        assert [event["id"] for event in captured.events] == [receipt.id]
        assert (len(captured), captured.events[0]["cost_usd"], captured.events[0]["team"]) == (1, "0.0065", "own")
        captured.clear()
        track(feature="after clear")
        assert captured.report("feature").total.calls == 2
        assert repr(captured) == "Captured(1 events)"
    track(feature="after")
    assert [event["feature"] for event in captured] == ["after clear"]
    assert own() == ["before", "after"]
    assert taximeter.default_meter.settings.root == str(state)


def test_init_within_a_block_does_not_lead_events_out_of_it(own, state, collector, monkeypatch):
    monkeypatch.setenv("TAXIMETER_DISABLED", "1")
    with testing.capture() as captured:
        taximeter.init(collector.url, state_dir=state / "other", feature="init's")
        assert track()
        assert captured.events[0]["feature"] == "init's"
    assert not (state / "other").exists()
    assert collector.events == {}
    assert not taximeter.stats()["destinations"].keys() - {"ledger"}
    monkeypatch.delenv("TAXIMETER_DISABLED")


def test_clients_are_metered_within_a_block_alone(own, provider):
    with testing.capture() as captured:
        ask(provider)
    assert [(event["provider"], event["usage_status"]) for event in captured] == [("openai", "complete")]
    with testing.capture(clients=False) as captured:
        ask(provider)
    assert captured.events == []
    ask(provider)
    assert own() == []
    with pytest.raises(taximeter.ConfigError, match="did you mean 'openai'"), testing.capture(clients=["opanai"]):
        raise AssertionError
    track(feature="still own")
    assert own() == ["still own"]


def test_blocks_nest_and_errors_pass(own):
    with pytest.raises(RuntimeError, match="the test's"), testing.capture() as outer:
        track(feature="outer")
        with testing.capture() as inner:
            track(feature="inner")
        track(feature="outer again")
        raise RuntimeError("the test's")
    assert [event["feature"] for event in outer] == ["outer", "outer again"]
    assert [event["feature"] for event in inner] == ["inner"]
    assert own() == []


def test_settings_that_were_never_read_are_read_as_usual_afterwards(run, state):
    outcome = run(
        """
        import taximeter
        from taximeter import testing
        with testing.capture() as captured:
            taximeter.track(provider="openai", model="gpt-4o", input_tokens=1)
        assert len(captured) == 1
        taximeter.track(provider="openai", model="gpt-4o", input_tokens=2)
        print([event["input_tokens"] for event in taximeter.Ledger().events()], taximeter.Ledger().path)
        """
    )
    assert outcome.stdout == f"[2] {state / 'ledger.db'}\n"


def test_the_fixture_is_there_without_any_configuration(tmp_path):
    (tmp_path / "test_it.py").write_text(
        textwrap.dedent(
            """
            import taximeter

            def test_one(taximeter_events):
                taximeter.track(provider="openai", model="gpt-4o", input_tokens=1)
                assert [event["input_tokens"] for event in taximeter_events] == [1]

            def test_another(taximeter_events):
                assert taximeter_events.events == []
            """
        )
    )
    outcome = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", tmp_path],
        capture_output=True, text=True, cwd=tmp_path, env={**os.environ, "TAXIMETER_STATE_DIR": str(tmp_path / "state")}, check=False,
    )  # fmt: skip
    assert "2 passed" in outcome.stdout, outcome
    assert not (tmp_path / "state").exists()


def test_the_ledger_of_the_process_has_what_was_tracked_before_it_is_read(own, collector):
    track(feature="one")
    assert taximeter.Ledger().report("feature").total.calls == 1
    track(feature="two")
    assert [event["feature"] for event in taximeter.Ledger().last(2)] == ["one", "two"]
    # A collector that does not answer is not waited for.
    released = threading.Event()
    collector.rule = lambda events: (released.wait(60), 200)[1]
    taximeter.init(["ledger", collector.url], instrument=False)
    track(feature="three")
    assert own() == ["one", "two", "three"]
    released.set()


def test_a_meter_is_closed_by_its_block_and_shows_no_secret(state):
    destination = taximeter.Destination(
        "cloudevents+https://collector.example/key-123?token=s3cret", headers={"Authorization": "s3cret"}
    )
    with taximeter.Meter(state_dir=state, destination=["ledger", destination]) as meter:
        text = repr(meter)
        assert text == f"Meter(state_dir={str(state)!r}, destination=['ledger', 'collector.example'], enabled=True)"
    with taximeter.Meter(state_dir=state) as meter:
        assert meter.track(provider="openai", model="gpt-4o", input_tokens=1)
        with pytest.raises(TypeError, match="not a client that can be metered"):
            meter.wrap(object())
    assert taximeter.Ledger(meter.settings.ledger).report().total.calls == 1
    assert repr(meter_with(Engine(), taximeter.Meter)) == "Meter(not configured yet)"


def test_a_meter_of_ones_own_gets_the_calls_of_a_client_or_of_all(state, provider):
    with taximeter.Meter(state_dir=state) as meter:
        meter.instrument(["openai"])
        ask(provider)
        meter.instrument(clients=False)
        ask(provider)
        with openai.OpenAI(base_url=f"{provider.url}/v1", api_key="k") as client:
            meter.wrap(client).embeddings.create(model="text-embedding-3-small", input="x")
        assert meter._engine.flush_ledger()
        operations = [event["operation"] for event in taximeter.Ledger(meter.settings.ledger).events()]
    assert operations == ["chat", "embeddings"]


def test_what_meters_do_is_also_a_function_of_the_package(own):
    track(feature="x")
    assert taximeter.Ledger().report().total.calls == 1
    assert taximeter.reprice(dry_run=True).examined == 1
    assert any(model == "gpt-4o" for _, model, _, _ in taximeter.models())
    assert taximeter.retry_dead_letters() == 0
