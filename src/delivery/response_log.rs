//! The log of a destination's responses, kept until a caller takes them. A forked child has neither its parent's responses nor a lock
//! that a thread of the parent held.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;

use crate::sys::fork::fork_generation;

/// The most responses that are kept. Then the oldest are dropped.
const MAX_RESPONSES: usize = 1_000;
/// The most bytes of requests and responses that are kept: some 5,000 events of 300 bytes.
const MAX_BYTES: usize = 4 << 20;

/// The result of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    /// The request's body.
    pub request: Vec<u8>,
    /// The status; `None` if there was no response.
    pub status: Option<u16>,
    /// The body of the response, or why there was none.
    pub answer: Vec<u8>,
}

#[derive(Debug, Default)]
struct Kept {
    answers: VecDeque<Answered>,
    bytes: usize,
}

/// The responses of one process.
#[derive(Debug)]
struct ProcessLog {
    generation: u64,
    kept: Mutex<Kept>,
}

impl Default for ProcessLog {
    fn default() -> Self {
        Self { generation: fork_generation(), kept: Mutex::default() }
    }
}

/// The responses of one destination.
#[derive(Clone, Debug, Default)]
pub struct ResponseLog(Arc<ArcSwap<ProcessLog>>);

impl PartialEq for ResponseLog {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl ResponseLog {
    fn own(&self) -> Arc<ProcessLog> {
        let own = self.0.load_full();
        if own.generation == fork_generation() {
            return own;
        }
        let previous = self.0.compare_and_swap(&own, Arc::new(ProcessLog::default()));
        // Leak the parent's state, because one of its threads may have been changing it during the fork.
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
        while kept.answers.len() > MAX_RESPONSES || kept.bytes > MAX_BYTES {
            let Some(oldest) = kept.answers.pop_front() else { break };
            kept.bytes -= oldest.request.len() + oldest.answer.len();
        }
    }

    /// The responses since the last call, the oldest first.
    #[must_use]
    pub fn drain(&self) -> Vec<Answered> {
        std::mem::take(&mut *self.own().kept.lock().unwrap_or_else(PoisonError::into_inner)).answers.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_responses_are_kept_and_returned_once() {
        let answers = ResponseLog::default();
        for number in 0..MAX_RESPONSES + 10 {
            answers.record(number.to_string().as_bytes(), Ok((200, b"ok".to_vec())));
        }
        answers.record(b"last", Err("refused"));
        let taken = answers.drain();
        assert_eq!((taken.len(), &taken[0].request[..]), (MAX_RESPONSES, &b"11"[..]));
        assert_eq!(
            taken[MAX_RESPONSES - 1],
            Answered { request: b"last".into(), status: None, answer: b"refused".into() }
        );
        assert!(answers.drain().is_empty());
        answers.record(&vec![0; MAX_BYTES], Ok((200, Vec::new())));
        answers.record(b"next", Ok((200, Vec::new())));
        assert_eq!(answers.drain().len(), 1);
    }
}
