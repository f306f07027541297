//! Requests as they were given: those of Teer, `TokenTally`, Paygent and Tokenr.
//!
//! Each of these services takes one event a request and has no ids to tell events by, so an event may count twice there after a crash
//! or a lost answer. Few records are read at once, to keep that small.

use std::cell::Cell;
use std::time::Duration;

use super::format::{Format, Protocol};
use super::limits::BatchLimits;
use super::request::HttpRequest;
use super::verdict::{Answer, Verdict, by_status};
use crate::event::UsageEvent;

/// Requests that are on their way at once: at 50 ms each, 32 bring 640 events a second.
const CONCURRENCY: u32 = 32;
const JSON: &str = "application/json";
/// Three for each request.
const BATCH_RECORDS: usize = 96;
/// A chunk's.
const BATCH_BYTES: usize = 32 << 10;

/// Its entry in the table.
pub(super) const FORMAT: Format =
    Format { name: "verbatim", has_scheme: false, make: |_| Box::new(Verbatim::default()) };

/// The format.
#[derive(Default)]
pub struct Verbatim {
    /// Whether the service took anything: then its address is right, and what it does not find is in the event.
    has_accepted: Cell<bool>,
}

impl Protocol for Verbatim {
    fn takes(&self, event: &UsageEvent<'_>) -> bool {
        !event.is_usage()
    }

    fn encode(&self, events: &[UsageEvent<'_>]) -> Vec<HttpRequest> {
        let requests = events.iter().flat_map(|event| &event.requests);
        requests.map(|request| HttpRequest::post(JSON, request.body.into()).at(request.path)).collect()
    }

    fn limits(&self) -> BatchLimits {
        BatchLimits {
            max_events: 1,
            ceiling: 1,
            concurrency: CONCURRENCY,
            batch_bytes: BATCH_BYTES,
            batch_records: BATCH_RECORDS,
            read_timeout_divisor: 1,
            linger: Duration::ZERO,
            is_ordered: true,
            compresses: false,
            ..BatchLimits::default()
        }
    }

    fn verdict(&self, answer: &Answer<'_>, _sent: u64) -> Verdict {
        by_status_of(&self.has_accepted, answer)
    }
}

/// What a status means to a service of events without ids. What it does not find is the address's fault until it took something; from
/// then on it is tried again, and is the event's if others are taken meanwhile.
pub(super) fn by_status_of(has_accepted: &Cell<bool>, answer: &Answer<'_>) -> Verdict {
    match by_status(answer) {
        Verdict::Pause if matches!(answer.status, 404 | 405) && has_accepted.get() => Verdict::Retry(None),
        accepted @ Verdict::Accepted { .. } => {
            has_accepted.set(true);
            accepted
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Outgoing;

    #[test]
    fn requests_go_out_as_they_are_and_usage_does_not() {
        let requests = vec![Outgoing { path: "/a", body: "{}" }, Outgoing { path: "/b", body: r#"{"k": null}"# }];
        let event = UsageEvent { requests, ..UsageEvent::default() };
        let format = Verbatim::default();
        assert!(format.takes(&event) && !format.takes(&UsageEvent::default()));
        let posts = format.encode(&[event]);
        assert_eq!(posts.iter().map(|post| post.path.as_str()).collect::<Vec<_>>(), ["/a", "/b"]);
        assert_eq!(posts[1].body, br#"{"k": null}"#);
    }

    #[test]
    fn what_is_not_found_is_the_addresss_fault_until_something_was_taken() {
        let format = Verbatim::default();
        let verdict = |status| format.verdict(&Answer { status, retry_after: None, body: b"" }, 1);
        assert_eq!((verdict(404), verdict(401)), (Verdict::Pause, Verdict::Pause));
        assert_eq!(verdict(201), Verdict::Accepted { rejected: 0 });
        assert_eq!((verdict(404), verdict(401)), (Verdict::Retry(None), Verdict::Pause));
    }
}
