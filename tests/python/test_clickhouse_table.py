"""The settings and the table of ClickHouse, against servers that only say what a real one would."""

from __future__ import annotations

import gzip
import urllib.parse

import pytest

import taximeter
from clickhouse_server import Recorder
from taximeter import Destination
from taximeter.cli.main import main
from taximeter.errors import ConfigError, LedgerError
from taximeter.ledger import Ledger
from taximeter.ledger.clickhouse import Server, Table, ddl, destination_of

CANARY = "canary-4711"


@pytest.mark.parametrize("path", ["1a", "a-b", "a`b", "a b", "a/b/c", "é", "a;b", "a/1"])
def test_a_name_in_another_form_is_refused(path):
    with pytest.raises(ConfigError, match="not the name of a database; write clickhouse"):
        Destination(f"clickhouse+https://host:8443/{path}", token=CANARY)


def test_keys_are_headers_of_clickhouse_and_never_shown():
    destination = Destination("clickhouse+https://host:8443/metering", user="sender", token=CANARY, server_batches=True)
    assert dict(destination.to_core()["headers"]) == {"x-clickhouse-user": "sender", "x-clickhouse-key": CANARY}
    assert repr(destination) == "Destination('host', headers=['x-clickhouse-key', 'x-clickhouse-user'])"
    with pytest.raises(ConfigError, match="user: this protocol has no users"):
        Destination("jsonl+https://host/", user="sender")
    with pytest.raises(ConfigError, match="server_batches: only clickhouse"):
        Destination("jsonl+https://host/", server_batches=True)
    with pytest.raises(ConfigError, match="user: int is not a text"):
        Destination("clickhouse+https://host/", user=7)
    with pytest.raises(ConfigError, match="it holds a user or a password"):
        Destination(f"clickhouse+https://sender:{CANARY}@host/")


def test_the_keys_of_the_settings_come_before_those_of_the_environment(monkeypatch):
    monkeypatch.setenv("CLICKHOUSE_USER", "from-environment")
    monkeypatch.setenv("CLICKHOUSE_PASSWORD", CANARY)
    known = Destination("clickhouse+https://host:8443/metering?a=b", user="known", token="k")
    other = Destination("jsonl+https://host:8443/metering")
    assert destination_of("clickhouse+https://host:8443/metering/", [other, known]) is known
    found = destination_of("clickhouse+https://host:8443/default", [known])
    assert dict(found.to_core()["headers"]) == {"x-clickhouse-user": "from-environment", "x-clickhouse-key": CANARY}


def test_a_request_is_one_insert_of_compressed_rows(state):
    with Recorder() as server:
        meter = taximeter.Meter(destination=server.destination(user="sender", token=CANARY), state_dir=state)
        for number in range(50):
            meter.track(provider="openai", model="gpt-4o", input_tokens=number)
        assert meter.flush(60).pending == 0
        meter.close()
    (query, body), headers = server.requests[0], server.headers[0]
    asked = dict(urllib.parse.parse_qsl(query))
    assert (asked["database"], asked["async_insert"], asked["insert_deduplicate"]) == ("default", "0", "1")
    assert asked["query"].endswith("FORMAT RowBinaryWithNamesAndTypes")
    assert (headers["x-clickhouse-user"], headers["x-clickhouse-key"], headers["content-encoding"]) == ("sender", CANARY, "gzip")
    assert gzip.decompress(body).count(b"gpt-4o") >= 50


OLD = (200, {}, b"18.16.1\n")


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (OLD, "ClickHouse 18.16.1 is too old; use 23.8 or newer"),
        ((200, {}, b"23.7.5.1\n"), "ClickHouse 23.7.5.1 is too old"),
        ((200, {}, b"<html>welcome</html>"), "is not a version of ClickHouse; check the host and the port"),
        ((404, {}, b"no such page"), "answered 404 without a code of ClickHouse: check the host and the port"),
        ((200, {}, b"Code: 159. DB::Exception: Timeout exceeded"), "code 159"),
    ],
)
def test_an_unknown_or_old_server_is_refused_by_version(answer, words):
    with Recorder(answer) as server:
        for action in ("create", "check"):
            with pytest.raises(LedgerError, match=words):
                getattr(Table(Server(server.destination())), action)()


def test_commands_refuse_it_with_the_same_words(state, capsys):
    with Recorder(OLD) as server:
        assert main(["clickhouse", "init", server.url]) == 2
        assert "ClickHouse 18.16.1 is too old; use 23.8 or newer" in capsys.readouterr().err
    assert main(["report", "--from", "https://host/"]) == 2
    assert "--from: it does not begin with clickhouse+https://" in capsys.readouterr().err
    assert main(["clickhouse", "ddl", "clickhouse+https://host/a-b"]) == 2
    assert "not the name of a database" in capsys.readouterr().err


