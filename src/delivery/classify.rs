//! What becomes of a sub-batch: an answer, or the lack of one, and what happened before, in; a decision out. No I/O, no clock.
//!
//! A server that fails, or that does not find something, may do so because of an event or for reasons of its own; which of both it is
//! shows only by what becomes of other events. An event that a destination fails on again and again is a poison candidate.

use std::time::Duration;

use crate::http::SendErrorKind;
use crate::protocol::Verdict;

/// A server error that meets one sub-batch this often while others are accepted is due to that sub-batch's own events.
pub(super) const RETRY_THRESHOLD: u32 = 5;
/// Requests that ended without an answer in time, for one sub-batch, until it is cut: a smaller one may get through.
const TIMEOUT_THRESHOLD: u32 = 2;

/// What came back for a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// An answer, and what it means by its format.
    Answer { status: u16, verdict: Verdict },
    /// No answer. `is_broken`: the connection broke before one. `is_dubious`: something hung.
    None { is_broken: bool, is_dubious: bool },
}

/// What happened to a sub-batch and around it, this outcome included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts, not a state")]
pub(super) struct History {
    /// Events in it.
    pub(super) events: usize,
    /// Requests that brought nothing.
    pub(super) attempts: u32,
    /// Those of them that the server met with an ambiguous error.
    pub(super) server_errors: u32,
    /// Those of them that got no answer in time.
    pub(super) timeouts: u32,
    /// Whether it was sent again at once before, after a connection broke.
    pub(super) was_retried_at_once: bool,
    /// Whether its body is compressed.
    pub(super) is_gzip: bool,
    /// After so many attempts its events are spilled into files; `None` for a format without such files.
    pub(super) spills_after: Option<u32>,
    /// Whether its only event failed in another batch, and others were accepted since.
    pub(super) is_poison_candidate: bool,
    /// Whether others were accepted since it first failed.
    pub(super) others_were_accepted: bool,
    /// Whether everything else that is left of its batch has reached the threshold of server errors too, and nothing is in flight.
    pub(super) is_all_failing: bool,
    /// Whether everything else that is left of its batch are single events.
    pub(super) is_all_single: bool,
}

/// Why a sub-batch is cut into halves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    /// It was too large for the destination.
    TooLarge,
    /// It got no answer in time, again and again.
    TooSlow,
    /// An event of it is unacceptable.
    Unacceptable,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// The destination has the events, but for so many of them.
    Accept { rejected: u64 },
    /// The same once more, at once: an idle connection was closed, and the destination may never have seen the request.
    RetryAtOnce,
    /// Again after a wait; no sooner than the destination asked for, and, where it `is_behind`, after the others.
    Retry { after: Option<Duration>, is_overload: bool, is_behind: bool, disconnects: bool },
    /// Again without compression.
    RetryUncompressed,
    /// Again when an operator may have changed something.
    Pause { is_behind: bool },
    /// Again in halves.
    Cut(Cut),
    /// Into the dead letters.
    DeadLetter,
    /// Into files, with what waits behind it.
    Spill { after: Option<Duration>, is_overload: bool },
    /// The whole batch is read again later, with what came after it: what is left of it are single events that tell nothing.
    GiveUpBatch,
}

/// Whether an answer may be due to an event as well as to the server.
pub(super) fn is_ambiguous(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Answer { status: 404 | 405 | 500, verdict: Verdict::Retry(_) })
}

/// What is to be done with a sub-batch.
pub(super) fn decide(outcome: &Outcome, history: &History) -> Decision {
    let is_exhausted = history.spills_after.is_some_and(|most| history.attempts >= most);
    let (status, verdict) = match outcome {
        Outcome::None { is_broken: true, .. } if !history.was_retried_at_once => return Decision::RetryAtOnce,
        Outcome::None { .. } if is_exhausted => return Decision::Spill { after: None, is_overload: true },
        Outcome::None { is_dubious, .. } => {
            let is_slow = *is_dubious && history.timeouts >= TIMEOUT_THRESHOLD && history.events > 1;
            let retry = Decision::Retry { after: None, is_overload: true, is_behind: false, disconnects: *is_dubious };
            return if is_slow { Decision::Cut(Cut::TooSlow) } else { retry };
        }
        Outcome::Answer { status, verdict } => (*status, verdict),
    };
    let is_ambiguous = is_ambiguous(outcome);
    if is_ambiguous && history.spills_after.is_none() {
        let is_repeated = history.server_errors >= RETRY_THRESHOLD;
        // With nothing else to try, it is cut as well: one half may be accepted, which shows where the fault is.
        let is_cut = history.others_were_accepted || (history.is_all_failing && history.events > 1);
        if history.is_poison_candidate || (is_repeated && is_cut) {
            return cut_or_dead_letter(history, Cut::Unacceptable);
        }
        if is_repeated && history.is_all_failing && history.is_all_single {
            return Decision::GiveUpBatch;
        }
    }
    match verdict {
        Verdict::Accepted { rejected } => Decision::Accept { rejected: *rejected },
        Verdict::Retry(after) => {
            let (after, is_overload) = (*after, matches!(status, 429 | 503));
            if is_exhausted {
                Decision::Spill { after, is_overload }
            } else {
                Decision::Retry { after, is_overload, is_behind: is_ambiguous, disconnects: false }
            }
        }
        Verdict::Uncompressed if history.is_gzip => Decision::RetryUncompressed,
        // It may be the event's fault: another is asked for next.
        Verdict::Pause | Verdict::Uncompressed => Decision::Pause { is_behind: matches!(status, 404 | 405) },
        Verdict::Split => cut_or_dead_letter(history, Cut::TooLarge),
        Verdict::Bisect => cut_or_dead_letter(history, Cut::Unacceptable),
        Verdict::Dead => Decision::DeadLetter,
    }
}

