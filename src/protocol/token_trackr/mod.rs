//! Token Trackr: one event as an object to `/usage`, several as an array to `/usage/batch`.
//!
//! An event is written when it is recorded, but for the cloud that this machine is in, which takes a second to find out and is put in
//! here. So that it can be, an event ends with its host, an object whose last key is `hostname`:
//!
//! ```text
//! {"tenant_id": …, …, "host": {…, "hostname": "…"}}
//! ```
//!
//! Its answer has an element for each event that was stored, which is how it tells that it did not store some.

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

/// Events in one request: the service's own limit.
const MOST_EVENTS: usize = 1_000;
/// What follows the host's last value.
const END: &str = "}}";
/// A chunk's.
const BATCH_BYTES: usize = 64 << 10;
/// Four requests' for each request at once.
const BATCHES: usize = 16;
/// An element of an answer has some 250 bytes.
const LARGEST_ANSWER: usize = 1 << 20;

/// Its entry in the table.
pub(super) const FORMAT: Format =
    Format { name: "token_trackr", has_scheme: false, make: |options| Box::new(TokenTrackr::new(options)) };

/// The format.
struct TokenTrackr {
    endpoints: Option<CloudEndpoints>,
    /// The cloud as a part of an object.
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

    /// An event with its cloud.
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
            max_events: MOST_EVENTS,
            ceiling: MOST_EVENTS,
            batch_bytes: BATCH_BYTES,
            batch_records: MOST_EVENTS * BATCHES,
            read_timeout_divisor: 1,
            is_ordered: true,
            compresses: false,
            largest_answer: LARGEST_ANSWER,
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

    /// Of a batch none of which was stored, each is tried alone; where some were, it cannot be told which, and they are counted.
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
    fn one_event_is_an_object_and_several_are_an_array_each_with_its_cloud() {
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
    fn an_answer_that_is_shorter_than_the_batch_is_noticed() {
        let format = format(None);
        let verdict = |body: &[u8], sent| format.verdict(&Answer { status: 201, retry_after: None, body }, sent);
        assert_eq!(verdict(b"[1, 2, 3]", 3), Verdict::Accepted { rejected: 0 });
        assert_eq!(verdict(b"[1]", 3), Verdict::Accepted { rejected: 2 });
        assert_eq!(verdict(b"[]", 3), Verdict::Bisect);
        // What it took is not sent again, whatever it says.
        for strange in [&b""[..], b"ok", br#"{"success": true}"#] {
            assert_eq!(verdict(strange, 3), Verdict::Accepted { rejected: 0 });
        }
        assert_eq!(verdict(b"{}", 1), Verdict::Accepted { rejected: 0 });
        assert_eq!(verdict(b"[]", 1), Verdict::Bisect);
    }
}
