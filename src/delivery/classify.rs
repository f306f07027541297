//! Decides what to do with a sub-batch after a response or an error, given its history. No I/O and no clock.
//!
//! A server error, or a 404, may be caused by an event or by the server itself. Only the outcome of other events shows which. An
//! event that a destination keeps failing on is a poison candidate.

use std::time::Duration;

use crate::http::SendErrorKind;
use crate::protocol::Verdict;

/// If a sub-batch gets this many server errors while others are accepted, its own events cause them.
pub(super) const RETRY_THRESHOLD: u32 = 5;
/// If this many different events were refused alone and no other one was accepted, the destination's setup is the cause.
const REFUSED_THRESHOLD: usize = 3;
/// After this many timeouts, a sub-batch is split, because a smaller one may succeed.
const TIMEOUT_THRESHOLD: u32 = 2;

/// The outcome of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// A response, and its meaning in the format.
    Response { status: u16, verdict: Verdict },
    /// No response. `is_broken`: the connection broke before a response came. `is_timeout`: the request timed out.
    None { is_broken: bool, is_timeout: bool },
}

/// What happened to a sub-batch and the others before, including this outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts, not a state")]
pub(super) struct History {
    /// The number of its events.
    pub(super) events: usize,
    /// Its requests that delivered nothing.
    pub(super) attempts: u32,
    /// How many of these got an ambiguous server error.
    pub(super) server_errors: u32,
    /// How many of these timed out.
    pub(super) timeouts: u32,
    /// Whether it was already resent at once after a connection broke.
    pub(super) was_retried_at_once: bool,
    /// Whether its body is compressed.
    pub(super) is_gzip: bool,
    /// After this many attempts its events are spilled into files; `None` if the format has no such files.
    pub(super) spills_after: Option<u32>,
    /// Whether its only event failed in an earlier batch, and other events were accepted since.
    pub(super) is_poison_candidate: bool,
    /// Whether other sub-batches were accepted since it first failed.
    pub(super) others_were_accepted: bool,
    /// Whether all other remaining sub-batches of the batch have reached the threshold of server errors, too, and none is in flight.
    pub(super) is_all_failing: bool,
    /// Whether all other remaining sub-batches of the batch have only one event.
    pub(super) is_all_single: bool,
    /// How many single events of the batch the destination refused, this one included, for a reason that may be its own setup.
    pub(super) refused_alone: usize,
    /// Whether it refused all other remaining sub-batches for such a reason, too, and none is in flight.
    pub(super) is_all_refused: bool,
    /// Whether the destination has accepted anything since it last refused a whole batch.
    pub(super) has_accepted_since: bool,
}

/// Why a sub-batch is split in half.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    /// It was too large for the destination.
    TooLarge,
    /// It timed out repeatedly.
    TooSlow,
    /// The destination rejects one of its events.
    Unacceptable,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// The destination has accepted the events, except the rejected ones.
    Accept { rejected: u64 },
    /// Resend the same request at once. The server closed an idle connection, and may never have seen the request.
    RetryAtOnce,
    /// Retry after a wait, no sooner than the destination asked for. If it `is_behind`, other sub-batches go first.
    Retry { after: Option<Duration>, is_overload: bool, is_behind: bool, disconnects: bool },
    /// Retry without compression.
    RetryUncompressed,
    /// Retry when an operator may have changed something.
    Pause { is_behind: bool },
    /// Retry the two halves.
    Cut(Cut),
    /// Write the events to the dead letters.
    DeadLetter,
    /// Spill the events into files, together with the events waiting behind them.
    Spill { after: Option<Duration>, is_overload: bool },
    /// Give up the batch and read it again later, with the events after it. Only single failing events are left, which tell nothing.
    GiveUpBatch,
    /// Try the others first: their outcome shows whether the events are the cause.
    Defer,
    /// The destination refuses whatever it gets. Give up the batch, and retry when an operator may have changed something.
    PauseBatch,
}

/// Whether a response may be caused by an event as well as by the server.
pub(super) fn is_ambiguous(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Response { status: 404 | 405 | 500, verdict: Verdict::Retry(_) })
}