fn cut_or_dead_letter(history: &History, cut: Cut) -> Decision {
    if history.events > 1 { Decision::Cut(cut) } else { Decision::DeadLetter }
}

/// What kind of failure keeps events from a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FailureKind {
    /// The destination does not accept the credentials.
    Credentials,
    /// The destination wants to be paid.
    Payment,
    /// There is nothing at this address that takes events.
    Address,
    /// The address has moved.
    Redirect,
    /// The destination has too much to do, or takes only so many requests.
    Overload,
    /// The destination fails.
    Server,
    /// The destination refuses events for good.
    Refused,
    /// No answer.
    Connection(SendErrorKind),
}

/// The kind of failure that an answer with this status is.
pub(super) fn kind_of_status(status: u16) -> FailureKind {
    match status {
        401 | 403 | 407 => FailureKind::Credentials,
        402 => FailureKind::Payment,
        404 | 405 | 411 => FailureKind::Address,
        300..=399 => FailureKind::Redirect,
        408 | 425 | 429 | 503 => FailureKind::Overload,
        500..=599 => FailureKind::Server,
        _ => FailureKind::Refused,
    }
}

/// Whether a failure may last until an operator acts.
pub(super) fn needs_operator(kind: FailureKind) -> bool {
    use FailureKind::{Address, Connection, Credentials, Payment, Redirect};
    matches!(kind, Credentials | Payment | Address | Redirect | Connection(_))
}

