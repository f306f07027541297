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
    let mut priced = event.clone();
    priced.cost = "0.0065".parse().ok();
    let events = vec![priced; 1_000];
    for format in FORMATS.iter().filter(|format| format.has_scheme) {
        let protocol = (format.make)(&FormatOptions::default());
        criterion.bench_function(&format!("encode 1,000 events as {}", format.name), |bencher| {
            bencher.iter(|| black_box(protocol.encode(black_box(&events))));
        });
    }
}

/// A request with 10,000 events for each wire format.
fn wires(criterion: &mut Criterion) {
    use _core::protocol::{Options, format_named};
    let events = vec![event(); 10_000];
    for name in ["cloudevents", "otlp", "clickhouse"] {
        let Some(format) = format_named(name) else { continue };
        let protocol = (format.make)(&Options::default());
        criterion.bench_function(&format!("encode 10,000 events for {name}"), |bencher| {
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

/// A call in one budget, and in three, with the counters of all processes in a file.
fn budgets(criterion: &mut Criterion) {
    use _core::budget::{Charge, Decision, Gate, Patience, Period, Share};
    let Ok(dir) = tempfile::tempdir() else { return };
    let gate = Gate::new(&dir.path().join("budgets"), 256 << 20, Box::new(Vec::new));
    let share = |key: &'static [u8]| Share {
        key,
        period: Period::Fixed { start: 0, end: i64::MAX },
        amount: i128::MAX,
        thresholds: &[],
        estimate: 1_000,
        blocks: true,
        admits_room: false,
        input_part: 0,
        is_charged_when_killed: false,
        hold_timeout: 900,
    };
    let shares = [share(b"customer"), share(b"team"), share(b"total")];
    for count in [1, 3] {
        let shares = &shares[..count];
        let charges = vec![Charge { amount: 900, calls: 1, ..Charge::default() }; count];
        criterion.bench_function(&format!("reserve and settle a call in {count} budgets"), |bencher| {
            bencher.iter(|| {
                let ticket = match gate.reserve(black_box(shares), None, Patience::Long) {
                    Ok((Decision::Admitted(ticket), _)) => Some(ticket),
                    _ => None,
                };
                assert!(ticket.is_some(), "the budgets have room");
                gate.settle(ticket.as_ref(), shares, &charges, Patience::Short)
            });
        });
    }
}

/// The same with SQLite, which programs without a gate use for this: two transactions, each with one update.
fn budgets_in_sqlite(criterion: &mut Criterion) {
    let Ok(dir) = tempfile::tempdir() else { return };
    let Ok(connection) = rusqlite::Connection::open(dir.path().join("budgets.db")) else { return };
    let made = connection.execute_batch(
        "PRAGMA journal_mode = wal; PRAGMA synchronous = normal;
        CREATE TABLE budgets (key TEXT PRIMARY KEY, used INTEGER, held INTEGER);
        INSERT INTO budgets VALUES ('customer', 0, 0);",
    );
    assert!(made.is_ok(), "{made:?}");
    criterion.bench_function("reserve and settle a call in SQLite", |bencher| {
        bencher.iter(|| {
            let done = connection.execute_batch(
                "BEGIN IMMEDIATE; UPDATE budgets SET held = held + 1000 WHERE key = 'customer' AND used + held >= 0; COMMIT;
                BEGIN IMMEDIATE; UPDATE budgets SET held = held - 1000, used = used + 900 WHERE key = 'customer'; COMMIT;",
            );
            assert!(done.is_ok(), "{done:?}");
        });
    });
}

/// Which budgets a call counts for, and the time to rebuild many counters after a reboot.
fn budgets_of_a_call(criterion: &mut Criterion) {
    use _core::budget::{Budgets, Facts, Gate, Period, Used};
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
    let mut group = criterion.benchmark_group("many keys");
    group.sample_size(10);
    group.bench_function("rebuild 100,000 keys", |bencher| {
        bencher.iter(|| {
            let Ok(dir) = tempfile::tempdir() else { return };
            let used = || {
                let used = |key: u32| Used {
                    key: key.to_le_bytes().as_slice().into(),
                    period: Period::Fixed { start: 0, end: i64::MAX },
                    counts: _core::budget::Counts { used: 1, held: 0, calls: 1, unpriced: 0 },
                    unrecorded: 0,
                    at: 0,
                };
                (0..100_000).map(used).collect()
            };
            let gate = Gate::new(&dir.path().join("budgets"), 256 << 20, Box::new(used));
            assert!(gate.prepare().is_ok(), "the state can be used");
        });
    });
}

criterion_group!(group, benches, wires, scans, budgets, budgets_in_sqlite, budgets_of_a_call);
criterion_main!(group);
