//! The bytes against `opentelemetry-proto`, and the answers of receivers.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::Span as Decoded;
use proptest::prelude::*;
use prost::Message as _;

use super::*;
use crate::event::{Attribution, CostNotes, CostStatus, Status, Unit, Usage};

fn otlp(dialect: Option<&str>) -> Otlp {
    Otlp::new(&Options {
        dialect: dialect.map(str::to_owned),
        resource: vec![("service.name".to_owned(), "shop".to_owned())],
        ..Options::default()
    })
}

/// The request as the oracle reads it, after a check that the oracle writes the same bytes.
fn decoded(otlp: &Otlp, events: &[UsageEvent<'_>]) -> ExportTraceServiceRequest {
    let request = otlp.encode(events).remove(0);
    assert_eq!(request.headers, [("content-type", "application/x-protobuf".to_owned())]);
    let decoded = ExportTraceServiceRequest::decode(&request.body[..]).unwrap();
    assert_eq!(decoded.encode_to_vec(), request.body);
    decoded
}

fn span(otlp: &Otlp, event: &UsageEvent<'_>) -> (Decoded, BTreeMap<String, Any>) {
    let mut request = decoded(otlp, std::slice::from_ref(event));
    let span = request.resource_spans.remove(0).scope_spans.remove(0).spans.remove(0);
    let attributes = attributes(&span.attributes);
    assert_eq!(attributes.len(), span.attributes.len(), "a key is there twice");
    (span, attributes)
}

fn attributes(pairs: &[KeyValue]) -> BTreeMap<String, Any> {
    let value = |value: &AnyValue| value.value.clone().unwrap();
    pairs.iter().map(|pair| (pair.key.clone(), value(pair.value.as_ref().unwrap()))).collect()
}

fn text(value: &str) -> Any {
    Any::StringValue(value.to_owned())
}

fn claude<'a>(usage: &[(&str, u64)]) -> UsageEvent<'a> {
    let mut counts = Usage::default();
    for (name, count) in usage {
        counts.set(Unit::from_name(name).unwrap(), *count);
    }
    UsageEvent {
        id: *b"0123456789abcdef",
        started_at: 1_763_800_000_000_000_001,
        provider: "anthropic",
        model: "claude-sonnet-4-5",
        operation: "chat",
        usage: counts,
        ..UsageEvent::default()
    }
}

#[test]
fn an_event_is_a_client_span_with_the_names_that_receivers_read() {
    let usage = [
        ("input_tokens", 1_000),
        ("output_tokens", 50),
        ("cache_read_tokens", 600),
        ("cache_write_tokens", 300),
        ("cache_write_1h_tokens", 100),
        ("output_reasoning_tokens", 20),
        ("input_image_tokens", 7),
        ("audio_seconds", 1_500_000),
    ];
    let event = UsageEvent {
        cost: Some("0.1".parse().unwrap()),
        cost_status: CostStatus::Priced,
        cost_notes: CostNotes::CACHE_AT_INPUT_RATE | CostNotes::HOST_UNKNOWN,
        latency_us: Some(2_500_000),
        ttft_us: Some(250_000),
        finish_reason: Some("stop"),
        call_id: Some("c1"),
        batch: true,
        attribution: Attribution {
            session: Some("s"),
            team: Some("search"),
            tags: vec![("plan", "pro")],
            ..Attribution::default()
        },
        ..claude(&usage)
    };
    let (span, found) = span(&otlp(None), &event);
    assert_eq!((span.name.as_str(), span.kind, span.status), ("chat claude-sonnet-4-5", 3, None));
    assert_eq!(span.end_time_unix_nano - span.start_time_unix_nano, 2_500_000_000);
    assert_eq!((&span.trace_id[..], &span.span_id[..]), (&b"0123456789abcdef"[..], &b"89abcdef"[..]));
    for (name, value) in [
        ("gen_ai.usage.input_tokens", 1_000),
        ("gen_ai.usage.output_tokens", 50),
        ("gen_ai.usage.cache_read.input_tokens", 600),
        ("gen_ai.usage.cache_write.input_tokens", 300),
        ("gen_ai.usage.cache_creation.input_tokens", 300),
        ("gen_ai.usage.reasoning.output_tokens", 20),
        ("llm.token_count.completion_details.reasoning", 20),
        ("gen_ai.usage.image.input_tokens", 7),
        ("taximeter.usage.cache_write_1h_tokens", 100),
    ] {
        assert_eq!(found[name], Any::IntValue(value), "{name}");
    }
    for (name, value) in [
        ("taximeter.usage.audio_seconds", 1.5),
        ("gen_ai.usage.cost", 0.1),
        ("operation.cost", 0.1),
        ("llm.cost.total", 0.1),
        ("gen_ai.response.time_to_first_chunk", 0.25),
    ] {
        assert_eq!(found[name], Any::DoubleValue(value), "{name}");
    }
    for (name, value) in [
        ("gen_ai.operation.name", "chat"),
        ("gen_ai.provider.name", "anthropic"),
        ("gen_ai.system", "anthropic"),
        ("gen_ai.response.model", "claude-sonnet-4-5"),
        ("gen_ai.request.model", "claude-sonnet-4-5"),
        ("gen_ai.conversation.id", "s"),
        ("session.id", "s"),
        ("taximeter.team", "search"),
        ("taximeter.tag.plan", "pro"),
        ("taximeter.call.id", "c1"),
        ("taximeter.cost_usd", "0.1"),
        ("taximeter.cost.status", "priced"),
        ("taximeter.event.id", "30313233-3435-3637-3839-616263646566"),
        ("langfuse.observation.type", "generation"),
        ("langfuse.observation.cost_details", r#"{"total":0.1}"#),
    ] {
        assert_eq!(found[name], text(value), "{name}");
    }
    let Any::ArrayValue(notes) = &found["taximeter.cost.notes"] else { panic!() };
    assert_eq!(notes.values.len(), 2);
    let Any::StringValue(details) = &found["langfuse.observation.usage_details"] else { panic!() };
    let details: BTreeMap<String, u64> = serde_json::from_str(details).unwrap();
    // The parts do not overlap: they add up to the total.
    assert_eq!(details["total"], 1_050);
    assert_eq!(details.values().sum::<u64>(), 2 * 1_050);
    assert_eq!(
        (details["input"], details["input_cache_creation"], details["input_cache_creation_1h"]),
        (100, 200, 100)
    );
    let resource = decoded(&otlp(None), &[event]).resource_spans.remove(0).resource.unwrap();
    assert_eq!(attributes(&resource.attributes)["service.name"], text("shop"));
}

#[test]
fn an_unknown_cost_and_absent_usage_have_no_attribute() {
    let event = UsageEvent { status: Status::Error, error: Some("RateLimitError"), ..claude(&[]) };
    let (span, found) = span(&otlp(None), &event);
    assert_eq!(span.status.unwrap().code, 2);
    assert_eq!(found["error.type"], text("RateLimitError"));
    let known = ["taximeter.cost.status", "taximeter.usage.status"];
    let others = found.keys().filter(|name| !known.contains(&name.as_str()));
    assert!(others.clone().all(|name| !name.contains("cost") && !name.contains("usage")), "{others:?}");
}

#[test]
fn the_plain_dialect_has_no_attributes_of_single_receivers() {
    let event =
        UsageEvent { cost: "0.000000000000000000000001".parse().ok(), ..claude(&[("output_reasoning_tokens", 1)]) };
    let (_, found) = span(&otlp(Some("genai")), &event);
    assert!(found.contains_key("gen_ai.usage.cost") && found.contains_key("gen_ai.usage.reasoning.output_tokens"));
    let foreign =
        |name: &&String| name.starts_with("langfuse.") || name.starts_with("llm.") || *name == "operation.cost";
    assert_eq!(found.keys().find(foreign), None);
}

#[test]
fn the_callers_span_is_the_parent_in_its_trace() {
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let of = |trace_id, span_id| span(&otlp(None), &UsageEvent { trace_id, span_id, ..claude(&[]) }).0;
    let inside = of(Some(trace), Some("00f067aa0ba902b7"));
    assert_eq!(inside.trace_id[..2], [0x4b, 0xf9]);
    assert_eq!((&inside.parent_span_id[..2], &inside.span_id[..]), (&[0, 0xf0][..], &b"89abcdef"[..]));
    // Without a valid trace, the event's id is the trace, and the span has no parent.
    for bad in [None, Some("4bf9"), Some("00000000000000000000000000000000"), Some("ëëëëëëëëëëëëëëëë")]
    {
        let alone = of(bad, Some("00f067aa0ba902b7"));
        assert_eq!((&alone.trace_id[..], alone.parent_span_id.len()), (&b"0123456789abcdef"[..], 0), "{bad:?}");
    }
    assert!(of(Some(trace), Some("0000000000000000")).parent_span_id.is_empty());
}

#[test]
fn the_status_of_an_answer_decides_and_rejected_spans_are_counted() {
    let otlp = otlp(None);
    let verdict = |status, body: &[u8]| otlp.verdict(&Answer { status, retry_after: None, code: None, body }, 10);
    let message = |status, body: &[u8]| otlp.message(&Answer { status, retry_after: None, code: None, body });
    let partial = |rejected_spans, message: &str| {
        let partial_success = Some(ExportTracePartialSuccess { rejected_spans, error_message: message.to_owned() });
        ExportTraceServiceResponse { partial_success }.encode_to_vec()
    };
    for body in [&b""[..], b"{}", b"ok", &partial(0, ""), &[0x0a, 0xff]] {
        assert_eq!((verdict(200, body), message(200, body)), (Verdict::Accepted { rejected: 0 }, None), "{body:?}");
    }
    let some = partial(3, "too old");
    assert_eq!(verdict(200, &some), Verdict::Accepted { rejected: 3 });
    assert_eq!(message(200, &some).unwrap(), "3 spans rejected: too old");
    // A receiver cannot reject more than it got.
    assert_eq!(verdict(200, &partial(i64::MAX, "")), Verdict::Accepted { rejected: 10 });
    assert_eq!(verdict(200, &partial(-1, "")), Verdict::Accepted { rejected: 0 });
    assert_eq!(message(200, &partial(0, "slow down")).unwrap(), "slow down");
    for (status, meaning) in [
        (400, Verdict::Bisect),
        (401, Verdict::Pause),
        (404, Verdict::Pause),
        (413, Verdict::Split),
        (415, Verdict::Uncompressed),
        (422, Verdict::Bisect),
        (429, Verdict::Retry(None)),
        (500, Verdict::Retry(None)),
        (503, Verdict::Retry(None)),
    ] {
        assert_eq!(verdict(status, &some), meaning, "{status}");
    }
    // google.rpc.Status {1: code, 2: message}, or plain text, which may be cut within a character.
    assert_eq!(message(400, b"\x08\x03\x12\x07no span").unwrap(), "no span");
    assert_eq!(message(400, b"wrong key\n").unwrap(), "wrong key");
    assert_eq!(message(502, "<html>ä".as_bytes().split_last().unwrap().1).unwrap(), "<html>");
    assert_eq!(message(500, b""), None);
}

proptest! {
    #[test]
    fn every_event_has_the_bytes_of_the_oracle(
        texts in prop::array::uniform8(prop::option::of(".{0,300}")),
        counts in prop::collection::vec((0_u8..62, 0_u64..=1_000_000_000_000), 0..12),
        times in (any::<u64>(), any::<Option<u64>>(), any::<Option<u64>>()),
        costs in prop::array::uniform2(prop::option::of("-?[0-9]{1,14}(\\.[0-9]{1,24})?")),
        (notes, is_error, batch, is_plain, id) in (0_u16..1 << 11, any::<bool>(), any::<bool>(), any::<bool>(), any::<[u8; 16]>()),
    ) {
        let [model, operation, error, finish, session, team, key, tag] = texts.each_ref().map(Option::as_deref);
        let mut usage = Usage::default();
        for (index, count) in counts {
            usage.set(Unit::from_index(index).unwrap(), count);
        }
        let event = UsageEvent {
            id,
            started_at: times.0,
            provider: "p",
            model: model.unwrap_or(""),
            operation: operation.unwrap_or("chat"),
            status: if is_error { Status::Error } else { Status::Success },
            error,
            finish_reason: finish,
            usage,
            cost: costs[0].as_ref().and_then(|cost| cost.parse().ok()),
            computed_cost: costs[1].as_ref().and_then(|cost| cost.parse().ok()),
            cost_notes: CostNotes::from_code(notes),
            latency_us: times.1,
            ttft_us: times.2,
            batch,
            attribution: Attribution { session, team, tags: key.zip(tag).into_iter().collect(), ..Attribution::default() },
            ..UsageEvent::default()
        };
        let otlp = otlp(is_plain.then_some("genai"));
        let (span, found) = span(&otlp, &event);
        prop_assert_eq!(span.start_time_unix_nano, event.started_at);
        prop_assert!(span.end_time_unix_nano >= span.start_time_unix_nano);
        prop_assert_eq!(found.get("taximeter.cost_usd").cloned(), event.cost.map(|cost| text(&cost.to_string())));
        prop_assert_eq!(found.get("taximeter.team").cloned(), team.filter(|team| !team.is_empty()).map(text));
        for (unit, count) in event.usage.iter().filter(|(unit, _)| *unit == Unit::INPUT_TOKENS) {
            prop_assert_eq!(&found["gen_ai.usage.input_tokens"], &Any::IntValue(count as i64), "{}", unit);
        }
        // The same events in one request, each with its own span.
        let together = decoded(&otlp, &[event.clone(), claude(&[]), event]);
        let spans = &together.resource_spans[0].scope_spans[0].spans;
        prop_assert_eq!((spans.len(), &spans[0], &spans[2]), (3, &span, &span));
    }
}
