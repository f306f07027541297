//! Answers of a destination, kept for whoever asks for them.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

/// Answers that are kept; then the oldest go.
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
    /// The answer's body, or why there is none.
    pub answer: Vec<u8>,
}

#[derive(Debug, Default)]
struct Kept {
    answers: VecDeque<Answered>,
    bytes: usize,
}

/// The answers of one destination.
#[derive(Clone, Debug, Default)]
pub struct Answers(Arc<Mutex<Kept>>);

impl PartialEq for Answers {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Answers {
    pub(super) fn put(&self, request: &[u8], outcome: Result<(u16, &[u8]), &str>) {
        let (status, answer) = match outcome {
            Ok((status, body)) => (Some(status), body),
            Err(reason) => (None, reason.as_bytes()),
        };
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.bytes += request.len() + answer.len();
        kept.answers.push_back(Answered { request: request.to_vec(), status, answer: answer.to_vec() });
        while kept.answers.len() > MOST || kept.bytes > MOST_BYTES {
            let Some(oldest) = kept.answers.pop_front() else { break };
            kept.bytes -= oldest.request.len() + oldest.answer.len();
        }
    }

    /// Those that came since this was asked last, the oldest first.
    #[must_use]
    pub fn take(&self) -> Vec<Answered> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner)).answers.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_answers_are_kept_and_taken_once() {
        let answers = Answers::default();
        for number in 0..MOST + 10 {
            answers.put(number.to_string().as_bytes(), Ok((200, b"ok")));
        }
        answers.put(b"last", Err("refused"));
        let taken = answers.take();
        assert_eq!((taken.len(), &taken[0].request[..]), (MOST, &b"11"[..]));
        assert_eq!(taken[MOST - 1], Answered { request: b"last".into(), status: None, answer: b"refused".into() });
        assert!(answers.take().is_empty());
        answers.put(&vec![0; MOST_BYTES], Ok((200, b"")));
        answers.put(b"next", Ok((200, b"")));
        assert_eq!(answers.take().len(), 1);
    }
}
