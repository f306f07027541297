//! A destination over HTTP: batches in sub-batches, several requests at once, and what becomes of each.
//!
//! A batch of the journal is done when every sub-batch of it is accepted or in the dead letters; only then the cursor moves. A
//! sub-batch that failed keeps its body, so that a retry sends the same bytes. One that is too large, or of which something is
//! unacceptable, is cut in half until the event is found that is at fault. A crash in between repeats sub-batches: the receiver tells
//! events by their id.
//!
//! `state` is what a destination is, `step` reads and sends, `apply` does what `classify` decides about each answer.

mod apply;
mod feed;
mod state;
mod step;

pub(super) use feed::{Feed, Scope, Step, Urgency};
pub use state::{Remote, RemoteSettings, Service};
