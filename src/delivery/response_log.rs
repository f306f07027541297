//! Answers of a destination, kept until they are asked for. A forked child has none of its parent's, nor a lock that a thread of the
//! parent held.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;

use crate::sys::fork::fork_generation;

/// Answers that are kept; then the oldest are dropped.
const MOST: usize = 1_000;
/// Bytes of requests and answers that are kept, at 300 bytes an event some 5,000 events.
const MOST_BYTES: usize = 4 << 20;

/// What a request was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    /// The request's body.
    pub request: Vec<u8>,
    /// The status; `None` where there was no answer.
    pub status: Option<u16>,
    /// The answer's body, or why there was no answer.
    pub answer: Vec<u8>,
}

#[derive(Debug, Default)]
struct Kept {
    answers: VecDeque<Answered>,
    bytes: usize,
}

/// Of one process.
#[derive(Debug)]
struct Own {
    generation: u64,
    kept: Mutex<Kept>,
}

impl Default for Own {
    fn default() -> Self {
        Self { generation: fork_generation(), kept: Mutex::default() }
    }
}

/// The answers of one destination.
#[derive(Clone, Debug, Default)]
pub struct ResponseLog(Arc<ArcSwap<Own>>);

impl PartialEq for ResponseLog {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl ResponseLog {
    fn own(&self) -> Arc<Own> {
        let own = self.0.load_full();
        if own.generation == fork_generation() {
            return own;
        }
        let previous = self.0.compare_and_swap(&own, Arc::new(Own::default()));
        // What the parent's threads may be in the middle of is left alone.
        std::mem::forget((previous, own));
        self.0.load_full()
    }

    pub(super) fn record(&self, request: &[u8], outcome: Result<(u16, Vec<u8>), &str>) {
        let (status, answer) = match outcome {
            Ok((status, body)) => (Some(status), body),
            Err(reason) => (None, reason.into()),
        };
        let own = self.own();
        let mut kept = own.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.bytes += request.len() + answer.len();
        kept.answers.push_back(Answered { request: request.to_vec(), status, answer });
        while kept.answers.len() > MOST || kept.bytes > MOST_BYTES {
            let Some(oldest) = kept.answers.pop_front() else { break };
            kept.bytes -= oldest.request.len() + oldest.answer.len();
        }
    }

    /// Those that came since this was asked last, the oldest first.
    #[must_use]
    pub fn drain(&self) -> Vec<Answered> {
        std::mem::take(&mut *self.own().kept.lock().unwrap_or_else(PoisonError::into_inner)).answers.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_answers_are_kept_and_taken_once() {
        let answers = ResponseLog::default();
        for number in 0..MOST + 10 {
            answers.record(number.to_string().as_bytes(), Ok((200, b"ok".to_vec())));
        }
        answers.record(b"last", Err("refused"));
        let taken = answers.drain();
        assert_eq!((taken.len(), &taken[0].request[..]), (MOST, &b"11"[..]));
        assert_eq!(taken[MOST - 1], Answered { request: b"last".into(), status: None, answer: b"refused".into() });
        assert!(answers.drain().is_empty());
        answers.record(&vec![0; MOST_BYTES], Ok((200, Vec::new())));
        answers.record(b"next", Ok((200, Vec::new())));
        assert_eq!(answers.drain().len(), 1);
    }
}
