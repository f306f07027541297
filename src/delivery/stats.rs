//! The counts of delivery, the forecast of the journal's space, and the status file with both for other processes.
//!
//! ```text
//! <journal>/status.json   {"pid", "at", "tier", "tracked", …, "destinations": […]}, written within five seconds of a change
//! ```

use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::event::json::time_text;
use crate::journal::{Batch, Counts};
use crate::sys::clock::unix_ns;
use crate::sys::fs::{append_all, append_private, remove_file, rename};

const STATUS: &str = "status.json";
/// The number of samples of the backlog, one per second.
const SAMPLES: usize = 60;
const SAMPLE_EVERY: Duration = Duration::from_secs(1);

/// Counts of one destination.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct DestinationStats {
    /// Its name.
    pub name: String,
    /// The host of an HTTP destination.
    pub host: Option<String>,
    /// Events that it accepted.
    pub delivered: u64,
    /// Events that it already had.
    pub duplicates: u64,
    /// Events of this process's journal that do not wait for it any more.
    #[serde(skip)]
    pub own: u64,
    /// The bytes of their records.
    #[serde(skip)]
    pub own_bytes: u64,
    /// Events that do not wait for it any more, in batches that have others. Neither `own` nor `orphaned` takes them into account.
    #[serde(skip)]
    pub finished: u64,
    /// How many of them were lost.
    #[serde(skip)]
    pub own_lost: u64,
    /// The bytes of evicted records.
    #[serde(skip)]
    pub evicted_bytes: u64,
    /// Records that are not valid events.
    pub unreadable: u64,
    /// Events that it rejected for good in a response that accepted the others.
    pub rejected: u64,
    /// Events that it did not accept in time. They are in its spill files until it accepts others.
    pub fallback: u64,
    /// Events that it rejected for good and that are in the dead letters.
    pub dead: u64,
    /// Events that it rejected for good and for which the dead letters had no space.
    pub dropped: u64,
    /// Events that waited longer than allowed.
    pub expired: u64,
    /// Events for it that ended processes left, in journals that this process has seen.
    pub orphaned: u64,
    /// Panics of its delivery thread.
    pub panics: u64,
    /// The oldest events, evicted because the journal's budget was used up.
    pub evicted: u64,
    /// Requests that were retried.
    pub retries: u64,
    /// The state of an HTTP destination: `closed`, `open` (one request at a time) or `paused` (an operator has to correct a setting).
    pub state: Option<&'static str>,
    /// Batches, or requests, that failed.
    pub failures: u64,
    /// The reason of the last failure. A success clears it.
    pub last_error: Option<String>,
    /// How often the work that follows a batch failed, such as packing or the deletion of old calls.
    pub upkeep_failures: u64,
    /// Why that work failed the last time. A success clears it.
    pub upkeep_error: Option<String>,
    /// When the oldest event that waits for it was tracked, in nanoseconds since the Unix epoch.
    pub oldest: Option<u64>,
}

impl DestinationStats {
    /// How many events wait for it, of as many as this process has appended and those that ended processes left.
    #[must_use]
    pub fn pending(&self, appended: u64) -> u64 {
        (appended.saturating_sub(self.own) + self.orphaned).saturating_sub(self.finished)
    }

    /// Counts a batch of this process's journal that does not wait for it any more.
    pub(super) fn note_passed(&mut self, batch: &Batch) {
        self.own += batch.len() as u64;
        self.own_bytes += batch.byte_len() as u64;
    }

    /// Adds what other threads have counted in the meantime.
    pub(super) fn keep_evicted(&mut self, other: &Self) {
        let more = other.evicted - self.evicted;
        self.evicted = other.evicted;
        self.own += more;
        self.own_lost += more;
        self.own_bytes += other.evicted_bytes - self.evicted_bytes;
        self.evicted_bytes = other.evicted_bytes;
        self.panics = other.panics;
    }

    /// Counts evicted events and their bytes.
    pub(super) fn note_evicted(&mut self, (events, bytes): (u64, u64)) {
        self.evicted += events;
        self.own += events;
        self.own_lost += events;
        self.own_bytes += bytes;
        self.evicted_bytes += bytes;
    }
}

