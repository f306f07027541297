"""Odd or hostile files of settings and prices: they are read, or raise an error that names them, and never block."""

from __future__ import annotations

import json
import os
import resource
import socket
import threading
import time

import pytest

import taximeter
from taximeter import files
from taximeter.catalog import genai, source
from taximeter.settings import resolve

RATES = '{"rates": {"mine/model": {"input_tokens": {"per_1m": 2.0}}}}'
TOML = '[prices.rates."mine/model"]\ninput_tokens = { per_1m = 2.0 }\n'


def price(meter):
    return str(meter.price("model", {"input_tokens": 1_000_000}, "mine").usd)


@pytest.mark.parametrize("encode", [lambda text: b"\xef\xbb\xbf" + text.encode(), lambda text: text.encode("utf-16")])
def test_files_saved_by_windows_editors_are_read(state, encode):
    (state.parent / "taximeter.toml").write_bytes(encode(TOML))
    assert price(taximeter.Meter(state_dir=state)) == "2"
    (state.parent / "taximeter.toml").unlink()
    (state.parent / "prices.json").write_bytes(encode(RATES))
    assert price(taximeter.Meter(state_dir=state, prices="prices.json")) == "2"
    assert price(taximeter.Meter(state_dir=state, prices="\ufeff" + RATES)) == "2"


def test_prices_as_json_can_contain_a_url(state, monkeypatch):
    source = "https://prices.example/data.json"
    monkeypatch.setenv("TAXIMETER_PRICES", json.dumps({"source": source, **json.loads(RATES)}))
    meter = taximeter.Meter(state_dir=state)
    assert (price(meter), meter.settings.prices.source) == ("2", source)
    monkeypatch.setenv("TAXIMETER_PRICES", source)
    with pytest.raises(taximeter.ConfigError, match="a URL belongs in"):
        taximeter.Meter(state_dir=state)


@pytest.mark.parametrize(
    ("name", "begin", "end"), [("prices.json", "[", "]"), ("prices.json", '{"rates":', "}"), ("prices.toml", "a=[", "]")]
)
def test_a_deeply_nested_file_raises_a_config_error(state, name, begin, end):
    depth = 100_000 if name.endswith("json") else 5_000
    text = begin + "[" * depth + "]" * depth + end if name.endswith("toml") else begin * depth + "1" + end * depth
    (state.parent / name).write_text(text)
    with pytest.raises(taximeter.ConfigError, match="prices"):
        taximeter.Meter(state_dir=state, prices=name)


def test_a_deeply_nested_mapping_raises_a_config_error(state):
    rates: dict = {}
    for _ in range(100_000):
        rates = {"input_tokens": rates}
    with pytest.raises(taximeter.ConfigError, match="too deep"):
        taximeter.Meter(state_dir=state, prices={"rates": {"mine/model": rates}})


@pytest.mark.parametrize("number", ["1e99999999", "-1e99999999", "1e-99999999", "1e100"])
@pytest.mark.parametrize("form", ["toml", "json"])
def test_a_number_of_a_hundred_million_digits_is_rejected_without_expanding_it(state, number, form):
    text = TOML.replace("2.0", number) if form == "toml" else RATES.replace("2.0", number)
    (state.parent / f"prices.{form}").write_text(text)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(taximeter.ConfigError, match="mine/model"):
        taximeter.Meter(state_dir=state, prices=f"prices.{form}")
    with pytest.raises(taximeter.CatalogError, match="is not a rate"):
        genai._decimal(number)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # KiB


@pytest.mark.parametrize("name", ["prices.json", "prices.toml"])
def test_a_fifo_or_device_instead_of_a_file_is_an_error_and_does_not_block(state, name):
    os.mkfifo(state.parent / name)
    for path in (name, "/dev/zero", "/dev/tty"):
        with pytest.raises(taximeter.ConfigError, match=r"not a regular file|No such device"):
            taximeter.Meter(state_dir=state, prices=path)
        with pytest.raises(taximeter.CatalogError, match=r"not a regular file|No such device"):
            source.download(path)
    with pytest.raises(taximeter.ConfigError, match="ca_bundle"):
        taximeter.Destination("cloudevents+https://c.example/", ca_bundle=state.parent / name)