/// Decides what to do with a sub-batch.
pub(super) fn decide(outcome: &Outcome, history: &History) -> Decision {
    let is_exhausted = history.spills_after.is_some_and(|most| history.attempts >= most);
    let (status, verdict) = match outcome {
        Outcome::None { is_broken: true, .. } if !history.was_retried_at_once => return Decision::RetryAtOnce,
        Outcome::None { .. } if is_exhausted => return Decision::Spill { after: None, is_overload: true },
        Outcome::None { is_timeout, .. } => {
            let is_slow = *is_timeout && history.timeouts >= TIMEOUT_THRESHOLD && history.events > 1;
            let retry = Decision::Retry { after: None, is_overload: true, is_behind: false, disconnects: *is_timeout };
            return if is_slow { Decision::Cut(Cut::TooSlow) } else { retry };
        }
        Outcome::Response { status, verdict } => (*status, verdict),
    };
    let is_ambiguous = is_ambiguous(outcome);
    if is_ambiguous && history.spills_after.is_none() {
        let is_repeated = history.server_errors >= RETRY_THRESHOLD;
        // If there is nothing else to try, split it, too: if one half is accepted, the other one has the poison event.
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
        // The event may be the cause, so try another one next.
        Verdict::Pause | Verdict::Uncompressed => Decision::Pause { is_behind: matches!(status, 404 | 405) },
        Verdict::Split => cut_or_dead_letter(history, Cut::TooLarge),
        Verdict::Busy(after) => {
            Decision::Retry { after: *after, is_overload: true, is_behind: false, disconnects: false }
        }
        Verdict::Bisect => cut_or_dead_letter(history, Cut::Unacceptable),
        Verdict::BisectOrPause => bisect_or_pause(history),
        Verdict::Dead => Decision::DeadLetter,
    }
}

/// Decides about events that the destination refuses, because of one of them or because of how it is set up.
///
/// An event is given up only if others were accepted since it was refused. A batch of 10,000 events is not cut down to every single one
/// to find out: if three different events were refused alone and every other part of the batch was refused as a whole, events are not the
/// cause.
fn bisect_or_pause(history: &History) -> Decision {
    let is_event = history.others_were_accepted || history.is_poison_candidate;
    let are_many = history.refused_alone >= REFUSED_THRESHOLD;
    if is_event || (history.events > 1 && !are_many) {
        cut_or_dead_letter(history, Cut::Unacceptable)
    } else if !history.is_all_refused {
        Decision::Defer
    } else if are_many && !history.has_accepted_since {
        Decision::PauseBatch
    } else {
        // Perhaps only this batch is bad. If so, the next one is accepted, and then these events are to blame.
        Decision::GiveUpBatch
    }
}

fn cut_or_dead_letter(history: &History, cut: Cut) -> Decision {
    if history.events > 1 { Decision::Cut(cut) } else { Decision::DeadLetter }
}

/// The kind of a failure to deliver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FailureKind {
    /// The destination rejects the credentials.
    Credentials,
    /// The account has to pay.
    Payment,
    /// The URL does not accept events.
    Address,
    /// The URL redirects to another one.
    Redirect,
    /// The destination is overloaded, or limits the rate of requests.
    Overload,
    /// The destination has an internal error.
    Server,
    /// The destination rejects events for good.
    Refused,
    /// There was no response.
    Connection(SendErrorKind),
}

/// The kind of failure for this status.
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

/// Whether the failure may last until an operator acts.
pub(super) fn needs_operator(kind: FailureKind) -> bool {
    use FailureKind::{Address, Connection, Credentials, Payment, Redirect};
    matches!(kind, Credentials | Payment | Address | Redirect | Connection(_))
}

