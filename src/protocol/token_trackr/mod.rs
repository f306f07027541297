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
pub(super) const FORMAT: Format =
    Format { name: "token_trackr", has_scheme: false, make: |options| Box::new(TokenTrackr::new(options)) };

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

    /// If no event of a batch was stored, each is retried alone. If some were, the response does not say which, so the rest is counted as
    /// rejected.
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
    fn a_response_shorter_than_the_batch_means_rejected_events() {
        let format = format(None);
        let verdict = |body: &[u8], sent| format.verdict(&Answer { status: 201, retry_after: None, body }, sent);
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
