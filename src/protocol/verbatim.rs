//! Requests that are sent as they were recorded: those of Teer, `TokenTally`, Paygent and Tokenr.
//!
//! Each of these services takes one event per request and does not recognize events by id. After a crash or a lost response, an event may
//! therefore count twice there. To limit this, few records are read at once.

use std::cell::Cell;
use std::time::Duration;

use super::format::{Format, Protocol};
use super::limits::BatchLimits;
use super::request::HttpRequest;
use super::verdict::{Answer, Verdict, by_status};
use crate::event::UsageEvent;

/// Requests in flight: at 50 ms each, 32 of them send 640 events per second.
const CONCURRENCY: u32 = 32;
const JSON: &str = "application/json";
/// Three for each concurrent request.
const BATCH_RECORDS: usize = 96;
/// One chunk.
const BATCH_BYTES: usize = 32 << 10;

/// The entry of this format in the table.
pub(super) const FORMAT: Format = Format::new("verbatim", false, |_| Box::new(Verbatim::default()));

/// The wire format.
#[derive(Default)]
pub struct Verbatim {
    /// Whether the service has accepted a request. If so, the URL is right, and a 404 is about the event.
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

/// The verdict for a service that does not recognize events by id. Until the service has accepted a request, 404 and 405 mean a wrong
/// URL. After that, they are retried, and blamed on the event if the service accepts other events in the meantime.
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
    fn requests_are_sent_unchanged_and_usage_events_are_not_sent() {
        let requests = vec![Outgoing { path: "/a", body: "{}" }, Outgoing { path: "/b", body: r#"{"k": null}"# }];
        let event = UsageEvent { requests, ..UsageEvent::default() };
        let format = Verbatim::default();
        assert!(format.takes(&event) && !format.takes(&UsageEvent::default()));
        let posts = format.encode(&[event]);
        assert_eq!(posts.iter().map(|post| post.path.as_str()).collect::<Vec<_>>(), ["/a", "/b"]);
        assert_eq!(posts[1].body, br#"{"k": null}"#);
    }

    #[test]
    fn not_found_pauses_until_the_service_has_accepted_a_request() {
        let format = Verbatim::default();
        let verdict = |status| format.verdict(&Answer { status, retry_after: None, code: None, body: b"" }, 1);
        assert_eq!((verdict(404), verdict(401)), (Verdict::Pause, Verdict::Pause));
        assert_eq!(verdict(201), Verdict::Accepted { rejected: 0 });
        assert_eq!((verdict(404), verdict(401)), (Verdict::Retry(None), Verdict::Pause));
    }
}
