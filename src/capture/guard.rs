//! A guard around a scanner: a panic ends the scan, but never the response.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::scanner::{Options, Scanner};
use super::summary::{Gap, Summary};
use crate::event::UsageStatus;

/// A guarded scanner of one response. If it panics, the rest of the response is passed on unchanged, and its usage is missing with
/// [`Gap::InternalError`].
pub struct Guard {
    /// `None` after a panic or after the end.
    scanner: Option<Scanner>,
    has_panicked: bool,
}

impl Guard {
    /// A guarded scanner of one response.
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self { scanner: Some(Scanner::new(options)), has_panicked: false }
    }

    /// The bytes that are kept to be read at the end. Reading takes about 1 ms per MB.
    #[must_use]
    pub fn held(&self) -> usize {
        self.scanner.as_ref().map_or(0, Scanner::held)
    }

    /// See [`Scanner::feed`].
    pub fn feed(&mut self, bytes: &[u8]) -> Option<Vec<u8>> {
        // If it panics, the bytes that the scanner has held back must be passed on before the new ones.
        let held = self.scanner.as_ref().and_then(Scanner::held_back).map(<[u8]>::to_vec);
        match self.run(|scanner| scanner.feed(bytes)) {
            Some(replacement) => replacement,
            None => held.map(|held| [&held, bytes].concat()),
        }
    }

    /// Counts the output from now on.
    pub fn count_output(&mut self) {
        self.run(Scanner::count_output);
    }

    /// The input tokens that a stream has reported, and its output tokens so far; see `Scanner::running`. `None` after the end.
    pub fn running(&mut self) -> Option<(Option<u64>, u64)> {
        self.run(|scanner| scanner.running())
    }

    /// See [`Scanner::finish_bytes`].
    pub fn finish_bytes(&mut self) -> Option<Vec<u8>> {
        self.run(Scanner::finish_bytes)?
    }

    /// See [`Scanner::finish`]; `None` if the scan had already ended.
    pub fn finish(&mut self) -> Option<Summary> {
        let summary = self.scanner.take().map(|scanner| catch_unwind(AssertUnwindSafe(|| scanner.finish())));
        let has_panicked = std::mem::take(&mut self.has_panicked);
        match summary {
            Some(Ok(summary)) => Some(summary),
            None if !has_panicked => None,
            _ => Some(Summary {
                gap: Some(Gap::InternalError),
                usage_status: UsageStatus::Missing,
                ..Summary::default()
            }),
        }
    }

    /// Runs `work`; `None` if it panics, or if the scan has already ended.
    fn run<T>(&mut self, work: impl FnOnce(&mut Scanner) -> T) -> Option<T> {
        let scanner = self.scanner.as_mut()?;
        let outcome = catch_unwind(AssertUnwindSafe(|| work(scanner)));
        if outcome.is_err() {
            (self.scanner, self.has_panicked) = (None, true);
        }
        outcome.ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::{Dialect, Family, Framing};

    const OPTIONS: Options = Options {
        family: Family::OpenAi,
        dialect: Dialect::Plain,
        framing: Framing::Events,
        is_gzip: false,
        strips_usage: true,
        keeps_report: false,
    };

    #[test]
    fn after_a_panic_the_response_continues_and_its_usage_is_missing() {
        let mut guard = Guard::new(OPTIONS);
        assert_eq!(guard.feed(b"data: {}\n\ndata").as_deref(), Some(&b"data: {}\n\n"[..]));
        assert_eq!(guard.run(|_| -> () { std::panic::resume_unwind(Box::new("a fault")) }), None);
        assert_eq!(guard.feed(b": {}"), None);
        assert_eq!(guard.finish_bytes(), None);
        let summary = guard.finish().unwrap();
        assert_eq!((summary.gap, summary.usage_status), (Some(Gap::InternalError), UsageStatus::Missing));
        assert_eq!(guard.finish(), None);
    }

    #[test]
    fn without_a_panic_it_behaves_like_the_scanner() {
        let mut guard = Guard::new(OPTIONS);
        guard.feed(b"data: {\"usage\":{\"prompt_tokens\":3},\"choices\":[1]}\n\nda");
        assert_eq!(guard.held(), 2);
        assert_eq!(guard.finish_bytes().as_deref(), Some(&b"da"[..]));
        assert_eq!(guard.finish().unwrap().usage_status, UsageStatus::Partial);
        assert_eq!(guard.finish(), None);
    }
}