def test_an_oversized_file_is_an_error(tmp_path, state):
    with (tmp_path / "large.json").open("wb") as file:
        file.truncate(files.MAX_BYTES + 1)
    with pytest.raises(taximeter.ConfigError, match="larger than 16 MB"):
        taximeter.Meter(state_dir=state, prices=tmp_path / "large.json")


def test_a_fifo_instead_of_the_catalog_does_not_block_the_start(run, state):
    (state / "prices").mkdir(parents=True, mode=0o700)
    state.chmod(0o700)
    os.mkfifo(state / "prices" / "catalog.json")
    run(
        """
        import taximeter
        taximeter.init(instrument=False, prices={"refresh": "6h", "source": "file:///no-such-file"})
        assert taximeter.price("gpt-4o", {"input_tokens": 1}).usd is not None
        assert taximeter.track(provider="openai", model="gpt-4o", input_tokens=1).cost_usd is not None
        assert taximeter.stats()["remarks"]["unreadable_catalog"] == 1
        """,
        timeout=20,
    )


def test_a_fifo_among_dead_letters_or_locks_does_not_block_a_command(run, state):
    (state / "dead").mkdir(parents=True, mode=0o700)
    (state / "prices").mkdir(mode=0o700)
    state.chmod(0o700)
    os.mkfifo(state / "dead" / "http-1.jsonl")
    os.mkfifo(state / "prices" / "lock")
    for command, code in ((["doctor"], 1), (["dead-letters"], 2), (["prices", "update", "--from", "none.json"], 2)):
        text = f"import sys; from taximeter.cli import main; sys.exit(main({command!r}))"
        outcome = run(text, check=False, timeout=30)
        assert outcome.returncode == code, outcome
        assert str(state) in outcome.stdout + outcome.stderr


def drip(part: bytes, body: bytes):
    """Run a server that sends a part at once, and then one byte every 0.1 s without end."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve():
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection:
                try:
                    connection.recv(65_536)
                    connection.sendall(part)
                    while True:
                        connection.sendall(body)
                        time.sleep(0.1)
                except OSError:
                    pass

    threading.Thread(target=serve, daemon=True).start()
    return server


@pytest.mark.parametrize("part", [b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n", b"HTTP/1.1 200 OK\r\nX-Never: "])
def test_a_very_slow_download_times_out(monkeypatch, part):
    monkeypatch.setattr(source, "MAX_SECONDS", 1.0)
    with drip(part, b"x") as server:
        began = time.monotonic()
        with pytest.raises(taximeter.CatalogError, match="more than 1 seconds"):
            source.download(f"http://127.0.0.1:{server.getsockname()[1]}/data.json")
        assert time.monotonic() - began < 100


def test_a_relative_state_directory_survives_a_change_of_directory(run, state):
    run(
        """
        import os, taximeter
        taximeter.init(instrument=False, state_dir="here")
        taximeter.track(provider="openai", model="gpt-4o", input_tokens=1)
        os.mkdir("elsewhere"); os.chdir("elsewhere")
        taximeter.init(team="second")
        taximeter.init(team="third", state_dir="here")
        taximeter.track(provider="openai", model="gpt-4o", input_tokens=1)
        assert taximeter.flush(60).pending == 0
        assert taximeter.Ledger().report().total.calls == 2
        """
    )
    assert not (state.parent / "elsewhere" / "here").exists()


def test_a_relative_state_directory_from_the_environment_survives_a_change_of_directory(run, state):
    run(
        "import os, taximeter; taximeter.init(instrument=False); os.mkdir('x'); os.chdir('x'); taximeter.init(team='x')",
        TAXIMETER_STATE_DIR="here",
    )
    assert [path.name for path in (state.parent / "x").iterdir()] == []


def test_decimals_of_settings_stay_exact(state):
    assert resolve({"prices": RATES.replace("2.0", "0.000000000001")}, {}, state.parent).prices.overrides.count("0.000000000001")
