//! Reading usage off provider responses as their bytes pass by.
//!
//! A [`Scanner`] is fed what the client library reads, keeps counters and never content, and ends with a [`Summary`]. It takes
//! JSON bodies, event streams, Amazon's frames and lines of JSON, plain or gzip. Anything it cannot read makes usage missing, never wrong.

mod fields;
mod framing;
mod guard;
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
