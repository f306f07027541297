//! Delivers a batch to a local destination: a batch of this process's journal, or the next one of an orphan journal.

use super::destination::{Delivered, Failure, LocalSink};
use super::timing::BATCH_BYTES;
use crate::event::binary::{DecodeError, decode};
use crate::journal::{Batch, OrphanReader};

/// The result of delivering a batch, and how many of its records are not events.
pub(super) type Brought = Result<(Delivered, u64), Failure>;

/// Delivers a batch to a destination.
///
/// A record that a newer version wrote is a failure, because only that version can deliver it.
pub(super) fn bring(sink: &mut dyn LocalSink, batch: &Batch) -> Brought {
    let mut events = Vec::with_capacity(batch.len());
    let mut others = 0;
    for payload in batch.payloads() {
        match decode(payload) {
            Ok(event) if event.is_usage() => events.push(event),
            Ok(_) => others += 1,
            Err(error @ DecodeError::Version(_)) => {
                return Err(Failure { reason: error.to_string(), retry_after: None, is_busy: false });
            }
            Err(DecodeError::Truncated | DecodeError::Text) => {}
        }
    }
    let unreadable = (batch.len() - events.len() - others) as u64;
    let delivered = if events.is_empty() { Delivered::default() } else { sink.deliver(&events)? };
    Ok((delivered, unreadable))
}

/// The result of delivering the next batch of an orphan journal.
pub(super) enum Next {
    /// There was a batch. If it was delivered, the reader advanced past it.
    Batch(Box<Batch>, Brought),
    /// The destination has everything of the journal.
    Done,
    /// The rest cannot be read now.
    Unreadable,
}

/// Delivers the next batch of an orphan journal, and advances the reader past it.
pub(super) fn bring_next(sink: &mut dyn LocalSink, reader: &mut OrphanReader) -> Next {
    let batch = reader.read(BATCH_BYTES);
    if !reader.moves(&batch) {
        return if batch.is_incomplete { Next::Unreadable } else { Next::Done };
    }
    let brought = bring(sink, &batch);
    if brought.is_ok() {
        // If the position cannot be saved, the reader remembers that, and the caller keeps the position.
        let _ = reader.advance(&batch);
    }
    Next::Batch(Box::new(batch), brought)
}