/// What an operator can do.
pub(super) fn remedy(kind: FailureKind) -> &'static str {
    match kind {
        FailureKind::Credentials => "check the token or key of this destination",
        FailureKind::Payment => "check the plan and the payments of the account with this service",
        FailureKind::Address => "check the path of the destination's URL",
        FailureKind::Redirect => {
            "set the URL that it redirects to, because only 307 and 308 to the same host are followed"
        }
        FailureKind::Overload => "it limits requests; lower Destination(concurrency=…) if this lasts",
        FailureKind::Server => "check the service itself: it has an internal error",
        FailureKind::Refused => "see `taximeter dead-letters` for the events and its responses",
        FailureKind::Connection(SendErrorKind::NameLookup) => {
            "check the host in the destination's URL, and this machine's DNS"
        }
        FailureKind::Connection(SendErrorKind::ConnectionRefused) => {
            "check that the service runs, and the host and port in the destination's URL"
        }
        FailureKind::Connection(SendErrorKind::Tls) => {
            "check its certificate; for a private certificate authority set Destination(ca_bundle=…)"
        }
        FailureKind::Connection(SendErrorKind::TimedOut) => {
            "check the network and its firewalls, or raise Destination(timeout=…)"
        }
        FailureKind::Connection(SendErrorKind::Other) => "check the network and the proxies in between",
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
        refused_alone: 0,
        is_all_refused: false,
        has_accepted_since: false,
    };
    const MANY: History = History { events: 100, ..ONE };

    fn response(status: u16, verdict: Verdict) -> Outcome {
        Outcome::Response { status, verdict }
    }

    fn retry(is_overload: bool, is_behind: bool) -> Decision {
        Decision::Retry { after: None, is_overload, is_behind, disconnects: false }
    }

    #[test]
    fn each_response_has_one_meaning() {
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
            // The status 500 alone would blame the events.
            (
                500,
                Verdict::Busy(None),
                History { server_errors: RETRY_THRESHOLD, others_were_accepted: true, ..ONE },
                retry(true, false),
            ),
        ] {
            assert_eq!(decide(&response(status, verdict), &history), decision, "{status}");
        }
    }

    #[test]
    fn server_errors_are_blamed_on_the_event_if_others_are_accepted_or_none_is_left() {
        let error = response(500, Verdict::Retry(None));
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
            // If events can be spilled, the number of attempts counts.
            (History { spills_after: Some(9), ..accepted(repeated(ONE)) }, retry(false, true)),
        ] {
            assert_eq!(decide(&error, &history), decision, "{history:?}");
        }
        // No other status counts as a server error.
        let other = History { is_poison_candidate: true, ..accepted(repeated(ONE)) };
        assert_eq!(decide(&response(502, Verdict::Retry(None)), &other), retry(false, false));
    }

    #[test]
    fn refusals_are_blamed_on_an_event_only_if_another_one_was_accepted() {
        let refused = response(400, Verdict::BisectOrPause);
        let alone = |refused_alone, is_all_refused| History { refused_alone, is_all_refused, ..ONE };
        for (history, decision) in [
            (MANY, Decision::Cut(Cut::Unacceptable)),
            (alone(1, false), Decision::Defer),
            (alone(2, true), Decision::GiveUpBatch),
            (alone(3, false), Decision::Defer),
            (alone(3, true), Decision::PauseBatch),
            (History { has_accepted_since: true, ..alone(3, true) }, Decision::GiveUpBatch),
            // After three of them, larger parts are tried as they are.
            (History { refused_alone: 3, ..MANY }, Decision::Defer),
            (History { refused_alone: 3, is_all_refused: true, ..MANY }, Decision::PauseBatch),
            (History { others_were_accepted: true, ..alone(3, true) }, Decision::DeadLetter),
            (History { is_poison_candidate: true, ..alone(1, true) }, Decision::DeadLetter),
            (History { others_were_accepted: true, ..MANY }, Decision::Cut(Cut::Unacceptable)),
        ] {
            assert_eq!(decide(&refused, &history), decision, "{history:?}");
        }
    }

    #[test]
    fn without_a_response_a_sub_batch_is_resent_and_split_after_timeouts() {
        let none = |is_broken, is_timeout| Outcome::None { is_broken, is_timeout };
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
    fn events_are_spilled_after_the_last_attempt() {
        let after = |attempts| History { attempts, spills_after: Some(3), was_retried_at_once: true, ..MANY };
        let unavailable = response(503, Verdict::Retry(None));
        let none = Outcome::None { is_broken: true, is_timeout: false };
        let spilled = Decision::Spill { after: None, is_overload: true };
        assert_eq!((decide(&unavailable, &after(2)), decide(&unavailable, &after(3))), (retry(true, false), spilled));
        assert_eq!(decide(&none, &after(3)), spilled);
        assert_eq!(decide(&response(401, Verdict::Pause), &after(3)), Decision::Pause { is_behind: false });
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
