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

use std::cell::Cell;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use super::verbatim::by_status_of;
use super::{Answer, BatchLimits, Post, Protocol, Verdict};
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

/// What its user says of it.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenTrackrSettings {
    /// Events in one request.
    pub batch_size: usize,
    /// How long events wait for company.
    pub flush_interval: Duration,
    /// Requests without success after which events go to the fallback.
    pub attempts: u32,
    /// Where the fallback's files are.
    pub fallback: Option<PathBuf>,
    /// Where to ask for the cloud; with `None` there is none.
    pub cloud: Option<CloudEndpoints>,
}

/// Where clouds tell a machine that it is theirs: base URLs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloudEndpoints {
    /// Amazon's.
    pub aws: String,
    /// Microsoft's.
    pub azure: String,
    /// Google's.
    pub gcp: String,
}

/// The cloud that a machine is in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Cloud {
    /// `aws`, `azure`, `gcp` or `on-prem`.
    pub cloud_provider: &'static str,
    /// The machine's name there.
    pub instance_id: Option<String>,
}

impl Cloud {
    /// None.
    pub const ON_PREMISES: Self = Self { cloud_provider: "on-prem", instance_id: None };
}

/// The format.
pub struct TokenTrackr {
    settings: TokenTrackrSettings,
    /// The cloud as a part of an object.
    cloud: Option<String>,
    has_accepted: Cell<bool>,
}

impl TokenTrackr {
    /// The path of an event that has its cloud, for it comes from the fallback.
    pub const COMPLETE: &str = "/usage";

    /// The format, with its user's settings.
    #[must_use]
    pub fn new(settings: TokenTrackrSettings) -> Self {
        let mut this = Self { cloud: None, has_accepted: Cell::new(false), settings };
        if this.settings.cloud.is_none() {
            this.set_cloud(Cloud::ON_PREMISES);
        }
        this
    }

    /// An event with its cloud.
    fn completed(&self, event: &UsageEvent<'_>) -> Option<String> {
        let request = event.requests.first()?;
        match (request.body.strip_suffix(END).filter(|_| request.path != Self::COMPLETE), &self.cloud) {
            (Some(open), Some(cloud)) => Some([open, ", ", cloud, END].concat()),
            _ => Some(request.body.to_owned()),
        }
    }
}

impl Protocol for TokenTrackr {
    fn takes(&self, event: &UsageEvent<'_>) -> bool {
        !event.is_usage()
    }

    fn encode(&self, events: &[UsageEvent<'_>]) -> Vec<Post> {
        let bodies: Vec<_> = events.iter().filter_map(|event| self.completed(event)).collect();
        let (path, body) = match &bodies[..] {
            [one] => (Self::COMPLETE, one.clone()),
            several => ("/usage/batch", format!("[{}]", several.join(", "))),
        };
        vec![Post { path: path.to_owned(), body: body.into() }]
    }

    fn content_type(&self) -> &'static str {
        "application/json"
    }

    fn limits(&self) -> BatchLimits {
        BatchLimits {
            most_events: self.settings.batch_size.clamp(1, MOST_EVENTS),
            batch_bytes: BATCH_BYTES,
            batch_records: self.settings.batch_size.clamp(1, MOST_EVENTS) * BATCHES,
            read_timeout_divisor: 1,
            age: self.settings.flush_interval,
            is_ordered: true,
            compresses: false,
            largest_answer: LARGEST_ANSWER,
            attempts: Some(self.settings.attempts.max(1)),
            ..BatchLimits::default()
        }
    }

    fn asks_for_cloud(&self) -> Option<&CloudEndpoints> {
        self.settings.cloud.as_ref().filter(|_| self.cloud.is_none())
    }

    fn set_cloud(&mut self, cloud: Cloud) {
        let text = serde_json::to_string(&cloud).unwrap_or_default();
        self.cloud = Some(text.trim_matches(['{', '}']).to_owned()).filter(|text| !text.is_empty());
    }

    /// Of a batch none of which was stored, each is tried alone; where some were, nobody can tell which, and they are counted.
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
        let flush_interval = Duration::from_secs(5);
        TokenTrackr::new(TokenTrackrSettings { batch_size: 10, flush_interval, attempts: 3, fallback: None, cloud })
    }

    fn event(body: &str) -> UsageEvent<'_> {
        UsageEvent { requests: vec![Outgoing { path: "", body }], ..UsageEvent::default() }
    }

    #[test]
    fn one_event_is_an_object_and_several_are_an_array_each_with_its_cloud() {
        let record = r#"{"tenant_id": "t", "host": {"hostname": "a}}"}}"#;
        let mut format = format(Some(CloudEndpoints { aws: "a".into(), azure: "b".into(), gcp: "c".into() }));
        assert!(format.asks_for_cloud().is_some());
        format.set_cloud(Cloud { cloud_provider: "aws", instance_id: Some("i-0123".into()) });
        assert!(format.asks_for_cloud().is_none());
        let one = format.encode(&[event(record)]).remove(0);
        let value: Value = serde_json::from_slice(&one.body).unwrap();
        assert_eq!(one.path, "/usage");
        assert_eq!(value["host"]["hostname"], "a}}");
        assert_eq!(value["host"]["instance_id"], "i-0123");
        let two = format.encode(&[event(record), event(record)]).remove(0);
        let values: Value = serde_json::from_slice(&two.body).unwrap();
        assert_eq!((two.path.as_str(), &values[1]), ("/usage/batch", &value));
        let again = UsageEvent {
            requests: vec![Outgoing { path: TokenTrackr::COMPLETE, body: std::str::from_utf8(&one.body).unwrap() }],
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
