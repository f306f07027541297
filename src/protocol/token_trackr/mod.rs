//! Token Trackr: `/usage` takes one event as an object, `/usage/batch` several events as an array.
//!
//! The body of an event is complete when it is recorded, except for the cloud that this machine is in. Finding out the cloud takes up to
//! a second, so it is inserted here. For this, the body ends with the host, an object whose last key is `hostname`:
//!
//! ```text
//! {"tenant_id": …, …, "host": {…, "hostname": "…"}}
//! ```
//!
//! The response has an element for each stored event, so a shorter array shows that events were not stored.

mod spill;

use std::cell::Cell;

use serde_json::Value;

use self::spill::{COMPLETE, SpilledEvents};
use super::format::{Format, Options, Protocol, SpillFormat};
use super::limits::BatchLimits;
use super::machine::{Cloud, CloudEndpoints, Finding, Probe};
use super::request::HttpRequest;
use super::verbatim::by_status_of;
use super::verdict::{Answer, Verdict};
use crate::event::UsageEvent;

/// The most events in one request: the service's own limit.
const MAX_EVENTS: usize = 1_000;
/// The end of a body, after the host's last value.
const END: &str = "}}";
/// One chunk.
const BATCH_BYTES: usize = 64 << 10;
/// Batches to read at once: four for each of the concurrent requests.
const BATCHES_READ: usize = 16;
/// Enough for a full batch: an element of a response has some 250 bytes.
const MAX_RESPONSE_BYTES: usize = 1 << 20;

/// The entry of this format in the table.
pub(super) const FORMAT: Format = Format::new("token_trackr", false, |options| Box::new(TokenTrackr::new(options)));

/// The wire format.
struct TokenTrackr {
    endpoints: Option<CloudEndpoints>,
    /// The cloud as JSON members, without the braces.
    cloud: Option<String>,
    spill: Option<SpilledEvents>,
    has_accepted: Cell<bool>,
}

impl TokenTrackr {
    fn new(options: &Options) -> Self {
        let mut this = Self {
            endpoints: options.cloud.clone(),
            cloud: None,
            spill: options.spill_dir.as_deref().map(|dir| SpilledEvents::new(dir, &options.accounts)),
            has_accepted: Cell::new(false),
        };
        if this.endpoints.is_none() {
            this.set_cloud(&Cloud::ON_PREMISES);
        }
        this
    }

    fn set_cloud(&mut self, cloud: &Cloud) {
        let text = serde_json::to_string(cloud).unwrap_or_default();
        self.cloud = Some(text.trim_matches(['{', '}']).to_owned()).filter(|text| !text.is_empty());
    }

    /// The body of an event with its cloud inserted.
    fn completed(&self, event: &UsageEvent<'_>) -> Option<String> {
        let request = event.requests.first()?;
        match (request.body.strip_suffix(END).filter(|_| request.path != COMPLETE), &self.cloud) {
            (Some(open), Some(cloud)) => Some([open, ", ", cloud, END].concat()),
            _ => Some(request.body.to_owned()),
        }
    }
}

impl Protocol for TokenTrackr {
    fn takes(&self, event: &UsageEvent<'_>) -> bool {
        !event.is_usage()
    }

