//! What a response means for the events of its request. By default, the status alone decides.

use std::time::{Duration, SystemTime};

/// The longest Retry-After that is honoured. A date in it may be years away by mistake.
const MAX_RETRY_AFTER: Duration = Duration::from_mins(15);

/// The parts of a response that decide the verdict.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    /// The HTTP status.
    pub status: u16,
    /// The `Retry-After` header.
    pub retry_after: Option<&'a str>,
    /// The header that the format names, with the service's own code.
    pub code: Option<&'a str>,
    /// The beginning of the body.
    pub body: &'a [u8],
}

/// What happens next to the events of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The destination has stored the events, except those it rejected for good.
    Accepted {
        /// How many events it rejected.
        rejected: u64,
    },
    /// Retry, no sooner than after the time in the response, if there is one.
    Retry(Option<Duration>),
    /// The destination is busy or short of something, and says that no event is the cause. Retry, no sooner than after this time.
    Busy(Option<Duration>),
    /// The credentials or the URL are wrong. Pause, and try again in case an operator has changed them.
    Pause,
    /// The request is too large. Send the events in smaller requests.
    Split,
    /// The destination rejects some of the events. Find out which by sending smaller parts.
    Bisect,
    /// As [`Self::Bisect`], but the way the destination is set up may be the cause. An event is only given up if another one was accepted
    /// since; if each event is refused alone, pause.
    BisectOrPause,
    /// The destination does not accept compressed bodies. Send the events uncompressed.
    Uncompressed,
    /// The destination will never accept these events.
    Dead,
}

/// The verdict by HTTP status alone.
///
/// Server errors are temporary: requests are retried for as long as the journal keeps the events. For 401 to 407 an operator has to change
/// the configuration or pay, so the events wait. Redirects are not followed, because they could take a key to another host.
pub(super) fn by_status(answer: &Answer<'_>) -> Verdict {
    match answer.status {
        200..=299 => Verdict::Accepted { rejected: 0 },
        408 | 425 | 429 | 500..=599 => Verdict::Retry(wait_of(answer)),
        300..=399 | 401..=407 | 411 => Verdict::Pause,
        413 => Verdict::Split,
        415 => Verdict::Uncompressed,
        400 | 422 => Verdict::Bisect,
        _ => Verdict::Dead,
    }
}

/// How long the destination asks to wait, if it does.
pub(super) fn wait_of(answer: &Answer<'_>) -> Option<Duration> {
    answer.retry_after.and_then(retry_after)
}

/// Parses a `Retry-After` header: seconds or a date.
fn retry_after(text: &str) -> Option<Duration> {
    let text = text.trim();
    let wait = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => httpdate::parse_http_date(text).ok()?.duration_since(SystemTime::now()).unwrap_or_default(),
    };
    Some(wait.min(MAX_RETRY_AFTER))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(status: u16, retry_after: Option<&str>) -> Verdict {
        by_status(&Answer { status, retry_after, code: None, body: b"" })
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
    fn retry_after_is_seconds_or_a_date_and_is_bounded() {
        assert_eq!(verdict(429, Some("7")), Verdict::Retry(Some(Duration::from_secs(7))));
        assert_eq!(verdict(503, Some("99999999")), Verdict::Retry(Some(MAX_RETRY_AFTER)));
        let date = httpdate::fmt_http_date(SystemTime::now() + Duration::from_mins(1));
        let Verdict::Retry(Some(wait)) = verdict(429, Some(&date)) else { panic!() };
        assert!((Duration::from_secs(58)..=Duration::from_mins(1)).contains(&wait));
        let past = httpdate::fmt_http_date(SystemTime::UNIX_EPOCH);
        assert_eq!(verdict(429, Some(&past)), Verdict::Retry(Some(Duration::ZERO)));
        assert_eq!(verdict(429, Some("soon")), Verdict::Retry(None));
    }
}
