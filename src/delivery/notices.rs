//! What an operator has to know at once: taken by the next caller that can log it.
//!
//! Delivery threads never run Python, so they cannot log. They leave notices; `track()`, `flush()` and `stats()` log them.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::DestinationStats;
use super::lock::lock;
use super::timing::FAILING_AFTER;

/// Notices that wait to be logged. Further ones are dropped: each kind comes again after a minute.
const MOST: usize = 64;
/// A notice of one kind and destination comes no more often than this.
const PAUSE: Duration = Duration::from_mins(1);

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NoticeKind {
    /// A destination is paused until its key, its address or its account is corrected.
    Paused,
    /// A destination has failed for more than a minute.
    Failing,
    /// A destination refused events for good.
    DeadLetters,
    /// Records were damaged or are missing.
    Damaged,
    /// A delivery thread panicked; it goes on.
    Panicked,
}

impl NoticeKind {
    /// Its name, by which `notices.py` has its text.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Paused => "destination_paused",
            Self::Failing => "destination_failing",
            Self::DeadLetters => "dead_letters",
            Self::Damaged => "journal_damaged",
            Self::Panicked => "delivery_panicked",
        }
    }
}

/// One notice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// What happened.
    pub kind: NoticeKind,
    /// The destination: its host, or its name where it has none.
    pub destination: String,
    /// In words, without secrets.
    pub detail: String,
}

/// The notices of one delivery.
#[derive(Default)]
pub(super) struct Notices {
    has_some: AtomicBool,
    queue: Mutex<VecDeque<Notice>>,
}

impl Notices {
    pub(super) fn push(&self, notice: Notice) {
        let mut queue = lock(&self.queue);
        if queue.len() < MOST {
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

/// A number of things in words.
pub(super) fn counted(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// Decides from the counts of one destination whether there is a notice to give.
#[derive(Default)]
pub(super) struct Watch {
    failing_since: Option<Instant>,
    dead: u64,
    last_said: Vec<(NoticeKind, Instant)>,
}

impl Watch {
    /// Looks at the counts as they are now. Dead letters are said together once the destination `is_settled`: it has answered what it was
    /// sent.
    pub(super) fn look(&mut self, stats: &DestinationStats, now: Instant, notices: &Notices, is_settled: bool) {
        let is_failing = stats.last_error.is_some();
        self.failing_since = is_failing.then(|| self.failing_since.unwrap_or(now));
        let gone = (stats.dead + stats.dropped).saturating_sub(self.dead);
        let error = stats.last_error.as_deref().unwrap_or("no reason was given");
        if stats.state == Some("paused") {
            self.say(NoticeKind::Paused, stats, now, notices, || error.to_owned());
        } else if self.failing_since.is_some_and(|since| now.saturating_duration_since(since) >= FAILING_AFTER) {
            self.say(NoticeKind::Failing, stats, now, notices, || error.to_owned());
        }
        let detail = || counted(gone, "event");
        if gone > 0 && is_settled && self.say(NoticeKind::DeadLetters, stats, now, notices, detail) {
            self.dead += gone;
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
        let destination = stats.host.clone().unwrap_or_else(|| stats.name.clone());
        notices.push(Notice { kind, destination, detail: detail() });
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
    fn each_trouble_is_said_once_a_minute() {
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
        // A failure is worth a notice after a minute only; success ends it.
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
    fn dead_letters_are_summed_up_until_they_are_said() {
        let (notices, mut watch, begin) = (Notices::default(), Watch::default(), Instant::now());
        let mut stats = DestinationStats { dead: 1, ..DestinationStats::default() };
        // A batch is cut in halves, and loses its events one after another.
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
