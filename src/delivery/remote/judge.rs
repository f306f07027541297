//! What becomes of a piece by its answer, or by the lack of one.

use std::time::Instant;

use super::super::DestinationStats;
use super::super::in_flight::{InFlightBatch, RETRY_THRESHOLD};
use super::super::sub_batch::SubBatch;
use super::{GROWS_AFTER, PLAIN_FOR, Remote, TOO_SLOW};
use crate::http::{Reply, SendError};
use crate::protocol::{Answer, Verdict};

impl Remote {
    pub(super) fn fail(
        &mut self,
        work: &mut InFlightBatch,
        mut piece: SubBatch,
        error: &SendError,
        stats: &mut DestinationStats,
    ) {
        if error.is_broken && !std::mem::replace(&mut piece.was_retried_at_once, true) {
            // A connection that was closed while it was idle: the destination may never have seen the request.
            stats.retries += 1;
            return work.todo.push_front(piece);
        }
        self.policy.fail(Instant::now(), None, true);
        stats.failures += 1;
        stats.last_error = Some(format!("{}: {}", self.transport.host(), error.reason));
        self.record(&piece, Err(&error.reason));
        piece.attempts += 1;
        if self.is_exhausted(&piece) {
            return self.fall_back(work, piece, stats);
        }
        stats.retries += 1;
        if error.is_dubious {
            self.transport.disconnect();
            piece.timeouts += 1;
            if piece.timeouts >= TOO_SLOW && piece.events.len() > 1 {
                work.is_slow = true;
                return self.cut(work, &piece, true);
            }
        }
        work.todo.push_front(piece);
    }

    /// Puts the halves of a piece in its place.
    fn cut(&mut self, work: &mut InFlightBatch, piece: &SubBatch, is_too_large: bool) {
        if is_too_large {
            work.largest.get_or_insert(1);
        }
        self.has_progressed = true;
        piece.halves().into_iter().for_each(|half| work.todo.push_front(half));
    }

    pub(super) fn judge(
        &mut self,
        work: &mut InFlightBatch,
        mut piece: SubBatch,
        reply: &Reply,
        stats: &mut DestinationStats,
    ) {
        let answer = Answer { status: reply.status, retry_after: reply.retry_after.as_deref(), body: &reply.body };
        let mut verdict = self.protocol.verdict(&answer, piece.sent);
        // A server that fails, or that does not find something, may do so for the event or for itself: others tell.
        let is_ambiguous = matches!(verdict, Verdict::Retry(_)) && matches!(reply.status, 404 | 405 | 500);
        if is_ambiguous && self.fallback.is_none() {
            let accepted_before = *piece.accepted_before.get_or_insert(self.accepted_pieces);
            piece.server_errors += 1;
            if self.is_poison(work, &piece) {
                verdict = Verdict::Bisect;
            } else if piece.server_errors >= RETRY_THRESHOLD {
                // With nothing else to try, it is cut as well: one half may be accepted, which shows where the fault is.
                let has_only_server_errors = work.has_only_server_errors();
                if self.accepted_pieces > accepted_before || (has_only_server_errors && piece.events.len() > 1) {
                    verdict = Verdict::Bisect;
                } else if has_only_server_errors && work.todo.iter().all(|other| other.events.len() == 1) {
                    // Single events tell nothing: they are read again, with what came after them.
                    work.todo.push_back(piece);
                    return self.give_up(work, stats);
                }
            }
        }
        self.record(&piece, Ok(reply));
        let (now, count) = (Instant::now(), piece.events.len());
        if !matches!(verdict, Verdict::Accepted { .. }) {
            stats.failures += 1;
            stats.last_error = Some(format!("{} answered {}", self.transport.host(), reply.status));
        }
        match verdict {
            Verdict::Accepted { rejected } => {
                self.policy.succeed();
                self.has_progressed = true;
                self.accepted_pieces += 1;
                if let Some(largest) = &mut work.largest {
                    *largest = count.max(*largest);
                } else if count >= self.ceiling {
                    self.full_pieces += 1;
                    if self.full_pieces.is_multiple_of(GROWS_AFTER) {
                        self.ceiling = (self.ceiling * 2).min(self.limits.most_events);
                    }
                }
                stats.rejected += rejected;
                work.leave_out(&piece);
                stats.own_lost += work.of_own(rejected);
                stats.delivered += piece.sent.saturating_sub(rejected);
                stats.last_error = None;
                self.recover(stats, true);
            }
            Verdict::Retry(after) => {
                self.policy.fail(now, after, matches!(reply.status, 429 | 503));
                piece.attempts += 1;
                if self.is_exhausted(&piece) {
                    return self.fall_back(work, piece, stats);
                }
                stats.retries += 1;
                if is_ambiguous {
                    // Behind the others: whether they are accepted tells whose fault it is.
                    work.todo.push_back(piece);
                } else {
                    work.todo.push_front(piece);
                }
            }
            Verdict::Uncompressed if piece.body.as_ref().is_some_and(|body| body.is_gzip) => {
                self.plain_until = Some(now + PLAIN_FOR);
                piece.body = None;
                work.todo.push_front(piece);
            }
            Verdict::Pause | Verdict::Uncompressed => {
                self.policy.pause(now);
                if matches!(reply.status, 404 | 405) {
                    // It may be the event's fault: another is asked for next.
                    work.todo.push_back(piece);
                } else {
                    work.todo.push_front(piece);
                }
            }
            Verdict::Split | Verdict::Bisect if count > 1 => self.cut(work, &piece, verdict == Verdict::Split),
            Verdict::Split | Verdict::Bisect | Verdict::Dead => self.dead_letter(work, piece, reply, stats),
        }
    }
}