/// What an operator can do about a failure.
pub(super) fn remedy(kind: FailureKind) -> &'static str {
    match kind {
        FailureKind::Credentials => "check the token or key of this destination",
        FailureKind::Payment => "check the plan and the payments of the account at this service",
        FailureKind::Address => "check the path of the destination's URL",
        FailureKind::Redirect => "set the URL that it redirects to: redirects are not followed",
        FailureKind::Overload => "it limits requests; lower Destination(concurrency=…) if this lasts",
        FailureKind::Server => "check the service itself, it fails on its own side",
        FailureKind::Refused => "see `taximeter dead-letters` for the events and its answers",
        FailureKind::Connection(SendErrorKind::NameLookup) => {
            "check the host in the destination's URL, and this machine's DNS"
        }
        FailureKind::Connection(SendErrorKind::ConnectionRefused) => {
            "check that the service runs, and the host and port in the destination's URL"
        }
        FailureKind::Connection(SendErrorKind::Tls) => {
            "check its certificate; for a private authority give Destination(ca_bundle=…)"
        }
        FailureKind::Connection(SendErrorKind::TimedOut) => {
            "check the network and its firewalls, or raise Destination(timeout=…)"
        }
        FailureKind::Connection(SendErrorKind::Other) => "check the network and the proxies between",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: History = History {
        events: 1,
        attempts: 1,
        server_errors: 0,
        timeouts: 0,
        was_retried_at_once: false,
        is_gzip: false,
        spills_after: None,
        is_poison_candidate: false,
        others_were_accepted: false,
        is_all_failing: false,
        is_all_single: false,
    };
    const MANY: History = History { events: 100, ..ONE };

    fn answer(status: u16, verdict: Verdict) -> Outcome {
        Outcome::Answer { status, verdict }
    }

    fn retry(is_overload: bool, is_behind: bool) -> Decision {
        Decision::Retry { after: None, is_overload, is_behind, disconnects: false }
    }

    #[test]
    fn answers_have_one_meaning_each() {
        let wait = Some(Duration::from_secs(7));
        for (status, verdict, history, decision) in [
            (200, Verdict::Accepted { rejected: 2 }, MANY, Decision::Accept { rejected: 2 }),
            (429, Verdict::Retry(None), MANY, retry(true, false)),
            (502, Verdict::Retry(None), MANY, retry(false, false)),
            (
                503,
                Verdict::Retry(wait),
                MANY,
                Decision::Retry { after: wait, is_overload: true, is_behind: false, disconnects: false },
            ),
            (500, Verdict::Retry(None), MANY, retry(false, true)),
            (401, Verdict::Pause, MANY, Decision::Pause { is_behind: false }),
            (404, Verdict::Pause, MANY, Decision::Pause { is_behind: true }),
            (415, Verdict::Uncompressed, History { is_gzip: true, ..MANY }, Decision::RetryUncompressed),
            (415, Verdict::Uncompressed, MANY, Decision::Pause { is_behind: false }),
            (413, Verdict::Split, MANY, Decision::Cut(Cut::TooLarge)),
            (413, Verdict::Split, ONE, Decision::DeadLetter),
            (400, Verdict::Bisect, MANY, Decision::Cut(Cut::Unacceptable)),
            (400, Verdict::Bisect, ONE, Decision::DeadLetter),
            (410, Verdict::Dead, MANY, Decision::DeadLetter),
        ] {
            assert_eq!(decide(&answer(status, verdict), &history), decision, "{status}");
        }
    }

    #[test]
    fn a_server_error_is_the_events_own_when_others_are_accepted_or_nothing_else_is_left() {
        let error = answer(500, Verdict::Retry(None));
        let repeated = |history: History| History { server_errors: RETRY_THRESHOLD, ..history };
        let accepted = |history: History| History { others_were_accepted: true, ..history };
        let alone = |history: History| History { is_all_failing: true, is_all_single: true, ..history };
        for (history, decision) in [
            (accepted(MANY), retry(false, true)),
            (repeated(MANY), retry(false, true)),
            (accepted(repeated(MANY)), Decision::Cut(Cut::Unacceptable)),
            (accepted(repeated(ONE)), Decision::DeadLetter),
            (alone(repeated(MANY)), Decision::Cut(Cut::Unacceptable)),
            (alone(repeated(ONE)), Decision::GiveUpBatch),
            (History { is_all_failing: true, ..repeated(ONE) }, retry(false, true)),
            (History { is_poison_candidate: true, ..ONE }, Decision::DeadLetter),
            // Where events are spilled, it is the attempts that count.
            (History { spills_after: Some(9), ..accepted(repeated(ONE)) }, retry(false, true)),
        ] {
            assert_eq!(decide(&error, &history), decision, "{history:?}");
        }
        // Of no other status.
        let other = History { is_poison_candidate: true, ..accepted(repeated(ONE)) };
        assert_eq!(decide(&answer(502, Verdict::Retry(None)), &other), retry(false, false));
    }

    #[test]
    fn without_an_answer_it_is_sent_again_and_cut_when_it_is_too_slow() {
        let none = |is_broken, is_dubious| Outcome::None { is_broken, is_dubious };
        let again = |disconnects| Decision::Retry { after: None, is_overload: true, is_behind: false, disconnects };
        let retried = History { was_retried_at_once: true, ..MANY };
        let slow = |events| History { events, timeouts: 2, ..retried };
        assert_eq!(decide(&none(true, false), &MANY), Decision::RetryAtOnce);
        assert_eq!(decide(&none(true, false), &retried), again(false));
        assert_eq!(decide(&none(false, true), &History { timeouts: 1, ..MANY }), again(true));
        assert_eq!(decide(&none(false, true), &slow(100)), Decision::Cut(Cut::TooSlow));
        assert_eq!(decide(&none(false, true), &slow(1)), again(true));
        assert_eq!(decide(&none(false, false), &slow(100)), again(false));
    }

    #[test]
    fn events_are_spilled_after_so_many_attempts() {
        let after = |attempts| History { attempts, spills_after: Some(3), was_retried_at_once: true, ..MANY };
        let unavailable = answer(503, Verdict::Retry(None));
        let none = Outcome::None { is_broken: true, is_dubious: false };
        let spilled = Decision::Spill { after: None, is_overload: true };
        assert_eq!((decide(&unavailable, &after(2)), decide(&unavailable, &after(3))), (retry(true, false), spilled));
        assert_eq!(decide(&none, &after(3)), spilled);
        assert_eq!(decide(&answer(401, Verdict::Pause), &after(3)), Decision::Pause { is_behind: false });
    }

    #[test]
    fn every_kind_of_failure_has_a_remedy() {
        for (status, kind, words) in [
            (401, FailureKind::Credentials, "token or key"),
            (403, FailureKind::Credentials, "token or key"),
            (402, FailureKind::Payment, "payments"),
            (404, FailureKind::Address, "path"),
            (308, FailureKind::Redirect, "redirects to"),
            (429, FailureKind::Overload, "concurrency"),
            (500, FailureKind::Server, "service itself"),
            (400, FailureKind::Refused, "dead-letters"),
        ] {
            assert_eq!((kind_of_status(status), remedy(kind).contains(words)), (kind, true), "{status}");
        }
        for (kind, words) in [
            (SendErrorKind::NameLookup, "DNS"),
            (SendErrorKind::ConnectionRefused, "port"),
            (SendErrorKind::Tls, "ca_bundle"),
            (SendErrorKind::TimedOut, "firewalls"),
        ] {
            assert!(remedy(FailureKind::Connection(kind)).contains(words), "{kind:?}");
        }
        assert!(needs_operator(FailureKind::Credentials) && !needs_operator(FailureKind::Server));
    }
}