def test_a_report_of_an_old_server_says_so():
    """18.16.1, the one in Debian 12, knows no parameters of queries. It gives its code in the body alone."""
    said = b"Code: 115, e.displayText() = DB::Exception: Unknown setting param_d, e.what() = DB::Exception\n"
    with Recorder((404, {}, said)) as server, pytest.raises(LedgerError, match="code 115; this server is older than 23.8: use"):
        Ledger(server.destination()).report()


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"<html>Sign in</html>", "not an answer of ClickHouse: check the host and the port"),
        (b'{"status":"ok"}\n', "not an answer of ClickHouse"),
        (b'["1"]\n', "not an answer of ClickHouse"),
        (b"[" * 100_000, "not an answer of ClickHouse"),
        (b'["a","b"]\nCode: 241. DB::Exception: Memory limit (MEMORY_LIMIT_EXCEEDED)\n', "ClickHouse's code 241"),
    ],
)
def test_an_answer_without_rows_is_said(body, words):
    with Recorder((200, {}, body)) as server:
        for ask in (Ledger.report, Ledger.period, lambda own: list(own.events())):
            with pytest.raises(LedgerError, match=words):
                ask(Ledger(server.destination()))


def test_an_error_shows_no_key():
    said = f"Code: 497. DB::Exception: sender: Not enough privileges with {CANARY}. (ACCESS_DENIED)".encode()
    with Recorder((403, {"X-ClickHouse-Exception-Code": "497"}, said)) as server:
        ledger = Ledger(server.destination(user="sender", token=CANARY))
        with pytest.raises(LedgerError, match="code 497; grant this user what it lacks") as caught:
            ledger.report()
    assert CANARY not in str(caught.value)
    assert CANARY not in repr(ledger)


def test_the_statement_has_the_options_and_refuses_others():
    plain = ddl("metering", "calls")
    assert "ENGINE = ReplacingMergeTree(revision)" in plain
    assert "COMMENT 'taximeter schema 2'" in plain
    assert "TTL" not in plain
    assert "`call_id` String CODEC(ZSTD(1))" in plain
    replicated = ddl("metering", "calls", cluster="main", ttl="400d")
    assert "ON CLUSTER `main`" in replicated
    assert "ReplicatedReplacingMergeTree(revision)" in replicated
    assert "replicated_deduplication_window_seconds = 604800" in replicated
    assert "TTL toDateTime(started_at) + INTERVAL 400 DAY" in replicated
    for wrong in ({"cluster": "a'b"}, {"ttl": "1 year"}, {"ttl": "0d"}):
        with pytest.raises(ConfigError):
            ddl("metering", "calls", **wrong)


@pytest.mark.parametrize(
    ("status", "said", "error"),
    [
        # Server 18.16 knows no token, and sends its code in the body only.
        (
            404,
            b"Code: 115, e.displayText() = DB::Exception: Unknown setting insert_deduplication_token, e.what() = DB::Exception\n",
            "code 115, UNKNOWN_SETTING; this server is older than 23.8",
        ),
        # The server's own port 9000 answers so to HTTP.
        (
            400,
            b"Port 9000 is for clickhouse-client program\r\nYou must use port 8123 for HTTP.\r\n",
            "not an answer of ClickHouse: check the host and the port",
        ),
    ],
    ids=["old server", "port of another protocol"],
)
def test_servers_that_cannot_take_events_pause_delivery_and_no_event_is_given_up(state, status, said, error):
    with Recorder((status, {}, said)) as server:
        meter = taximeter.Meter(destination=server.destination(), state_dir=state)
        for number in range(20):
            meter.track(provider="openai", model="gpt-4o", input_tokens=number)
        meter.flush(5)
        (stats,) = meter.stats()["destinations"].values()
        assert (stats["state"], stats["pending"], stats["dead"]) == ("paused", 20, 0)
        assert error in stats["last_error"]
        meter.close(0.1)


REFUSED = (500, {"X-ClickHouse-Exception-Code": "33"}, b"Code: 33. DB::Exception: Cannot read all data. (CANNOT_READ_ALL_DATA)")


def test_a_server_that_refuses_every_row_pauses_and_no_event_is_given_up(state):
    with Recorder(REFUSED) as server:
        meter = taximeter.Meter(destination=server.destination(), state_dir=state)
        for number in range(300):
            meter.track(provider="openai", model="gpt-4o", input_tokens=number)
        meter.flush(20)
        (stats,) = meter.stats()["destinations"].values()
        assert (stats["state"], stats["pending"], stats["dead"]) == ("paused", 300, 0)
        # Not every event was sent alone to find that out.
        assert len(server.requests) < 60
        meter.close(0.1)
