//! Benchmarks of pricing and encoding one event.

use std::hint::black_box;

use _core::event::{Attribution, Unit, Usage, UsageEvent};
use _core::pricing::{Book, Catalog, Conditions, Overrides, Request};
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

criterion_group!(group, benches);
criterion_main!(group);
