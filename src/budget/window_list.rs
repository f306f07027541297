//! The windows that no slot has.

use std::io;

use super::layout::{Layout, WINDOW, header};
use super::transaction::Transaction;
use super::words::damaged;

/// The word of a free window that holds the next free window, plus 1. No bucket uses it.
pub(super) const NEXT_FREE: usize = WINDOW - 1;

/// Takes a window that no slot uses; `None` if slots use all of them.
///
/// A window that was in use is cleared without the redo log, because no slot names it until the transaction is committed.
pub(super) fn take(txn: &mut Transaction<'_>, layout: Layout) -> io::Result<Option<usize>> {
    if let Some(free) = (txn.load(header::WINDOWS_FREE)? as usize).checked_sub(1) {
        if free >= layout.windows {
            return Err(damaged("its list of free windows is wrong"));
        }
        let window = layout.window(free);
        (0..NEXT_FREE).try_for_each(|word| txn.store_now(window + word, 0))?;
        let next = txn.load(window + NEXT_FREE)?;
        txn.store(header::WINDOWS_FREE, next);
        return Ok(Some(free));
    }
    let made = txn.load(header::WINDOWS_MADE)? as usize;
    if made >= layout.windows {
        return Ok(None);
    }
    txn.store(header::WINDOWS_MADE, made as u64 + 1);
    Ok(Some(made))
}

/// Puts a window on the list of free ones.
pub(super) fn free(txn: &mut Transaction<'_>, layout: Layout, index: usize) -> io::Result<()> {
    let next = txn.load(header::WINDOWS_FREE)?;
    txn.store(layout.window(index) + NEXT_FREE, next);
    txn.store(header::WINDOWS_FREE, index as u64 + 1);
    Ok(())
}
