//! Notices for an operator. The next caller that can log takes them.
//!
//! Delivery threads never run Python, so they cannot log. They queue notices, and `track()`, `flush()` and `stats()` log them.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::DestinationStats;
use super::timing::FAILING_AFTER;
use crate::sys::mutex::lock;

/// The most queued notices. Further ones are dropped, because each kind is repeated after a minute.
const MAX_QUEUED: usize = 64;
/// The shortest time between notices of the same kind and destination.
pub(super) const PAUSE: Duration = Duration::from_mins(1);

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NoticeKind {
    /// A destination is paused until its key, URL or account is corrected.
    Paused,
    /// A destination has failed for more than a minute.
    Failing,
    /// A destination rejected events for good.
    DeadLetters,
    /// Delivery ends, and a destination that fails has not accepted all events.
    Unsent,
    /// Events were written to files, because a destination failed too often.
    Fallback,
    /// Records were damaged or are missing.
    Damaged,
    /// A delivery thread panicked and was restarted.
    Panicked,
    /// The system refused to start a thread.
    NoThread,
    /// The work that follows a batch has failed for more than a minute.
    Upkeep,
    /// Events are kept in memory, because there is no space for them in the state directory.
    InMemory,
}

impl NoticeKind {
    /// The name under which `notices.py` has its text.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Paused => "destination_paused",
            Self::Failing => "destination_failing",
            Self::DeadLetters => "dead_letters",
            Self::Unsent => "unsent_at_end",
            Self::Fallback => "fallback_written",
            Self::Damaged => "journal_damaged",
            Self::Panicked => "delivery_panicked",
            Self::NoThread => "thread_refused",
            Self::Upkeep => "upkeep_failing",
            Self::InMemory => "kept_in_memory",
        }
    }
}

/// One notice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// What happened.
    pub kind: NoticeKind,
    /// The host of the destination, or its name if it has no host.
    pub destination: String,
    /// The details, without secrets.
    pub detail: String,
}

/// The queue of notices.
#[derive(Default)]
pub(super) struct Notices {
    has_some: AtomicBool,
    queue: Mutex<VecDeque<Notice>>,
}

impl Notices {
    pub(super) fn push(&self, notice: Notice) {
        let mut queue = lock(&self.queue);
        if queue.len() < MAX_QUEUED {
            queue.push_back(notice);
            self.has_some.store(true, Ordering::Release);
        }
    }

    /// Whether there are any. Costs one load.
    #[inline]
    pub(super) fn has_some(&self) -> bool {
        self.has_some.load(Ordering::Relaxed)
    }

    pub(super) fn take(&self) -> Vec<Notice> {
        let mut queue = lock(&self.queue);
        self.has_some.store(false, Ordering::Relaxed);
        std::mem::take(&mut *queue).into()
    }
}

impl Notice {
    /// A notice about a destination.
    pub(super) fn about(kind: NoticeKind, stats: &DestinationStats, detail: String) -> Self {
        let destination = stats.host.clone().unwrap_or_else(|| stats.name.clone());
        Self { kind, destination, detail }
    }
}

