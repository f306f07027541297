//! How much goes into a request, and how many requests: what a destination takes, and what its user asks for.

use std::time::Duration;

/// How a destination wants to be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchLimits {
    /// Events in one request.
    pub max_events: usize,
    /// Events in one request that the destination takes at most, whatever its user asks for.
    pub ceiling: usize,
    /// Bytes of a request's body before compression. A single event that is larger is sent all the same.
    pub max_bytes: usize,
    /// How long events wait for others, so that they go in one request.
    pub linger: Duration,
    /// Requests at once.
    pub concurrency: u32,
    /// Bytes of records that are read together, at least a chunk's.
    pub batch_bytes: usize,
    /// Records that are read together, at most: so many may come twice after a crash.
    pub batch_records: usize,
    /// Whether requests begin in the order of their events, also when there is a backlog.
    pub is_ordered: bool,
    /// The time for a request, divided by this, is how long a connection may move nothing. Where an event that comes again counts
    /// again, the divisor is 1.
    pub read_timeout_divisor: u32,
    /// Whether bodies may be compressed.
    pub compresses: bool,
    /// Bytes of an answer that are read.
    pub largest_answer: usize,
    /// Requests without success after which events are spilled into files, where the format has such files; `None` where events are
    /// tried for as long as they are kept.
    pub attempts: Option<u32>,
}

impl Default for BatchLimits {
    /// Those of a collector which takes batches and tells events by their id.
    fn default() -> Self {
        Self {
            max_events: 1_000,
            ceiling: 10_000,
            // Several collectors' own limit is a megabyte.
            max_bytes: 1_000_000,
            linger: Duration::from_secs(1),
            concurrency: 4,
            // With four requests at once, one is ready for each.
            batch_bytes: 512 << 10,
            batch_records: usize::MAX,
            is_ordered: false,
            read_timeout_divisor: 3,
            compresses: true,
            largest_answer: 64 << 10,
            attempts: None,
        }
    }
}

/// Bytes of records that are read together where a user asks for large requests: more would be read again and again while events linger.
const MOST_BATCH_BYTES: usize = 8 << 20;
/// Bytes of the record of a usual event.
const USUAL_RECORD: usize = 128;

/// A limit that was given and breaks its rule.
#[derive(thiserror::Error, Clone, Debug, PartialEq)]
#[error("{field}: {given} is not {unit} from {lowest} to {highest}; leave it out for the protocol's own limit")]
pub struct LimitError {
    field: &'static str,
    given: f64,
    unit: &'static str,
    lowest: f64,
    highest: f64,
}

/// What a user asks for in place of the limits that a format has.
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
    /// Checks what was given against the bounds of each limit.
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

    /// The limits that hold for a destination whose format has these.
    #[must_use]
    pub fn apply(&self, format: BatchLimits) -> BatchLimits {
        let max_events = self.max_events.unwrap_or(format.max_events).clamp(1, format.ceiling.max(1));
        let concurrency = self.concurrency.unwrap_or(format.concurrency).max(1);
        let batch_records = match format.batch_records {
            usize::MAX => usize::MAX,
            // As many requests' as the format has.
            records => (records / format.max_events.max(1)).saturating_mul(max_events),
        };
        let wanted = max_events.saturating_mul(concurrency as usize).saturating_mul(USUAL_RECORD);
        let is_larger = self.max_events.is_some() || self.concurrency.is_some();
        let batch_bytes = if is_larger && !format.is_ordered { wanted.min(MOST_BATCH_BYTES) } else { 0 };
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
    fn limits_out_of_their_bounds_are_named_with_the_rule_and_the_remedy() {
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
    fn a_users_limits_win_over_the_formats_within_what_the_destination_takes() {
        let format = BatchLimits { ceiling: 2_000, ..BatchLimits::default() };
        assert_eq!(LimitOverrides::default().apply(format), format);
        let asked = LimitOverrides::new(Some(5_000.0), Some(2e6), Some(0.0), Some(8.0)).unwrap();
        let limits = asked.apply(format);
        assert_eq!((limits.max_events, limits.max_bytes, limits.concurrency), (2_000, 2_000_000, 8));
        assert_eq!((limits.linger, limits.batch_bytes), (Duration::ZERO, 2_000 * 8 * 128));
        // So many requests' records are read together as the format says.
        let few = BatchLimits { batch_records: 16_000, is_ordered: true, ..format };
        let asked = LimitOverrides { max_events: Some(10), attempts: Some(0), ..LimitOverrides::default() };
        assert_eq!((asked.apply(few).batch_records, asked.apply(few).attempts), (160, Some(1)));
        assert_eq!(asked.apply(few).batch_bytes, few.batch_bytes);
    }
}
