"""The middlewares that attribute calls by request, for WSGI and ASGI applications."""

from __future__ import annotations

import asyncio
import io
from wsgiref.util import FileWrapper, setup_testing_defaults
from wsgiref.validate import validator

import pytest

import taximeter
from conftest import events_of
from taximeter.middleware import AsgiAttribution, WsgiAttribution


def track(meter):
    assert meter.track(provider="openai", model="gpt-4o", input_tokens=1)


class Iterated:
    """A response body that is neither a list nor a generator."""

    def __init__(self, meter):
        self.meter = meter
        self.is_closed = False

    def __iter__(self):
        track(self.meter)
        yield b"a"
        track(self.meter)

    def close(self):
        self.is_closed = True
        track(self.meter)


@pytest.mark.parametrize(("kind", "count"), [("list", 1), ("generator", 2), ("object", 3)])
def test_calls_in_a_wsgi_application_have_the_requests_attribution(meter, kind, count):
    def app(environ, start_response):
        start_response("200 OK", [("content-type", "text/plain")])
        if kind == "object":
            return Iterated(meter)
        if kind == "generator":
            return parts()
        track(meter)
        return [b"a"]

    def parts():
        track(meter)
        yield b"a"
        track(meter)

    environ = {}
    setup_testing_defaults(environ)
    environ |= {"REMOTE_USER": "ann", "QUERY_STRING": "", "wsgi.input": io.BytesIO()}
    served = validator(WsgiAttribution(app, lambda environ: {"user": environ["REMOTE_USER"]}))
    body = served(environ, lambda status, headers, info=None: lambda data: None)
    iterator = iter(body)
    assert next(iterator) == b"a"
    # Between two parts of the body, the server's thread has no attribution.
    meter.track(provider="openai", model="server", input_tokens=1)
    assert list(iterator) == []
    body.close()
    events = events_of(meter)
    assert [event.get("user") for event in events if event["model"] == "gpt-4o"] == ["ann"] * count
    assert [event.get("user") for event in events if event["model"] == "server"] == [None]


def test_calls_in_an_asgi_application_have_the_requests_attribution(meter):
    async def app(scope, receive, send):
        await asyncio.sleep(0.01)
        track(meter)
        await asyncio.to_thread(track, meter)

    served = AsgiAttribution(app, lambda scope: {"user": scope["path"], "tags": {"door": scope["type"]}})

    async def work():
        kinds = (("/a", "http"), ("/b", "websocket"), ("/c", "lifespan"))
        await asyncio.gather(*(served({"type": kind, "path": path}, None, None) for path, kind in kinds))

    asyncio.run(work())
    found = sorted((event.get("user") or "", (event.get("tags") or {}).get("door", "")) for event in events_of(meter))
    assert found == [("", "")] * 2 + [("/a", "http")] * 2 + [("/b", "websocket")] * 2


def test_a_wsgi_file_wrapper_is_returned_unchanged():
    body = FileWrapper(io.BytesIO(b"file"))
    app = WsgiAttribution(lambda environ, start: body, lambda environ: {"user": "u"})
    assert app({"wsgi.file_wrapper": FileWrapper}, None) is body
    # A file wrapper may be a function, whose results cannot be recognised.
    assert app({"wsgi.file_wrapper": lambda file: file}, None) is not body


@pytest.mark.parametrize(
    "who", [lambda _: 1 / 0, lambda _: {"unknown": 1}, lambda _: {"user": object()}, lambda _: "ann", lambda _: None]
)
def test_a_request_does_not_fail_if_its_attribution_does(meter, who):
    async def app(scope, receive, send):
        track(meter)

    with taximeter.attribute(team="outer"):
        asyncio.run(AsgiAttribution(app, who)({"type": "http"}, None, None))
    (event,) = events_of(meter)
    assert (event.get("team"), event.get("user")) == ("outer", None)
