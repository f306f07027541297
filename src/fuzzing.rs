//! Properties that must hold for any bytes from outside: files of the state directory, price documents and responses.
//!
//! `make fuzz` searches for bytes that break them. The findings are kept in `fuzz/corpus/`, and the tests run on all of them.

#![expect(clippy::panic, reason = "a broken property is reported by a panic")]

use std::io::Write as _;

use flate2::write::MultiGzDecoder;
use serde_json::{Map, Value};

use crate::capture::{Dialect, Family, Framing, Options, Scanner, Summary, normalize};
use crate::event::binary::{decode, encode};
use crate::event::{Unit, Usage, UsageStatus};
use crate::pricing::{Book, Catalog, Conditions, Overrides, Request};
use crate::protocol::{self, Answer, FORMATS, Verdict};

/// The name of a target, which is also its directory in `fuzz/corpus/`, and the function that checks the properties.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: [Target; 7] = [
    ("record", crate::journal::fuzzing::record),
    ("cursor", crate::journal::fuzzing::cursor),
    ("event", event),
    ("scanner", scanner),
    ("catalog", catalog),
    ("overrides", overrides),
    ("answer", answer),
];

/// Runs a target.
///
/// # Panics
/// If a property does not hold, or the target does not exist.
pub fn run(name: &str, bytes: &[u8]) {
    let Some((_, target)) = TARGETS.iter().find(|(known, _)| *known == name) else { panic!("no target {name}") };
    target(bytes);
}

/// An event in the journal: decoding, encoding and decoding again yields the same event, and it can be serialized to JSON.
fn event(bytes: &[u8]) {
    let mut versioned = bytes.to_vec();
    versioned.truncate(crate::event::limits::MAX_REQUESTS);
    if let Some(version) = versioned.first_mut() {
        *version = 1;
    }
    let _ = decode(bytes);
    let Ok(found) = decode(&versioned) else { return };
    let (mut first, mut second) = (Vec::new(), Vec::new());
    let cuts = encode(&found, &[], &mut first);
    let Ok(back) = decode(&first) else { panic!("an encoded event is decoded") };
    assert_eq!(encode(&back, &[], &mut second), 0, "texts that were cut are not cut again");
    // Tag keys that are equal after the cut become one.
    assert_eq!(decode(&second).as_ref(), Ok(&back));
    if cuts == 0 {
        assert_eq!(found, back);
    }
    let json = serde_json::to_value(&back).unwrap_or_default();
    assert!(json.is_object());
}

fn summary(options: Options, pieces: impl Iterator<Item = impl AsRef<[u8]>>) -> (Summary, Vec<u8>) {
    let mut scanner = Scanner::new(options);
    let mut passed = Vec::new();
    for piece in pieces {
        let piece = piece.as_ref();
        match scanner.feed(piece) {
            Some(replaced) => passed.extend(replaced),
            None => passed.extend_from_slice(piece),
        }
    }
    passed.extend(scanner.finish_bytes().unwrap_or_default());
    (Summary { first_token: None, ..scanner.finish() }, passed)
}

/// A response: its usage does not depend on how it is split into pieces, all bytes are passed on to the client, and the usage in a
/// plain body is what `serde_json` finds there.
fn scanner(bytes: &[u8]) {
    let [family, framing, flags, piece, body @ ..] = bytes else { return };
    let families = [
        ("openai", Family::OpenAi),
        ("anthropic", Family::Anthropic),
        ("gemini", Family::Gemini),
        ("converse", Family::Converse),
        ("invoke", Family::Invoke),
        ("cohere", Family::Cohere),
        ("ollama", Family::Ollama),
    ];
    let framings = [Framing::Body, Framing::Events, Framing::Lines, Framing::Frames];
    let options = Options {
        family: families[usize::from(*family) % families.len()].1,
        dialect: [Dialect::Plain, Dialect::OpenRouter, Dialect::Perplexity, Dialect::XAi][usize::from(*flags >> 4) % 4],
        framing: framings[usize::from(*framing) % framings.len()],
        is_gzip: flags & 1 == 1,
        strips_usage: flags & 2 == 2,
        keeps_report: flags & 4 == 4,
    };
    if options.is_gzip {
        // How much of an invalid stream can be read depends on the pieces.
        let mut decoder = MultiGzDecoder::new(Vec::new());
        if decoder.write_all(body).and_then(|()| decoder.flush()).is_err() {
            let _ = summary(options, body.chunks(usize::from(*piece).max(1)));
            return;
        }
    }
    let (whole, passed) = summary(options, std::iter::once(body));
    let (cut, passed_in_pieces) = summary(options, body.chunks(usize::from(*piece).max(1)));
    assert_eq!(cut, whole);
    if !options.is_gzip {
        assert_eq!(passed, passed_in_pieces);
    }
    if !options.strips_usage {
        assert_eq!(passed, body);
    }
    if options.framing == Framing::Body && !options.is_gzip {
        against_serde_json(options, body, &whole);
    }
}

