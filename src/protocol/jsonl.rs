//! Newline-delimited JSON: an event a line, as `taximeter export` prints it; `application/x-ndjson`.
//!
//! For log collectors and stream loaders. A receiver has to drop what it has by `id`, as with every format: events may come again.

use super::format::{Format, Protocol};
use super::request::HttpRequest;
use crate::event::UsageEvent;

/// Its entry in the table.
pub(super) const FORMAT: Format = Format { name: "jsonl", has_scheme: true, make: |_| Box::new(JsonLines) };

struct JsonLines;

impl Protocol for JsonLines {
    fn encode(&self, events: &[UsageEvent<'_>]) -> Vec<HttpRequest> {
        let mut body = Vec::new();
        for event in events {
            // Writing to memory does not fail, and an event has a form in JSON.
            let _ = serde_json::to_writer(&mut body, event);
            body.push(b'\n');
        }
        vec![HttpRequest::post("application/x-ndjson", body)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_event_is_a_line_of_its_own_whatever_it_holds() {
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
