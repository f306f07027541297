"""The OTLP destination against a scripted receiver, read with the official Python package of OpenTelemetry's protocol."""

from __future__ import annotations

import contextlib
import gzip
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as service
from opentelemetry.sdk.trace import TracerProvider

import taximeter
from conftest import wait_for
from taximeter import ConfigError, Destination

CANARY = "canary-4711"


class Receiver(ThreadingHTTPServer):
    """A receiver on loopback. `answers` are the next responses, as status and body; then it accepts everything."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: list[tuple[int, bytes]] = []
        self.requests: list[tuple[str, dict[str, str], service.ExportTraceServiceRequest]] = []

    @property
    def url(self) -> str:
        return f"otlp+http://127.0.0.1:{self.server_port}"

    def spans(self) -> list:
        """Every span that was received, in order."""
        return [span for *_, request in self.requests for span in request.resource_spans[0].scope_spans[0].spans]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Receiver

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers["Content-Length"]))
        body = gzip.decompress(raw) if self.headers.get("Content-Encoding") == "gzip" else raw
        headers = {name.lower(): value for name, value in self.headers.items()}
        status, answer = self.server.answers.pop(0) if self.server.answers else (200, b"")
        self.server.requests.append((self.path, headers, service.ExportTraceServiceRequest.FromString(body)))
        self.send_response(status)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        with contextlib.suppress(OSError):  # a long answer is not read to its end
            self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def receiver():
    with Receiver() as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def make(state, receiver):
    made = []

    def meter(url: str | None = None, **options) -> taximeter.Meter:
        destination = Destination(url or receiver.url, **options)
        made.append(taximeter.Meter(destination=["ledger", destination], state_dir=state))
        return made[-1]

    yield meter
    for one in made:
        one.close(0.2)


def attributes(span) -> dict:
    """Return the attributes of a span as plain values."""

    def plain(value):
        kind = value.WhichOneof("value")
        return [plain(one) for one in value.array_value.values] if kind == "array_value" else getattr(value, kind)

    return {pair.key: plain(pair.value) for pair in span.attributes}


def remote(meter: taximeter.Meter) -> dict:
    """Return the counts of the receiver."""
    return next(counts for name, counts in meter.stats()["destinations"].items() if name != "ledger")


def test_each_span_has_what_the_ledger_has(make, receiver):
    meter = make(headers={"x-key": CANARY}, service_name="shop")
    meter.track(
        provider="openai", model="gpt-4o", operation="chat", input_tokens=1000, output_tokens=10, cache_read_tokens=400,
        team="search", customer="株式会社", tags={"plan": "pro"}, session="s", finish_reason="stop", latency_ms=1500,
        trace_id="4bf92f3577b34da6a3ce929d0e0e4736", span_id="00f067aa0ba902b7",
    )  # fmt: skip
    meter.track(provider="mistral", model="no-such-model", input_tokens=5, error="RateLimitError")
    assert meter.flush(60).pending == 0
    known = {event["id"]: event for event in taximeter.Ledger(meter.ledger_path).events()}
    path, headers, request = receiver.requests[0]
    assert (path, headers["content-type"], headers["x-key"]) == ("/v1/traces", "application/x-protobuf", CANARY)
    assert headers["content-encoding"] == "gzip"
    resource = request.resource_spans[0].resource
    assert {"service.name": "shop", "telemetry.sdk.name": "taximeter"}.items() <= attributes(resource).items()
    spans = {attributes(span)["taximeter.event.id"]: span for span in receiver.spans()}
    assert spans.keys() == known.keys()
    for event_id, event in known.items():
        span, found = spans[event_id], attributes(spans[event_id])
        assert span.name == f"{event['operation']} {event['model']}"
        assert span.end_time_unix_nano - span.start_time_unix_nano == round(event.get("latency_ms", 0) * 1e6)
        assert found["gen_ai.usage.input_tokens"] == event["usage"]["input_tokens"]
        assert found.get("taximeter.cost_usd") == event["cost_usd"]
        assert found.get("gen_ai.usage.cost") == (None if event["cost_usd"] is None else float(event["cost_usd"]))
        for name in ("team", "customer", "catalog", "priced_as"):
            assert found.get(f"taximeter.{name}") == event.get(name)
        assert span.span_id.hex() == event_id.replace("-", "")[16:]
        assert span.trace_id.hex() == event.get("trace_id", event_id.replace("-", ""))
        assert span.parent_span_id.hex() == event.get("span_id", "")
        assert (span.status.code == span.status.STATUS_CODE_ERROR) == (event["status"] == "error")
    failed = next(found for found in map(attributes, spans.values()) if found["gen_ai.response.model"] == "no-such-model")
    assert failed["error.type"] == "RateLimitError" and not any(name.endswith("cost") for name in failed)


def test_a_repeated_span_has_the_same_ids(make, receiver):
    receiver.answers = [(503, b""), (200, b"")]
    meter = make()
    meter.track(provider="openai", model="gpt-4o", input_tokens=1)
    wait_for(lambda: meter.flush(1).pending == 0)
    assert len(receiver.requests) == 2
    first, second = receiver.spans()
    assert (first.trace_id, first.span_id, first) == (second.trace_id, second.span_id, second)


def test_rejected_spans_are_counted_and_not_sent_again(make, receiver):
    partial = service.ExportTracePartialSuccess(rejected_spans=2, error_message=f"too old, {CANARY}")
    receiver.answers = [(200, service.ExportTraceServiceResponse(partial_success=partial).SerializeToString())]
    meter = make(headers={"x-key": CANARY})
    for _ in range(5):
        meter.track(provider="openai", model="gpt-4o", input_tokens=1)
    assert meter.flush(60).pending == 0
    counts = remote(meter)
    assert (counts["delivered"], counts["rejected"], counts["pending"]) == (3, 2, 0)
    assert counts["last_error"].endswith("2 spans rejected: too old, …")
    meter.track(provider="openai", model="gpt-4o", input_tokens=1)
    assert meter.flush(60).pending == 0
    assert len(receiver.spans()) == 6 and remote(meter)["last_error"] is None


def test_a_receiver_that_takes_no_body_at_all_pauses_the_destination(make, receiver):
    receiver.answers = [(415, b""), (415, b"\x08\x03\x12\x10only JSON, sorry")]
    meter = make()
    for _ in range(20):  # a short body is not compressed
        meter.track(provider="openai", model="gpt-4o", input_tokens=1)
    wait_for(lambda: meter.flush(0.2).pending and remote(meter)["state"] == "paused")
    assert [headers.get("content-encoding") for _, headers, _ in receiver.requests] == ["gzip", None]
    counts = remote(meter)
    assert (counts["pending"], "only JSON, sorry" in counts["last_error"]) == (20, True)


def test_a_huge_answer_is_read_in_part_only(make, receiver):
    receiver.answers = [(400, b"x" * 5_000_000), (400, b"y" * 5_000_000)]
    meter = make()
    meter.track(provider="openai", model="gpt-4o", input_tokens=1)
    assert meter.flush(60).pending == 0
    counts = remote(meter)
    assert counts["dead"] == 1 and len(counts["last_error"]) < 300


def test_the_span_in_which_a_call_was_made_is_the_parent(make, receiver):
    meter = make()
    with (
        TracerProvider().get_tracer("app").start_as_current_span("handler") as outer,
        meter.measure(provider="openai", model="gpt-4o"),
    ):
        pass
    assert meter.flush(60).pending == 0
    (span,) = receiver.spans()
    assert span.trace_id == outer.get_span_context().trace_id.to_bytes(16)
    assert span.parent_span_id == outer.get_span_context().span_id.to_bytes(8)


def test_the_environment_gives_the_address_only_if_asked(monkeypatch, make, receiver):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{receiver.server_port}/base/")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", f"x-key={CANARY}%20and%2C, x-other=1")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "none")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "service.name=attributes,deployment.environment.name=a%2Fb")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "variable")
    meter = make("otlp")
    meter.track(provider="openai", model="gpt-4o", input_tokens=1)
    assert meter.flush(60).pending == 0
    path, headers, request = receiver.requests[0]
    assert (path, headers["x-key"], headers["x-other"]) == ("/base/v1/traces", f"{CANARY} and,", "1")
    assert "content-encoding" not in headers
    found = attributes(request.resource_spans[0].resource)
    assert (found["service.name"], found["deployment.environment.name"]) == ("variable", "a/b")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", f"http://127.0.0.1:{receiver.server_port}/exact")
    assert Destination("otlp").place.endswith("/exact")
    assert taximeter.Meter(destination=None).settings.destinations == ()


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({}, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"),
        ({"ENDPOINT": "collector:4317"}, "http:// or https://"),
        ({"ENDPOINT": "https://c.example", "PROTOCOL": "grpc"}, "http/protobuf"),
        ({"ENDPOINT": "https://c.example", "TRACES_PROTOCOL": "http/json"}, "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"),
        ({"ENDPOINT": "https://c.example", "COMPRESSION": "zstd"}, "gzip nor none"),
        ({"ENDPOINT": "https://c.example", "TIMEOUT": "soon"}, "milliseconds"),
        ({"ENDPOINT": "https://c.example", "HEADERS": f"authorization {CANARY}"}, "key=value"),
        ({"ENDPOINT": "https://c.example", "CERTIFICATE": "/no/such/file"}, "ca_bundle"),
        ({"ENDPOINT": f"https://u:{CANARY}@c.example"}, "user or a password"),
    ],
)
def test_variables_that_do_not_fit_are_named(monkeypatch, variables, words):
    for name, value in variables.items():
        monkeypatch.setenv(f"OTEL_EXPORTER_OTLP_{name}", value)
    with pytest.raises(ConfigError, match=words) as caught:
        taximeter.Meter(destination="otlp")
    assert CANARY not in str(caught.value)


def test_options_of_this_protocol_are_refused_by_others_and_checked():
    with pytest.raises(ConfigError, match="dialect: only the protocol otlp"):
        Destination("jsonl+https://c.example", dialect="genai")
    with pytest.raises(ConfigError, match="dialect: 'nosuch' is not one of all, genai"):
        Destination("otlp+https://c.example", dialect="nosuch")
    assert Destination("otlp+https://c.example/v1/traces/").place == "https://c.example/v1/traces"
    assert Destination("otlp+https://c.example/api/public/otel?a=1").place == "https://c.example/api/public/otel/v1/traces"
