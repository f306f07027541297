//! What an answer means: the status alone, as far as a format says nothing else.

use std::time::{Duration, SystemTime};

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
    /// Not with these credentials, or not at this address: again when an operator may have changed that.
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

/// What HTTP's status alone means.
///
/// A server's own trouble passes and is tried again as long as the journal keeps the events; 401 to 407 say that an operator has to
/// change the configuration or pay, for which the events wait; a redirect is not followed, for it could carry a key to another host.
pub(super) fn by_status(answer: &Answer<'_>) -> Verdict {
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
