"""Who may read the dashboard's data, and that reading changes nothing."""

from __future__ import annotations

import errno
import hashlib
import http.client
import json
import socket
import threading
import time
from types import SimpleNamespace
from urllib.parse import urlsplit

import pytest

import taximeter
from dashboard_server import TOKEN, Events, ask, call_app, refused, serving
from taximeter import dashboard
from taximeter.dashboard.panels import PANELS
from taximeter.dashboard.server import Server, own_token


class Refusing:
    """A socket that cannot accept a connection."""

    def accept(self):
        raise OSError(errno.EMFILE, "Too many open files")


@pytest.fixture(scope="module")
def path(dashboard_calls):
    return dashboard_calls


@pytest.fixture(scope="module")
def server(dashboard_calls):
    with serving(dashboard_calls) as running:
        yield running


def test_every_response_has_the_headers_of_a_page_that_runs_nothing_foreign(server):
    for target in ("/", "/healthz", "/api/v1/summary", "/api/v1/nosuch", "/nosuch", "/api/v1/export.csv", "/chart/series.svg"):
        _, headers, _ = ask(server, target)
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["Cross-Origin-Resource-Policy"] == headers["Cross-Origin-Opener-Policy"] == "same-origin"
        assert headers["Cache-Control"] == "no-store"
        assert headers["Content-Security-Policy"].startswith("default-src 'none'; ")
        assert "Access-Control-Allow-Origin" not in headers
        assert "Python" not in headers["Server"]
    _, headers, _ = ask(server, "/api/v1/summary")
    for rule in ("script-src 'self'", "frame-ancestors 'none'", "base-uri 'none'", "require-trusted-types-for 'script'"):
        assert rule in headers["Content-Security-Policy"]


@pytest.mark.parametrize(
    ("request_line", "status"), [(b"garbage", 400), (b"GET / HTTP/9.9", 505), (b"GET /" + b"a" * 70_000 + b" HTTP/1.1", 414)]
)
def test_what_is_no_request_is_answered_with_the_same_headers(server, request_line, status):
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=30) as connection:
        connection.sendall(request_line + b"\r\n\r\n")
        head, _, body = connection.makefile("rb").read().partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.0 %d " % status)
    assert b"nosniff" in head
    assert b"default-src 'none'" in head
    assert b"Python" not in head
    assert b"garbage" not in body


def test_connections_that_send_nothing_are_limited(path):
    def is_answered(server) -> bool:
        try:
            return ask(server, "/healthz")[0] == 200
        except (OSError, http.client.HTTPException):
            return False

    with serving(path) as server:
        server.places = threading.BoundedSemaphore(3)
        silent = [socket.create_connection(("127.0.0.1", server.server_port), timeout=30) for _ in range(3)]
        # Connections are accepted in their order, so this one is the fourth.
        assert not is_answered(server)
        silent[0].close()
        deadline = time.monotonic() + 60
        while not is_answered(server):
            assert time.monotonic() < deadline
        for connection in silent:
            connection.close()


def test_a_server_without_descriptors_waits_before_it_tries_again(path, monkeypatch):
    pauses = []
    monkeypatch.setattr("taximeter.dashboard.server.time", SimpleNamespace(sleep=pauses.append))
    with Server(lambda: taximeter.Ledger(path), TOKEN) as server, monkeypatch.context() as during:
        during.setattr(server, "socket", Refusing())
        with pytest.raises(OSError, match="Too many open files"):
            server.get_request()
    assert pauses


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1", "127.0.0.1:1", "localhost.evil.example", "", "127.0.0.1@evil.example"])
def test_another_host_is_refused_before_anything_else(server, host):
    for target in ("/", "/api/v1/summary", "/healthz", "/nosuch"):
        assert refused(server, target, Host=host)[0] == 403
    assert ask(server, "/api/v1/summary", "POST", Host=host)[0] == 403


def test_the_names_of_this_machine_are_admitted(server):
    for host in ("localhost", "LOCALHOST", "[::1]", "127.0.0.1"):
        assert ask(server, "/api/v1/summary", Host=f"{host}:{server.server_port}")[0] == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND"])
def test_only_reading_methods_are_allowed(server, method):
    status, headers, _ = ask(server, "/api/v1/summary", method)
    assert (status, headers["Allow"]) == (405, "GET, HEAD")


def test_head_has_the_headers_of_get_and_no_body(server):
    _, expected, body = ask(server, "/healthz")
    status, headers, nothing = ask(server, "/healthz", "HEAD")
    assert (status, nothing, headers["Content-Length"]) == (200, b"", expected["Content-Length"])
    assert body == b"ok\n"


def test_another_sites_page_cannot_read(server):
    for site in ("cross-site", "same-site"):
        assert refused(server, "/api/v1/summary", Sec_Fetch_Site=site)[0] == 403
        assert refused(server, "/api/v1/summary", Sec_Fetch_Site=site, Sec_Fetch_Mode="navigate")[0] == 403
        assert refused(server, "/", Sec_Fetch_Site=site, Sec_Fetch_Mode="navigate")[0] != 403
    for origin in ("http://evil.example", "null", f"https://127.0.0.1:{server.server_port}"):
        assert refused(server, "/api/v1/summary", Origin=origin)[0] == 403
    own = {"Sec_Fetch_Site": "same-origin", "Origin": f"http://127.0.0.1:{server.server_port}"}
    assert refused(server, "/api/v1/summary", **own)[0] == 200