/// The content of the status file.
#[derive(Serialize)]
struct Status<'a> {
    pid: u32,
    at: String,
    tier: &'a str,
    tracked: u64,
    journal_bytes: u64,
    memory_bytes: u64,
    budget_bytes: Option<u64>,
    corrupt_records: u64,
    lost_records: u64,
    destinations: Vec<DestinationStatus<'a>>,
}

#[derive(Serialize)]
struct DestinationStatus<'a> {
    #[serde(flatten)]
    stats: &'a DestinationStats,
    pending: u64,
}

/// Writes the status file of a journal, completely or not at all.
///
/// # Errors
/// I/O errors.
pub(super) fn publish(
    dir: &Path,
    tier: &str,
    counts: &Counts,
    budget: Option<u64>,
    destinations: &[DestinationStats],
) -> io::Result<()> {
    let statuses = destinations
        .iter()
        .map(|stats| DestinationStatus { stats, pending: counts.appended.saturating_sub(stats.own) });
    let status = Status {
        pid: std::process::id(),
        at: time_text(unix_ns()),
        tier,
        tracked: counts.appended,
        journal_bytes: counts.disk_bytes,
        memory_bytes: counts.memory_bytes,
        budget_bytes: budget,
        corrupt_records: counts.corrupt,
        lost_records: counts.lost,
        destinations: statuses.collect(),
    };
    let draft = dir.join("status.tmp");
    let _ = remove_file(&draft);
    append_all(&append_private(&draft)?, &serde_json::to_vec(&status)?)?;
    rename(&draft, &dir.join(STATUS))
}

/// The growth of the backlog, from samples of the last minute.
#[derive(Default)]
pub(super) struct Outlook {
    samples: VecDeque<(Instant, u64)>,
}

impl Outlook {
    /// Whether a second has passed since the last sample.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.samples.back().is_none_or(|(at, _)| now.saturating_duration_since(*at) >= SAMPLE_EVERY)
    }

    /// Takes a sample.
    pub(super) fn note(&mut self, now: Instant, backlog: u64) {
        self.samples.push_back((now, backlog));
        if self.samples.len() > SAMPLES {
            self.samples.pop_front();
        }
    }

    /// How long until this many bytes are used up; `None` while the backlog does not grow.
    pub(super) fn time_to_full(&self, left: u64) -> Option<Duration> {
        let (&(since, first), &(until, last)) = (self.samples.front()?, self.samples.back()?);
        let grown = last.checked_sub(first).filter(|grown| *grown > 0)?;
        let rate = grown as f64 / until.saturating_duration_since(since).as_secs_f64();
        Duration::try_from_secs_f64(left as f64 / rate).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_growing_backlog_has_a_time_to_full() {
        let (begin, second) = (Instant::now(), Duration::from_secs(1));
        let mut outlook = Outlook::default();
        assert_eq!(outlook.time_to_full(1), None);
        for step in 0..200_u32 {
            // Four calls per second, of which one takes a sample.
            let now = begin + step * second / 4;
            if outlook.is_due(now) {
                outlook.note(now, 1000 * u64::from(step) / 4);
            }
        }
        assert_eq!(outlook.samples.len(), 50);
        assert_eq!(outlook.time_to_full(60_000), Some(Duration::from_mins(1)));
        for step in 50..150_u32 {
            outlook.note(begin + step * second, 50_000 - 300 * u64::from(step));
        }
        assert_eq!((outlook.samples.len(), outlook.time_to_full(1)), (SAMPLES, None));
    }

    #[test]
    fn a_status_replaces_the_last_one() {
        let dir = tempfile::tempdir().unwrap();
        let stats = DestinationStats { name: "http-1".into(), own: 3, evicted: 2, ..DestinationStats::default() };
        for tracked in [5, 7] {
            let counts = Counts { appended: tracked, ..Counts::default() };
            publish(dir.path(), "mapped", &counts, None, std::slice::from_ref(&stats)).unwrap();
        }
        let read: serde_json::Value = serde_json::from_slice(&std::fs::read(dir.path().join(STATUS)).unwrap()).unwrap();
        assert_eq!((&read["tracked"], &read["destinations"][0]["pending"]), (&7.into(), &4.into()));
        assert_eq!(read["destinations"][0]["evicted"], 2);
        assert!(read["destinations"][0].get("own").is_none());
    }
}