    fn encode(&self, events: &[UsageEvent<'_>]) -> Vec<HttpRequest> {
        let bodies: Vec<_> = events.iter().filter_map(|event| self.completed(event)).collect();
        let (path, body) = match &bodies[..] {
            [one] => (COMPLETE, one.clone()),
            several => ("/usage/batch", format!("[{}]", several.join(", "))),
        };
        vec![HttpRequest::post("application/json", body.into()).at(path)]
    }

    fn limits(&self) -> BatchLimits {
        BatchLimits {
            max_events: MAX_EVENTS,
            ceiling: MAX_EVENTS,
            batch_bytes: BATCH_BYTES,
            batch_records: MAX_EVENTS * BATCHES_READ,
            read_timeout_divisor: 1,
            is_ordered: true,
            compresses: false,
            max_response_bytes: MAX_RESPONSE_BYTES,
            ..BatchLimits::default()
        }
    }

    fn prepare(&self) -> Option<Probe> {
        self.endpoints.clone().filter(|_| self.cloud.is_none()).map(Probe::Cloud)
    }

    fn prepared(&mut self, found: Finding) {
        let Finding::Cloud(cloud) = found;
        self.set_cloud(&cloud);
    }

    fn spill(&self) -> Option<Box<dyn SpillFormat>> {
        self.spill.clone().map(|files| Box::new(files) as Box<dyn SpillFormat>)
    }

    /// If no event of a batch was stored, each is retried alone. If some were, the rest is rejected.
    fn verdict(&self, answer: &Answer<'_>, sent: u64) -> Verdict {
        let verdict = by_status_of(&self.has_accepted, answer);
        if !matches!(verdict, Verdict::Accepted { .. }) {
            return verdict;
        }
        match serde_json::from_slice(answer.body) {
            Ok(Value::Array(stored)) if stored.is_empty() => Verdict::Bisect,
            Ok(Value::Array(stored)) => Verdict::Accepted { rejected: sent.saturating_sub(stored.len() as u64) },
            _ => verdict,
        }
    }

    /// The response lists the stored events in the order of the request, without their ids.
    fn left_out(&self, events: &[UsageEvent<'_>], body: &[u8]) -> Vec<usize> {
        let Ok(stored) = serde_json::from_slice::<Vec<Value>>(body) else { return Vec::new() };
        let mut stored = stored.iter().map(key_of).peekable();
        let mut places = Vec::new();
        for (place, event) in events.iter().enumerate() {
            let sent = event.requests.first().and_then(|request| serde_json::from_str::<Value>(request.body).ok());
            let Some(key) = sent.as_ref().and_then(key_of) else { return Vec::new() };
            if stored.next_if(|next| *next == Some(key)).is_none() {
                places.push(place);
            }
        }
        // If some stored events match none, the order is another one, and the comparison says nothing.
        if stored.next().is_some() { Vec::new() } else { places }
    }
}

/// What a response repeats of an event: the tenant, the provider, the model and the sum of tokens.
fn key_of(value: &Value) -> Option<(&str, &str, &str, u64)> {
    let text = |name: &str| value.get(name).and_then(Value::as_str);
    let count = |name: &str| value.get(name).and_then(Value::as_u64);
    let total = count("total_tokens").or_else(|| count("prompt_tokens")?.checked_add(count("completion_tokens")?))?;
    Some((text("tenant_id")?, text("provider")?, text("model")?, total))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Outgoing;

    fn format(cloud: Option<CloudEndpoints>) -> TokenTrackr {
        TokenTrackr::new(&Options { cloud, ..Options::default() })
    }

    fn event(body: &str) -> UsageEvent<'_> {
        UsageEvent { requests: vec![Outgoing { path: "", body }], ..UsageEvent::default() }
    }

    #[test]
    fn one_event_is_an_object_and_several_are_an_array_and_each_has_its_cloud() {
        let record = r#"{"tenant_id": "t", "host": {"hostname": "a}}"}}"#;
        let mut format = format(Some(CloudEndpoints { aws: "a".into(), azure: "b".into(), gcp: "c".into() }));
        assert!(format.prepare().is_some());
        format.prepared(Finding::Cloud(Cloud { cloud_provider: "aws", instance_id: Some("i-0123".into()) }));
        assert!(format.prepare().is_none());
        let one = format.encode(&[event(record)]).remove(0);
        let value: Value = serde_json::from_slice(&one.body).unwrap();
        assert_eq!(one.path, "/usage");
        assert_eq!(value["host"]["hostname"], "a}}");
        assert_eq!(value["host"]["instance_id"], "i-0123");
        let two = format.encode(&[event(record), event(record)]).remove(0);
        let values: Value = serde_json::from_slice(&two.body).unwrap();
        assert_eq!((two.path.as_str(), &values[1]), ("/usage/batch", &value));
        let again = UsageEvent {
            requests: vec![Outgoing { path: COMPLETE, body: std::str::from_utf8(&one.body).unwrap() }],
            ..UsageEvent::default()
        };
        assert_eq!(format.encode(&[again]), [one]);
    }

    #[test]
    fn a_short_response_shows_which_events_were_not_stored() {
        let body = |model: &str, prompt: u64| {
            format!(
                r#"{{"tenant_id": "t", "provider": "bedrock", "model": "{model}", "prompt_tokens": {prompt}, "completion_tokens": 2}}"#
            )
        };
        let bodies = [body("a", 1), body("b", 1), body("b", 1), body("c", 7)];
        let events: Vec<_> = bodies.iter().map(|body| event(body)).collect();
        let stored = |model: &str, total: u64| {
            format!(
                r#"{{"tenant_id": "t", "provider": "bedrock", "model": "{model}", "total_tokens": {total}, "id": "1"}}"#
            )
        };
        let format = format(None);
        let left_out = |stored: &[String]| format.left_out(&events, format!("[{}]", stored.join(", ")).as_bytes());
        assert_eq!(left_out(&[stored("a", 3), stored("b", 3), stored("c", 9)]), [2]);
        assert_eq!(left_out(&[stored("c", 9)]), [0, 1, 2]);
        // Another order, unknown events and other answers say nothing.
        assert!(left_out(&[stored("c", 9), stored("a", 3)]).is_empty());
        assert!(left_out(&[stored("d", 3)]).is_empty());
        assert!(format.left_out(&events, b"[1]").is_empty() && format.left_out(&events, b"{}").is_empty());
    }

    #[test]
    fn a_response_shorter_than_the_batch_means_rejected_events() {
        let format = format(None);
        let verdict =
            |body: &[u8], sent| format.verdict(&Answer { status: 201, retry_after: None, code: None, body }, sent);
        assert_eq!(verdict(b"[1, 2, 3]", 3), Verdict::Accepted { rejected: 0 });
        assert_eq!(verdict(b"[1]", 3), Verdict::Accepted { rejected: 2 });
        assert_eq!(verdict(b"[]", 3), Verdict::Bisect);
        // A successful status is final, whatever the body says.
        for strange in [&b""[..], b"ok", br#"{"success": true}"#] {
            assert_eq!(verdict(strange, 3), Verdict::Accepted { rejected: 0 });
        }
        assert_eq!(verdict(b"{}", 1), Verdict::Accepted { rejected: 0 });
        assert_eq!(verdict(b"[]", 1), Verdict::Bisect);
    }
}
