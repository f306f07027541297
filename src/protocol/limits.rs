//! How much goes into one request, and how many requests run at once: a format's limits and the user's overrides.

use std::time::Duration;

/// The limits of requests to a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchLimits {
    /// The most events in one request.
    pub max_events: usize,
    /// The largest `max_events` that the destination accepts, whatever the user sets.
    pub ceiling: usize,
    /// The most bytes of a request's body before compression. A single larger event is sent all the same.
    pub max_bytes: usize,
    /// How long an event waits for more events to share its request.
    pub linger: Duration,
    /// The most requests at the same time.
    pub concurrency: u32,
    /// Bytes of records to read from the journal at once; at least one chunk is read.
    pub batch_bytes: usize,
    /// The most records to read at once. As many may be sent twice after a crash.
    pub batch_records: usize,
    /// Whether requests start in the order of their events even with a backlog.
    pub is_ordered: bool,
    /// The read timeout (how long a connection may be idle) is the request timeout divided by this. It is 1 for services that would count
    /// an event again if it were sent again.
    pub read_timeout_divisor: u32,
    /// Whether request bodies may be compressed.
    pub compresses: bool,
    /// The most bytes of a response body to read.
    pub max_response_bytes: usize,
    /// Failed requests after which events are spilled into files, if the format has such files. With `None`, requests are retried for as
    /// long as the journal keeps the events.
    pub attempts: Option<u32>,
}

impl Default for BatchLimits {
    /// The limits of a collector that accepts batches and recognizes events by id.
    fn default() -> Self {
        Self {
            max_events: 1_000,
            ceiling: 10_000,
            // Several collectors accept at most a megabyte.
            max_bytes: 1_000_000,
            linger: Duration::from_secs(1),
            concurrency: 4,
            // Enough for the four concurrent requests.
            batch_bytes: 512 << 10,
            batch_records: usize::MAX,
            is_ordered: false,
            read_timeout_divisor: 3,
            compresses: true,
            max_response_bytes: 64 << 10,
            attempts: None,
        }
    }
}

/// The most bytes to read at once if a user asks for large requests. The journal is read again while events linger, so more would be
/// wasteful.
const MAX_BATCH_BYTES: usize = 8 << 20;
/// Bytes of a typical event's record.
const TYPICAL_RECORD: usize = 128;

/// A limit that is out of its bounds.
#[derive(thiserror::Error, Clone, Debug, PartialEq)]
#[error("{field}: {given} is not {unit} from {lowest} to {highest}; leave it out to use the protocol's own limit")]
pub struct LimitError {
    field: &'static str,
    given: f64,
    unit: &'static str,
    lowest: f64,
    highest: f64,
}

/// The user's limits. They override those of the format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LimitOverrides {
    /// See [`BatchLimits::max_events`].
    pub max_events: Option<usize>,
    /// See [`BatchLimits::max_bytes`].
    pub max_bytes: Option<usize>,
    /// See [`BatchLimits::linger`].
    pub linger: Option<Duration>,
    /// See [`BatchLimits::concurrency`].
    pub concurrency: Option<u32>,
    /// See [`BatchLimits::attempts`].
    pub attempts: Option<u32>,
}

impl LimitOverrides {
    /// Checks each limit against its bounds.
    ///
    /// # Errors
    /// The first limit that is out of its bounds.
    pub fn new(
        max_events: Option<f64>,
        max_bytes: Option<f64>,
        linger: Option<f64>,
        concurrency: Option<f64>,
    ) -> Result<Self, LimitError> {
        const WHOLE: &str = "a whole number";
        let check = |field, given: Option<f64>, unit, (lowest, highest): (f64, f64)| match given {
            Some(given) if !(lowest..=highest).contains(&given) || (unit == WHOLE && given.fract() != 0.0) => {
                Err(LimitError { field, given, unit, lowest, highest })
            }
            within => Ok(within),
        };
        Ok(Self {
            max_events: check("max_events", max_events, WHOLE, (1.0, 10_000.0))?.map(|given| given as usize),
            max_bytes: check("max_bytes", max_bytes, WHOLE, (1_000.0, 20_000_000.0))?.map(|given| given as usize),
            linger: check("linger", linger, "a number of seconds", (0.0, 3_600.0))?.map(Duration::from_secs_f64),
            concurrency: check("concurrency", concurrency, WHOLE, (1.0, 64.0))?.map(|given| given as u32),
            attempts: None,
        })
    }

    /// The limits of a destination whose format has these limits.
    #[must_use]
    pub fn apply(&self, format: BatchLimits) -> BatchLimits {
        let max_events = self.max_events.unwrap_or(format.max_events).clamp(1, format.ceiling.max(1));
        let concurrency = self.concurrency.unwrap_or(format.concurrency).max(1);
        let batch_records = match format.batch_records {
            usize::MAX => usize::MAX,
            // Keep the format's ratio of records to events per request.
            records => (records / format.max_events.max(1)).saturating_mul(max_events),
        };
        let wanted = max_events.saturating_mul(concurrency as usize).saturating_mul(TYPICAL_RECORD);
        let is_larger = self.max_events.is_some() || self.concurrency.is_some();
        let batch_bytes = if is_larger && !format.is_ordered { wanted.min(MAX_BATCH_BYTES) } else { 0 };
        BatchLimits {
            max_events,
            max_bytes: self.max_bytes.unwrap_or(format.max_bytes),
            linger: self.linger.unwrap_or(format.linger),
            concurrency,
            batch_bytes: format.batch_bytes.max(batch_bytes),
            batch_records,
            attempts: self.attempts.map(|attempts| attempts.max(1)).or(format.attempts),
            ..format
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_the_limit_its_bounds_and_the_remedy() {
        let given = |max_events| LimitOverrides::new(Some(max_events), None, None, None);
        assert_eq!(given(10_000.0).unwrap().max_events, Some(10_000));
        for bad in [0.0, -1.0, 10_001.0, 1.5, f64::NAN, f64::INFINITY] {
            let text = given(bad).unwrap_err().to_string();
            assert!(
                text.contains("max_events") && text.contains("from 1 to 10000") && text.contains("leave it out"),
                "{text}"
            );
        }
        assert!(LimitOverrides::new(None, Some(999.0), None, None).is_err());
        assert!(LimitOverrides::new(None, None, Some(3_601.0), None).is_err());
        assert!(LimitOverrides::new(None, None, None, Some(65.0)).is_err());
        let linger = LimitOverrides::new(None, None, Some(0.5), None).unwrap().linger;
        assert_eq!(linger, Some(Duration::from_millis(500)));
    }

    #[test]
    fn user_limits_override_the_formats_up_to_the_ceiling() {
        let format = BatchLimits { ceiling: 2_000, ..BatchLimits::default() };
        assert_eq!(LimitOverrides::default().apply(format), format);
        let asked = LimitOverrides::new(Some(5_000.0), Some(2e6), Some(0.0), Some(8.0)).unwrap();
        let limits = asked.apply(format);
        assert_eq!((limits.max_events, limits.max_bytes, limits.concurrency), (2_000, 2_000_000, 8));
        assert_eq!((limits.linger, limits.batch_bytes), (Duration::ZERO, 2_000 * 8 * 128));
        // The ratio of records to events per request is the format's.
        let few = BatchLimits { batch_records: 16_000, is_ordered: true, ..format };
        let asked = LimitOverrides { max_events: Some(10), attempts: Some(0), ..LimitOverrides::default() };
        assert_eq!((asked.apply(few).batch_records, asked.apply(few).attempts), (160, Some(1)));
        assert_eq!(asked.apply(few).batch_bytes, few.batch_bytes);
    }
}
