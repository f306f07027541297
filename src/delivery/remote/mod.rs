//! A destination over HTTP: splits batches into sub-batches, sends several requests at once, and handles each response.
//!
//! A batch of the journal is done when each of its sub-batches is accepted or in the dead letters. Only then the cursor moves. A
//! failed sub-batch keeps its body, so that a retry sends the same bytes. A sub-batch that is too large, or of which an event is
//! rejected, is split in half until the rejected event is found. A crash in between repeats sub-batches, and the receiver recognizes
//! their events by id.
//!
//! `state` holds the state of a destination, `step` reads and sends, `apply` carries out what `classify` decides about each response.

mod apply;
mod feed;
mod state;
mod step;

pub(super) use feed::{Feed, Scope, Step, Urgency};
pub use state::{Remote, RemoteSettings, Service};
