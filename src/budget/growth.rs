//! Moves the state to a larger file, or to one of the same size without the counters that are over.

use std::io;

use super::hold;
use super::layout::{Layout, WINDOW, header};
use super::slot::{self, Slot};
use super::state::State;
use super::transaction::Transaction;
use super::words::{WORD, Words};

impl State {
    /// Moves to a state that has room again, or uses the present one more densely. Returns false if that is not enough, and a larger
    /// one would need more than `limit` bytes.
    ///
    /// # Errors
    /// I/O errors. The present state then stays in use.
    pub(super) fn grow(&mut self, limit: u64, now: i64) -> io::Result<bool> {
        let (old, from) = (self.layout, &self.words);
        let live = live(from, old, now)?;
        let windows = live.iter().filter(|(_, window)| window.is_some()).count();
        let roomy = Layout {
            slots: doubled_for(old.slots, live.len()),
            holds: doubled_for(old.holds, hold::in_use(from, old)?),
            windows: doubled_for(old.windows, windows),
            is_dense: false,
        };
        let fits = |layout: Layout| layout == Layout::FIRST || (layout.len() * WORD) as u64 <= limit;
        let same_slots = Layout { slots: old.slots, is_dense: true, ..roomy };
        let frees_slots = live.len() as u64 + old.slots as u64 / 32 < from.load(header::SLOTS_USED)?;
        let layout = if fits(roomy) {
            roomy
        } else if fits(same_slots) && (same_slots != Layout { is_dense: true, ..old } || frees_slots) {
            same_slots
        } else if old.is_dense {
            return Ok(false);
        } else {
            self.layout.is_dense = true;
            return Ok(true);
        };
        let (words, keys) = self.new_draft(layout)?;
        let mut places = vec![u32::MAX; old.slots];
        let (mut windows, mut key_bytes) = (0, 0);
        for (slot, window) in &live {
            let txn = Transaction::new(from);
            let text = self.keys().read(slot.key(&txn)?)?;
            let key = key_bytes;
            key_bytes = keys.write(key, &text)?;
            if let Some(window) = window {
                for word in 0..WINDOW {
                    words.store(layout.window(windows) + word, from.load(old.window(*window) + word)?)?;
                }
            }
            let place = place(&words, layout, slot.hash(&txn)?)?;
            slot::copy(from, *slot, &words, Slot::at(place, layout), key, window.map(|_| windows))?;
            windows += usize::from(window.is_some());
            places[slot.index] = place as u32;
        }
        hold::copy(from, old, &words, layout, &places)?;
        for (index, value) in [
            (header::DEFINITIONS, from.load(header::DEFINITIONS)?),
            (header::SLOTS_USED, live.len() as u64),
            (header::WINDOWS_MADE, windows as u64),
            (header::KEYS_BYTES, key_bytes),
        ] {
            words.store(index, value)?;
        }
        self.replace((words, keys), layout)?;
        Ok(true)
    }
}

/// The slots that still count, with their windows.
fn live(words: &Words, layout: Layout, now: i64) -> io::Result<Vec<(Slot, Option<usize>)>> {
    let txn = Transaction::new(words);
    let mut all = Vec::new();
    for index in 0..layout.slots {
        let slot = Slot::at(index, layout);
        if slot.hash(&txn)? != 0 && !slot.is_over(&txn, now)? {
            all.push((slot, slot.window_index(&txn)?));
        }
    }
    Ok(all)
}

/// A capacity of which at most half is used.
fn doubled_for(capacity: usize, used: usize) -> usize {
    let mut capacity = capacity;
    while used > capacity / 2 {
        capacity *= 2;
    }
    capacity
}

/// The place of a new slot in a state that has room.
fn place(words: &Words, layout: Layout, hash: u128) -> io::Result<usize> {
    let mask = layout.slots - 1;
    let txn = Transaction::new(words);
    let mut index = hash as usize & mask;
    while Slot::at(index, layout).hash(&txn)? != 0 {
        index = (index + 1) & mask;
    }
    Ok(index)
}
