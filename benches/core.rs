//! Benchmarks of pricing and encoding events, and of reading a response.

use std::hint::black_box;

use _core::capture::{Dialect, Family, Framing, Options, Scanner};
use _core::event::{Attribution, Unit, Usage, UsageEvent};
use _core::pricing::{Book, Catalog, Conditions, Overrides, Request};
use _core::protocol::{FORMATS, Options as FormatOptions};
use criterion::{Criterion, criterion_group, criterion_main};

const CATALOG: &str = include_str!("../data/catalog.json");

fn usage() -> Usage {
    let mut usage = Usage::default();
    usage.set(Unit::INPUT_TOKENS, 1200);
    usage.set(Unit::OUTPUT_TOKENS, 350);
    usage
}

fn event() -> UsageEvent<'static> {
    UsageEvent {
        provider: "openai",
        model: "gpt-4o",
        operation: "chat",
        usage: usage(),
        attribution: Attribution {
            feature: Some("chat"),
            team: Some("acme"),
            tags: vec![("plan", "pro"), ("env", "prod"), ("region", "eu")],
            ..Attribution::default()
        },
        ..UsageEvent::default()
    }
}

fn benches(criterion: &mut Criterion) {
    let book = Book::new(Catalog::embedded(), None, Overrides::default());
    let usage = usage();
    criterion.bench_function("price a known model", |bencher| {
        bencher.iter(|| {
            let request = Request {
                provider: Some("openai"),
                model: "gpt-4o",
                usage: &usage,
                started_at: 1,
                conditions: Conditions::default(),
            };
            black_box(book.total(black_box(&request)))
        });
    });
    criterion.bench_function("read a catalog from JSON", |bencher| bencher.iter(|| black_box(Catalog::parse(CATALOG))));
    let mut out = Vec::new();
    let event = event();
    criterion.bench_function("encode an event", |bencher| {
        bencher.iter(|| {
            out.clear();
            black_box(_core::event::binary::encode(black_box(&event), &[], &mut out))
        });
    });
}

/// A request with 10,000 events in each format that a URL can name.
fn formats(criterion: &mut Criterion) {
    let events = vec![UsageEvent { cost: "0.0065".parse().ok(), ..event() }; 10_000];
    for format in FORMATS.iter().filter(|format| format.has_scheme) {
        let protocol = (format.make)(&FormatOptions::default());
        criterion.bench_function(&format!("encode 10,000 events for {}", format.name), |bencher| {
            bencher.iter(|| black_box(protocol.encode(black_box(&events))));
        });
    }
}

/// A chat stream of 200 chunks, as OpenAI sends it. The last chunk has the usage.
fn chat_stream() -> String {
    let chunk = |rest: &str| {
        format!(
            "data: {{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"gpt-4o-2024-08-06\",\
             \"service_tier\":\"default\",\"system_fingerprint\":\"fp_1\",{rest}}}\n\n"
        )
    };
    let mut body: String = (0..200)
        .map(|at| {
            let delta = format!(
                "{{\"index\":0,\"delta\":{{\"content\":\" word{at}\"}},\"logprobs\":null,\"finish_reason\":null}}"
            );
            chunk(&format!("\"choices\":[{delta}],\"usage\":null"))
        })
        .collect();
    body += &chunk(r#""choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":null"#);
    body += &chunk(
        r#""choices":[],"usage":{"prompt_tokens":1009,"completion_tokens":200,"total_tokens":1209,"prompt_tokens_details":{"cached_tokens":100}}"#,
    );
    body + "data: [DONE]\n\n"
}

/// A chat response of about 4 kB.
fn chat_body() -> String {
    format!(
        r#"{{"id":"chatcmpl-1","object":"chat.completion","created":1,"model":"gpt-4o-2024-08-06","choices":[{{"index":0,
        "message":{{"role":"assistant","content":"{}"}},"finish_reason":"stop"}}],"usage":{{"prompt_tokens":1009,"completion_tokens":800,
        "total_tokens":1809,"prompt_tokens_details":{{"cached_tokens":100}}}},"service_tier":"default"}}"#,
        "some words ".repeat(350)
    )
}

/// A Gemini stream of 200 chunks. Each chunk has usage.
fn gemini_stream() -> String {
    let parts = (1..=200).map(|at| {
            let end = if at == 200 { r#","finishReason":"STOP""# } else { "" };
            format!(
                "data: {{\"candidates\":[{{\"content\":{{\"parts\":[{{\"text\":\" word{at}\"}}],\"role\":\"model\"}}{end}}}],\"usageMetadata\":\
                 {{\"promptTokenCount\":11,\"candidatesTokenCount\":{at},\"totalTokenCount\":{}}},\"modelVersion\":\"gemini-2.5-flash\"}}\r\n\r\n",
                at + 11
            )
        });
    parts.collect::<Vec<_>>().concat()
}

/// Reads a response in pieces of 1,500 bytes, about the size of a network packet.
fn scan(family: Family, framing: Framing, body: &str) -> Option<String> {
    let dialect = Dialect::Plain;
    let options = Options { family, dialect, framing, is_gzip: false, strips_usage: false, keeps_report: false };
    let mut scanner = Scanner::new(options);
    for piece in body.as_bytes().chunks(1500) {
        scanner.feed(black_box(piece));
    }
    scanner.finish().model
}

fn scans(criterion: &mut Criterion) {
    for (name, family, framing, body) in [
        ("scan a chat stream of 200 chunks", Family::OpenAi, Framing::Events, chat_stream()),
        ("scan a chat body of 4 kB", Family::OpenAi, Framing::Body, chat_body()),
        ("scan a Gemini stream of 200 chunks", Family::Gemini, Framing::Events, gemini_stream()),
    ] {
        criterion.bench_function(name, |bencher| bencher.iter(|| black_box(scan(family, framing, &body))));
    }
}

/// Which budgets a call counts for. `benches/budgets.rs` has the counters.
fn budgets_of_a_call(criterion: &mut Criterion) {
    use _core::budget::{Budgets, Facts};
    let Ok(dir) = tempfile::tempdir() else { return };
    let Ok(budgets) = Budgets::open(&dir.path().join("budgets"), 256 << 20, Box::new(|_| None)) else { return };
    let defined = budgets.define(
        r#"[{"name":"team","unit":"usd","amount":"10","period":{"kind":"total"},"by":["team"],"where":{"customer":["acme"]}}]"#,
    );
    assert!(defined.is_ok(), "{defined:?}");
    for (name, customer) in [("match no budget", "other"), ("match a budget", "acme")] {
        let mut facts = Facts { provider: "openai", model: "gpt-4o", ..Facts::default() };
        facts.attribution.customer = Some(customer);
        facts.attribution.team = Some("research");
        criterion.bench_function(name, |bencher| bencher.iter(|| budgets.matching(black_box(&facts), 0).len()));
    }
}

criterion_group!(group, benches, formats, scans, budgets_of_a_call);
criterion_main!(group);