@pytest.mark.parametrize(
    "credentials",
    [
        {"Authorization": ""},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "Basic " + TOKEN},
        {"Authorization": "", "Cookie": "taximeter=1"},
        {"Authorization": "Bearer é"},
    ],
)
def test_without_a_secret_there_is_nothing_to_read(server, credentials):
    for target in ("/", "/api/v1/summary", "/api/v1/calls/x", "/chart/series.svg", "/api/v1/export.csv", "/nosuch"):
        status, headers, body = ask(server, target, **credentials)
        assert status == 401
        assert headers["WWW-Authenticate"].startswith("Bearer")
        assert b"gpt" not in body
    assert ask(server, "/healthz", **credentials)[0] == 200


def test_a_code_becomes_a_cookie_once(server):
    address = urlsplit(server.address())
    anonymous = {"Authorization": ""}
    status, headers, _ = ask(server, f"{address.path}?{address.query}&by=team", **anonymous)
    cookie = headers["Set-Cookie"]
    assert (status, headers["Location"]) == (303, "/?by=team")
    assert cookie.startswith(f"taximeter-{server.server_port}=")
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= {part.strip() for part in cookie.split(";")}
    own = cookie.partition(";")[0]
    assert ask(server, "/api/v1/summary", Cookie=f"other=1; {own}", **anonymous)[0] == 200
    # A second use of the code is refused, but the browser that has the cookie may reload the address.
    assert ask(server, f"{address.path}?{address.query}", **anonymous)[0] == 401
    assert ask(server, f"{address.path}?{address.query}", Cookie=own, **anonymous)[0] == 303
    assert ask(server, "/api/v1/summary", Cookie=own + "x", **anonymous)[0] == 401


def test_one_code_admits_one_of_many_that_come_at_once(server):
    address, found = urlsplit(server.address()), []
    threads = [
        threading.Thread(target=lambda: found.append(ask(server, f"/?{address.query}", Authorization="")[0])) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == [303] + [401] * 7


def test_paths_are_matched_as_they_stand(server):
    for target in (
        "/api/v1/",
        "/api/v1/summary/",
        "/api/v1//summary",
        "/api/v1/%2e%2e/summary",
        "//evil.example/",
        "/%ff",
        "/api/v1/calls/..%2f",
    ):
        assert refused(server, target)[0] == 404
    assert refused(server, "/api/v1/nosuch")[1].startswith("{")


def test_serving_changes_no_byte_of_the_ledger(server, path):
    before = hashlib.sha256(path.read_bytes()).hexdigest()
    panels = [f"/api/v1/{panel}" for panel in (*PANELS, "budgets", "export.csv", "export.jsonl")]
    for target in (*panels, "/", "/metrics", "/chart/series.svg", "/chart/latency.svg", "/chart/top.svg"):
        assert ask(server, target)[0] == 200
    stream = Events(server)
    stream.message()
    stream.close()
    assert hashlib.sha256(path.read_bytes()).hexdigest() == before


def test_it_is_mounted_behind_a_login_of_ones_own(path):
    app = dashboard.Dashboard(lambda: taximeter.Ledger(path))
    status, _, body = call_app(app, "/api/v1/summary", HTTP_HOST="bill.example", SCRIPT_NAME="/bill")
    assert status == 200
    assert json.loads(body)["total"]["calls"] == 320
    assert call_app(app, "/api/v1/summary", HTTP_SEC_FETCH_SITE="cross-site")[0] == 403
    assert call_app(app, "/api/v1/summary", REQUEST_METHOD="POST")[0] == 405


def test_redacted_values_are_codes_everywhere(path):
    app = dashboard.Dashboard(lambda: taximeter.Ledger(path), redact=("user", "tag:plan"))
    top = json.loads(call_app(app, "/api/v1/top?by=user")[2])
    names = {row["user"] for row in top["rows"]} - {None}
    assert len(names) == 5
    assert all(name.startswith("user-") for name in names)
    series = json.loads(call_app(app, "/api/v1/series?by=user")[2])
    assert names <= {group["name"] for group in series["series"]}
    (call,) = json.loads(call_app(app, "/api/v1/calls?limit=1")[2])["rows"]
    assert call["user"] in names
    assert call["tags"]["plan"] != "pro"
    one = json.loads(call_app(app, f"/api/v1/calls/{call['id']}")[2])["call"]
    assert one == call
    # Neither filters nor downloads nor charts give the values away.
    assert call_app(app, "/api/v1/summary?where=user%3Du1")[0] == 400
    assert call_app(app, "/api/v1/export.jsonl")[0] == 403
    assert b">u1<" not in call_app(app, "/chart/series.svg?by=user")[2]


def test_a_redacted_model_is_in_no_answer(path):
    app = dashboard.Dashboard(lambda: taximeter.Ledger(path), redact=("model",))
    model, call = "gpt-4o", json.loads(call_app(app, "/api/v1/calls?where=cost_status%3Dpriced&limit=1&since=all")[2])["rows"][0]
    for panel in ("latency", "unpriced", "cache", "errors", "top", "series", f"calls/{call['id']}"):
        status, _, body = call_app(app, f"/api/v1/{panel}?since=all" if "/" not in panel else f"/api/v1/{panel}")
        assert status == 200, body
        assert model not in body.decode(), panel


def test_the_token_of_a_file(tmp_path):
    path = tmp_path / "state" / "serve.token"
    with pytest.raises(taximeter.ConfigError, match="cannot be used"):
        own_token(path)
    token = own_token(path, is_made=True)
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert own_token(path, is_made=True) == own_token(path) == token
    assert path.stat().st_mode & 0o777 == 0o600
    path.write_text("short")
    with pytest.raises(taximeter.ConfigError, match="20 printable"):
        own_token(path)
    with pytest.raises(taximeter.ConfigError, match="cannot be used"):
        own_token(tmp_path / "nosuch")