/// Compares the result with `serde_json`, for a body that has only a model and a report, in the fields where every family looks for
/// them.
fn against_serde_json(options: Options, body: &[u8], found: &Summary) {
    if matches!(options.family, Family::Invoke) {
        return;
    }
    let Ok(fields) = serde_json::from_slice::<Map<String, Value>>(body) else { return };
    if fields.keys().any(|name| !["usage", "model", "choices", "id"].contains(&name.as_str())) {
        return;
    }
    let report = fields.get("usage").filter(|usage| usage.is_object());
    let expected = report.and_then(|report| normalize(report, Some(options.family), options.dialect));
    let unreadable = expected.as_ref().and_then(|report| report.unreadable);
    assert_eq!(found.unreadable, unreadable);
    let expected = expected.filter(|report| report.unreadable.is_none());
    assert_eq!(found.usage, expected.map(|report| report.usage).unwrap_or_default());
    assert_eq!(found.usage_status == UsageStatus::Missing, found.gap.is_some() || unreadable.is_some());
    if let Some(model) = fields.get("model").and_then(Value::as_str).filter(|model| model.len() < 600) {
        assert_eq!(found.model.as_deref(), Some(model));
    }
}

/// Prices of a book from any documents are valid costs: not negative, and the same from both functions.
fn price(book: &Book, names: &[(String, String)]) {
    let mut usage = Usage::default();
    usage.set(Unit::INPUT_TOKENS, 1_000_000_000_000);
    usage.set(Unit::OUTPUT_TOKENS, 7);
    usage.set(Unit::CACHE_READ_TOKENS, 3);
    for (provider, model) in names.iter().take(8) {
        for started_at in [0, 1_800_000_000_000_000_000] {
            let conditions = Conditions { service_tier: Some("flex"), batch: true, region: Some("eu"), further: &[] };
            let request = Request { provider: Some(provider), model, usage: &usage, started_at, conditions };
            let (Ok(total), Ok(cost)) = (book.total(&request), book.price(&request)) else { continue };
            assert_eq!(total.usd, cost.usd);
            assert!(total.usd.is_none_or(|usd| usd >= crate::money::Usd::ZERO));
        }
    }
}

/// A catalog: parsing and writing it again yields the same text.
fn catalog(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(catalog) = Catalog::parse(text) else { return };
    let written = catalog.to_json();
    let Ok(back) = Catalog::parse(&written) else { panic!("a written catalog is parsed: {written}") };
    assert_eq!(back.to_json(), written);
    let names: Vec<_> = catalog.entries().map(|(provider, model, _)| (provider.to_owned(), model.to_owned())).collect();
    price(&Book::new(std::sync::Arc::new(catalog), None, Overrides::default()), &names);
}

/// The user's own prices.
fn overrides(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(overrides) = Overrides::parse(text) else { return };
    let mut names = vec![("openai".to_owned(), "gpt-4o".to_owned()), ("x".to_owned(), "y".to_owned())];
    if let Ok(document) = serde_json::from_str::<Value>(text) {
        let tables = document.as_object().into_iter().flat_map(Map::values).filter_map(Value::as_object);
        names.extend(tables.flat_map(Map::keys).map(|key| {
            let (provider, model) = key.split_once('/').unwrap_or(("openai", key));
            (provider.to_owned(), model.to_owned())
        }));
    }
    price(&Book::new(Catalog::embedded(), None, overrides), &names);
}

/// A destination's response: no more events are rejected than were sent, and every wait is bounded.
fn answer(bytes: &[u8]) {
    let [status @ .., sent, length] = bytes else { return };
    let (Some(status), rest) = (status.get(..2), status.get(2..).unwrap_or_default()) else { return };
    let status = 100 + u16::from_le_bytes([status[0], status[1]]) % 500;
    let (retry_after, body) = rest.split_at(rest.len().min(usize::from(*length)));
    let retry_after = std::str::from_utf8(retry_after).ok();
    let answer = Answer { status, retry_after, code: retry_after, body };
    for format in FORMATS {
        match (format.make)(&protocol::Options::default()).verdict(&answer, u64::from(*sent)) {
            Verdict::Accepted { rejected } => {
                assert!((200..300).contains(&status));
                assert!(rejected <= u64::from(*sent));
            }
            Verdict::Retry(wait) | Verdict::Busy(wait) => {
                assert!(wait.is_none_or(|wait| wait <= std::time::Duration::from_mins(15)));
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::event::UsageEvent;

    #[test]
    fn the_properties_hold_for_the_corpus() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
        for (name, target) in TARGETS {
            let files: Vec<_> =
                std::fs::read_dir(corpus.join(name)).unwrap().map(|file| file.unwrap().path()).collect();
            assert!(files.len() >= 5, "{name} has a corpus");
            for file in files {
                let bytes = std::fs::read(&file).unwrap();
                let outcome = std::panic::catch_unwind(|| target(&bytes));
                assert!(outcome.is_ok(), "{name} fails for {}", file.display());
            }
        }
    }

    #[test]
    fn each_target_accepts_a_valid_input() {
        // Valid inputs must reach the end of their targets. A corpus could consist of inputs that are rejected at the first byte.
        let mut out = Vec::new();
        encode(&UsageEvent { provider: "openai", model: "gpt-4o", ..UsageEvent::default() }, &[], &mut out);
        run("event", &out);
        run("scanner", b"\x00\x00\x00\x05{\"usage\":{\"prompt_tokens\":3}}");
        run("overrides", br#"{"multipliers":{"*":"2"}}"#);
    }
}