/// A number and a noun, such as `2 events`.
pub(super) fn counted(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// Watches the counts of one destination and decides when a notice is due.
#[derive(Default)]
pub(super) struct Watch {
    failing_since: Option<Instant>,
    upkeep_failing_since: Option<Instant>,
    dead: u64,
    rejected: u64,
    fallback: u64,
    last_said: Vec<(NoticeKind, Instant)>,
}

impl Watch {
    /// Checks the current counts. Dead letters are reported together once the destination `is_settled`, that is, has answered all
    /// requests.
    pub(super) fn look(&mut self, stats: &DestinationStats, now: Instant, notices: &Notices, is_settled: bool) {
        let is_failing = stats.last_error.is_some();
        self.failing_since = is_failing.then(|| self.failing_since.unwrap_or(now));
        let upkeep_error = stats.upkeep_error.as_deref();
        self.upkeep_failing_since = upkeep_error.map(|_| self.upkeep_failing_since.unwrap_or(now));
        if self.upkeep_failing_since.is_some_and(|since| now.saturating_duration_since(since) >= FAILING_AFTER) {
            self.say(NoticeKind::Upkeep, stats, now, notices, || upkeep_error.unwrap_or_default().to_owned());
        }
        let gone = (stats.dead + stats.dropped).saturating_sub(self.dead);
        let unnamed = stats.rejected.saturating_sub(self.rejected);
        let error = stats.last_error.as_deref().unwrap_or("no reason was given");
        if stats.state == Some("paused") {
            self.say(NoticeKind::Paused, stats, now, notices, || error.to_owned());
        } else if self.failing_since.is_some_and(|since| now.saturating_duration_since(since) >= FAILING_AFTER) {
            self.say(NoticeKind::Failing, stats, now, notices, || error.to_owned());
        }
        let detail = || {
            let all = counted(gone + unnamed, "event");
            let why = "because the response does not name what it rejected";
            if unnamed == 0 { all } else { format!("{all}; {unnamed} not kept, {why}") }
        };
        if gone + unnamed > 0 && is_settled && self.say(NoticeKind::DeadLetters, stats, now, notices, detail) {
            self.dead += gone;
            self.rejected += unnamed;
        }
        let written = stats.fallback.saturating_sub(self.fallback);
        let detail = || format!("{}; {error}", counted(written, "event"));
        if written > 0 && self.say(NoticeKind::Fallback, stats, now, notices, detail) {
            self.fallback += written;
        }
    }

    fn say(
        &mut self,
        kind: NoticeKind,
        stats: &DestinationStats,
        now: Instant,
        notices: &Notices,
        detail: impl FnOnce() -> String,
    ) -> bool {
        if self.last_said.iter().any(|(said, at)| *said == kind && now.saturating_duration_since(*at) < PAUSE) {
            return false;
        }
        self.last_said.retain(|(said, _)| *said != kind);
        self.last_said.push((kind, now));
        notices.push(Notice::about(kind, stats, detail()));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(notices: &Notices) -> Vec<NoticeKind> {
        notices.take().into_iter().map(|notice| notice.kind).collect()
    }

    #[test]
    fn upkeep_that_fails_for_a_minute_is_said_once_a_minute() {
        let (notices, mut watch, begin) = (Notices::default(), Watch::default(), Instant::now());
        let mut stats = DestinationStats { name: "ledger".into(), ..DestinationStats::default() };
        for second in 0..200 {
            // A failure between two successes is not said.
            stats.upkeep_error = (second != 30).then(|| "calls cannot be packed: disk full".to_owned());
            watch.look(&stats, begin + Duration::from_secs(second), &notices, true);
            let expected = [91, 151].contains(&second);
            assert_eq!(
                notices.take().into_iter().map(|notice| notice.kind).next(),
                expected.then_some(NoticeKind::Upkeep)
            );
        }
    }

    #[test]
    fn each_kind_of_notice_comes_at_most_once_a_minute() {
        let (notices, mut watch, begin) = (Notices::default(), Watch::default(), Instant::now());
        let mut stats =
            DestinationStats { name: "a".into(), host: Some("b.example".into()), ..DestinationStats::default() };
        watch.look(&stats, begin, &notices, true);
        assert!(!notices.has_some());
        stats.last_error = Some("b.example answered 401".into());
        stats.state = Some("paused");
        for second in 0..59 {
            watch.look(&stats, begin + Duration::from_secs(second), &notices, true);
        }
        let said = notices.take();
        assert_eq!(said.len(), 1);
        assert_eq!((said[0].kind, said[0].destination.as_str()), (NoticeKind::Paused, "b.example"));
        // A failure causes a notice only after a minute, and a success resets it.
        stats.state = Some("open");
        watch.look(&stats, begin + Duration::from_secs(61), &notices, true);
        assert_eq!(kinds(&notices), [NoticeKind::Failing]);
        stats.last_error = None;
        watch.look(&stats, begin + Duration::from_secs(62), &notices, true);
        stats.last_error = Some("again".into());
        watch.look(&stats, begin + Duration::from_mins(5), &notices, true);
        assert_eq!(kinds(&notices), []);
    }

    #[test]
    fn events_written_to_files_are_reported_with_the_reason() {
        let (notices, mut watch, begin) = (Notices::default(), Watch::default(), Instant::now());
        let mut stats = DestinationStats { fallback: 2, ..DestinationStats::default() };
        stats.last_error = Some("a.example answered 503".into());
        for _ in 0..2 {
            watch.look(&stats, begin, &notices, true);
        }
        let said: Vec<_> = notices.take().into_iter().map(|notice| (notice.kind, notice.detail)).collect();
        assert_eq!(said, [(NoticeKind::Fallback, "2 events; a.example answered 503".to_owned())]);
    }

    #[test]
    fn dead_letters_are_added_up_until_they_are_reported() {
        let (notices, mut watch, begin) = (Notices::default(), Watch::default(), Instant::now());
        let mut stats = DestinationStats { dead: 1, ..DestinationStats::default() };
        // A batch is split in halves, and its events become dead letters one after another.
        watch.look(&stats, begin, &notices, false);
        stats.dead = 2;
        watch.look(&stats, begin, &notices, true);
        stats.dead = 3;
        watch.look(&stats, begin + Duration::from_secs(1), &notices, true);
        watch.look(&stats, begin + Duration::from_secs(61), &notices, true);
        let details: Vec<_> = notices.take().into_iter().map(|notice| notice.detail).collect();
        assert_eq!(details, ["2 events", "1 event"]);
    }
}
