//! CloudEvents 1.0 in JSON, one batch per request: `application/cloudevents-batch+json`.
//!
//! `id` is the event's id and `source` is constant. A receiver that removes duplicates by both, as the specification asks, keeps each
//! event once. `subject` is the customer, if the event has one. `data` is the event as `taximeter export` prints it.

use super::format::{Format, Protocol};
use super::request::HttpRequest;
use crate::event::UsageEvent;
use crate::event::id::with_id_text;
use crate::event::json::{write_text, write_time};

/// The attributes that are the same for every event, up to the value of `id`.
const CONSTANT: &str = concat!(
    r#"{"specversion":"1.0","source":"urn:taximeter","type":"taximeter.usage.v1","#,
    r#""datacontenttype":"application/json","id":""#
);
/// Bytes of one event in JSON, roughly: the size of an event with ten fields. Only the first allocation depends on it.
const TYPICAL_LENGTH: usize = 640;
const CONTENT_TYPE: &str = "application/cloudevents-batch+json";

/// The entry of this format in the table.
pub(super) const FORMAT: Format = Format::new("cloudevents", true, |_| Box::new(CloudEvents));

/// The wire format.
pub struct CloudEvents;

impl Protocol for CloudEvents {
    fn encode(&self, events: &[UsageEvent<'_>]) -> Vec<HttpRequest> {
        let mut body = Vec::with_capacity(events.len() * TYPICAL_LENGTH + 2);
        body.push(b'[');
        for (index, event) in events.iter().enumerate() {
            if index > 0 {
                body.push(b',');
            }
            write_event(&mut body, event);
        }
        body.push(b']');
        vec![HttpRequest::post(CONTENT_TYPE, body)]
    }
}

fn write_event(body: &mut Vec<u8>, event: &UsageEvent<'_>) {
    // An id and a time have no character that JSON escapes.
    body.extend_from_slice(CONSTANT.as_bytes());
    let id = body.len();
    with_id_text(event.id, |id| body.extend_from_slice(id.as_bytes()));
    let id = id..body.len();
    body.extend_from_slice(br#"","time":""#);
    let time = body.len();
    write_time(body, event.started_at);
    let time = time..body.len();
    body.push(b'"');
    if let Some(customer) = event.attribution.customer {
        body.extend_from_slice(br#","subject":"#);
        write_text(body, customer);
    }
    // The data begin with the same id and time.
    body.extend_from_slice(br#","data":{"id":""#);
    body.extend_from_within(id);
    body.extend_from_slice(br#"","started_at":""#);
    body.extend_from_within(time);
    body.push(b'"');
    event.write_json_after_time(body);
    body.push(b'}');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Attribution;
    use crate::event::id::id_text;
    use crate::event::json::time_text;

    #[test]
    fn a_batch_is_an_array_of_envelopes_with_the_whole_event() {
        let event = UsageEvent {
            provider: "openai",
            model: "gpt-4o",
            attribution: Attribution { customer: Some("ac\"me\n"), ..Attribution::default() },
            ..UsageEvent::default()
        };
        let body = |events: &[UsageEvent<'_>]| CloudEvents.encode(events).remove(0).body;
        let batch: serde_json::Value = serde_json::from_slice(&body(&[event.clone(), UsageEvent::default()])).unwrap();
        let expected = |event: &UsageEvent<'_>, subject: serde_json::Value| {
            let mut expected = serde_json::json!({
                "specversion": "1.0", "id": id_text(event.id), "source": "urn:taximeter", "type": "taximeter.usage.v1",
                "time": time_text(event.started_at), "datacontenttype": "application/json", "data": event,
            });
            if !subject.is_null() {
                expected["subject"] = subject;
            }
            expected
        };
        assert_eq!(batch[0], expected(&event, "ac\"me\n".into()));
        assert_eq!(batch[1], expected(&UsageEvent::default(), serde_json::Value::Null));
        assert_eq!(body(&[]), b"[]");
    }
}
