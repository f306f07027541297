//! Reads usage from provider responses while their bytes pass through.
//!
//! A [`Scanner`] is fed the bytes that the client library reads. It keeps counters, never content, and ends with a [`Summary`]. It
//! reads JSON bodies, event streams, Amazon's frames and JSON lines, plain or with gzip. If it cannot read something, the usage is
//! missing, never wrong.

mod fields;
mod framing;
mod gemini;
mod guard;
mod message;
mod running;
mod scanner;
mod strip;
mod summary;
mod tables;
mod tools;
mod usage;
mod wire;

pub use framing::Framing;
pub use guard::Guard;
pub use scanner::{Options, Scanner};
pub use summary::{Gap, Summary};
pub use usage::{Dialect, Family, Part, Report, normalize};
pub use wire::read_report;

#[cfg(test)]
#[path = "tests/field.rs"]
mod field;
