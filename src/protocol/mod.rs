//! Wire formats of destinations: events in, requests out; a response in, a verdict out. No I/O happens here.

mod cloudevents;
mod token_trackr;
mod verbatim;

use std::time::{Duration, SystemTime};

pub use cloudevents::CloudEvents;
pub use token_trackr::{Cloud, CloudEndpoints, TokenTrackr, TokenTrackrSettings};
pub use verbatim::Verbatim;

use crate::event::UsageEvent;

/// A destination's Retry-After is honoured up to this; it may have meant a date in another century.
const LONGEST_RETRY_AFTER: Duration = Duration::from_mins(15);

/// What of a response a verdict is made from.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    /// The HTTP status.
    pub status: u16,
    /// The header Retry-After.
    pub retry_after: Option<&'a str>,
    /// The beginning of the body.
    pub body: &'a [u8],
}

/// What became of the events of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The destination has them, but for those it refused for good.
    Accepted {
        /// How many it refused.
        rejected: u64,
    },
    /// Not now: again later, no sooner than it says.
    Retry(Option<Duration>),
    /// Not with these credentials, or not at this address: again when somebody may have mended that.
    Pause,
    /// Too large: in smaller parts.
    Split,
    /// Some event of it is unacceptable: find out which.
    Bisect,
    /// Not compressed like this.
    Uncompressed,
    /// None of it, ever.
    Dead,
}

/// One request: what is put after the destination's URL, and the body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Post {
    /// Empty for the URL itself.
    pub path: String,
    /// As it is before compression.
    pub body: Vec<u8>,
}

/// How a destination wants to be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchLimits {
    /// Events in one request.
    pub most_events: usize,
    /// Requests at once.
    pub most_at_once: u32,
    /// Bytes of records that are read together, at least a chunk's.
    pub batch_bytes: usize,
    /// Records that are read together, at most: so many may come twice after a crash.
    pub batch_records: usize,
    /// How long events wait for company.
    pub age: Duration,
    /// Whether requests begin in the order of their events, also when there is a backlog.
    pub is_ordered: bool,
    /// The part of the time for a request after which a connection that moves nothing is given up. Where an event that comes again
    /// counts again, that is all of it.
    pub read_timeout_divisor: u32,
    /// Whether bodies may be compressed.
    pub compresses: bool,
    /// Bytes of an answer that are read.
    pub largest_answer: usize,
    /// Requests without success after which events go to the fallback; `None` where they are tried for as long as they are kept.
    pub attempts: Option<u32>,
}

impl Default for BatchLimits {
    /// That of a collector which takes batches and tells events by their id.
    fn default() -> Self {
        Self {
            most_events: 1_000,
            most_at_once: 4,
            // With four requests at once, one is ready for each.
            batch_bytes: 512 << 10,
            batch_records: usize::MAX,
            read_timeout_divisor: 3,
            age: Duration::from_secs(1),
            is_ordered: false,
            compresses: true,
            largest_answer: 64 << 10,
            attempts: None,
        }
    }
}

/// A wire format.
pub trait Protocol: Send {
    /// Whether an event is for this destination.
    fn takes(&self, event: &UsageEvent<'_>) -> bool {
        event.is_usage()
    }

