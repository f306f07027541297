//! Newline-delimited JSON, one event per line as `taximeter export` prints it: `application/x-ndjson`.
//!
//! For log collectors and stream loaders. As with every format, an event may be sent again, so a receiver must remove duplicates by `id`.

use super::format::{Format, Protocol};
use super::request::HttpRequest;
use crate::event::UsageEvent;

/// The entry of this format in the table.
pub(super) const FORMAT: Format = Format::new("jsonl", true, |_| Box::new(JsonLines));

struct JsonLines;

impl Protocol for JsonLines {
    fn encode(&self, events: &[UsageEvent<'_>]) -> Vec<HttpRequest> {
        let mut body = Vec::new();
        for event in events {
            event.write_json(&mut body);
            body.push(b'\n');
        }
        vec![HttpRequest::post("application/x-ndjson", body)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_event_is_one_line_even_if_its_texts_hold_line_breaks() {
        let event = |model| UsageEvent { provider: "p", model, ..UsageEvent::default() };
        let request = JsonLines.encode(&[event("a\nb\u{2028}"), event("c")]).remove(0);
        let text = String::from_utf8(request.body).unwrap();
        let models: Vec<_> = text
            .split_terminator('\n')
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["model"].clone())
            .collect();
        assert_eq!(models, ["a\nb\u{2028}", "c"]);
        assert_eq!(request.headers, [("content-type", "application/x-ndjson".to_owned())]);
    }
}
