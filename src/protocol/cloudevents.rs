//! CloudEvents 1.0 in JSON, one batch per request: `application/cloudevents-batch+json`.
//!
//! `id` is the event's id and `source` is constant. A receiver that removes duplicates by both, as the specification asks, keeps each
//! event once. `subject` is the customer, if the event has one. `data` is the event as `taximeter export` prints it.

use serde::Serialize;

use super::format::{Format, Protocol};
use super::request::HttpRequest;
use crate::event::UsageEvent;
use crate::event::id::id_text;
use crate::event::json::time_text;

const SOURCE: &str = "urn:taximeter";
const TYPE: &str = "taximeter.usage.v1";
const CONTENT_TYPE: &str = "application/cloudevents-batch+json";

/// The entry of this format in the table.
pub(super) const FORMAT: Format = Format { name: "cloudevents", has_scheme: true, make: |_| Box::new(CloudEvents) };

/// The wire format.
pub struct CloudEvents;

#[derive(Serialize)]
struct Envelope<'a> {
    specversion: &'static str,
    id: String,
    source: &'static str,
    r#type: &'static str,
    time: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<&'a str>,
    datacontenttype: &'static str,
    data: &'a UsageEvent<'a>,
}

impl Protocol for CloudEvents {
    fn encode(&self, events: &[UsageEvent<'_>]) -> Vec<HttpRequest> {
        let batch = events.iter().map(|event| Envelope {
            specversion: "1.0",
            id: id_text(event.id),
            source: SOURCE,
            r#type: TYPE,
            time: time_text(event.started_at),
            subject: event.attribution.customer,
            datacontenttype: "application/json",
            data: event,
        });
        let mut body = vec![b'['];
        for (index, envelope) in batch.enumerate() {
            if index > 0 {
                body.push(b',');
            }
            // Neither writing to memory nor serializing these types can fail.
            let _ = serde_json::to_writer(&mut body, &envelope);
        }
        body.push(b']');
        vec![HttpRequest::post(CONTENT_TYPE, body)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Attribution;

    #[test]
    fn a_batch_is_an_array_of_envelopes_with_the_whole_event() {
        let event = UsageEvent {
            provider: "openai",
            model: "gpt-4o",
            attribution: Attribution { customer: Some("acme"), ..Attribution::default() },
            ..UsageEvent::default()
        };
        let body = |events: &[UsageEvent<'_>]| CloudEvents.encode(events).remove(0).body;
        let batch: serde_json::Value = serde_json::from_slice(&body(&[event, UsageEvent::default()])).unwrap();
        assert_eq!(batch[0]["subject"], "acme");
        assert_eq!(batch[0]["id"], batch[0]["data"]["id"]);
        assert_eq!(batch[0]["data"]["model"], "gpt-4o");
        assert!(batch[1].get("subject").is_none());
        assert_eq!(body(&[]), b"[]");
    }
}