    /// The requests that bring these events, to be made one after the other: the last one's answer tells what became of them.
    fn encode(&self, events: &[UsageEvent<'_>]) -> Vec<Post>;

    /// The bodies' media type.
    fn content_type(&self) -> &'static str;

    /// How the destination wants to be asked.
    fn limits(&self) -> BatchLimits {
        BatchLimits::default()
    }

    /// Where it is to be found out in which cloud this machine is, if the format says so and that is not known yet.
    fn asks_for_cloud(&self) -> Option<&CloudEndpoints> {
        None
    }

    /// Takes what was found out.
    fn set_cloud(&mut self, _cloud: Cloud) {}

    /// What a response to a request with so many events means.
    fn verdict(&self, answer: &Answer<'_>, _sent: u64) -> Verdict {
        by_status(answer)
    }
}

/// Which format a destination has.
#[derive(Clone, Debug, PartialEq)]
pub enum Wire {
    /// CloudEvents 1.0.
    CloudEvents,
    /// Requests as they were given, to the service of this name.
    Verbatim(String),
    /// Token Trackr's.
    TokenTrackr(TokenTrackrSettings),
}

impl Wire {
    /// The format.
    #[must_use]
    pub fn protocol(&self) -> Box<dyn Protocol> {
        match self {
            Self::CloudEvents => Box::new(CloudEvents),
            Self::Verbatim(_) => Box::new(Verbatim::default()),
            Self::TokenTrackr(settings) => Box::new(TokenTrackr::new(settings.clone())),
        }
    }

    /// The service it is of; `None` of one that has events by their id, whoever sends them.
    #[must_use]
    pub fn service(&self) -> Option<&str> {
        match self {
            Self::CloudEvents => None,
            Self::Verbatim(name) => Some(name),
            Self::TokenTrackr(_) => Some("token_trackr"),
        }
    }
}

/// What HTTP's status alone means.
///
/// A server's own trouble passes and is tried again as long as the journal keeps the events; 401 to 407 say that somebody has to
/// mend the configuration or pay, for which the events wait; a redirect is not followed, for it could carry a key to another host.
fn by_status(answer: &Answer<'_>) -> Verdict {
    match answer.status {
        200..=299 => Verdict::Accepted { rejected: 0 },
        408 | 425 | 429 | 500..=599 => Verdict::Retry(answer.retry_after.and_then(retry_after)),
        300..=399 | 401..=407 | 411 => Verdict::Pause,
        413 => Verdict::Split,
        415 => Verdict::Uncompressed,
        400 | 422 => Verdict::Bisect,
        _ => Verdict::Dead,
    }
}

/// A Retry-After in either of its forms, seconds or a date.
fn retry_after(text: &str) -> Option<Duration> {
    let text = text.trim();
    let wait = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => httpdate::parse_http_date(text).ok()?.duration_since(SystemTime::now()).unwrap_or_default(),
    };
    Some(wait.min(LONGEST_RETRY_AFTER))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(status: u16, retry_after: Option<&str>) -> Verdict {
        by_status(&Answer { status, retry_after, body: b"" })
    }

    #[test]
    fn every_status_has_one_meaning() {
        for (status, meaning) in [
            (200, Verdict::Accepted { rejected: 0 }),
            (204, Verdict::Accepted { rejected: 0 }),
            (307, Verdict::Pause),
            (400, Verdict::Bisect),
            (401, Verdict::Pause),
            (404, Verdict::Pause),
            (408, Verdict::Retry(None)),
            (410, Verdict::Dead),
            (413, Verdict::Split),
            (415, Verdict::Uncompressed),
            (422, Verdict::Bisect),
            (429, Verdict::Retry(None)),
            (500, Verdict::Retry(None)),
            (402, Verdict::Pause),
            (405, Verdict::Pause),
            (451, Verdict::Dead),
            (501, Verdict::Retry(None)),
            (503, Verdict::Retry(None)),
            (529, Verdict::Retry(None)),
        ] {
            assert_eq!(verdict(status, None), meaning, "{status}");
        }
    }

    #[test]
    fn retry_after_comes_as_seconds_or_as_a_date_and_is_bounded() {
        assert_eq!(verdict(429, Some("7")), Verdict::Retry(Some(Duration::from_secs(7))));
        assert_eq!(verdict(503, Some("99999999")), Verdict::Retry(Some(LONGEST_RETRY_AFTER)));
        let date = httpdate::fmt_http_date(SystemTime::now() + Duration::from_mins(1));
        let Verdict::Retry(Some(wait)) = verdict(429, Some(&date)) else { panic!() };
        assert!((Duration::from_secs(58)..=Duration::from_mins(1)).contains(&wait));
        let past = httpdate::fmt_http_date(SystemTime::UNIX_EPOCH);
        assert_eq!(verdict(429, Some(&past)), Verdict::Retry(Some(Duration::ZERO)));
        assert_eq!(verdict(429, Some("soon")), Verdict::Retry(None));
    }
}
