//! Keeps the tokens of windows of long pieces, because such pieces are mostly patterns: rules, indents, tables. A pattern of a period
//! shorter than a window has few different windows, so each of them is merged only once.

use super::table::{SHORT, hash, key, load};
use super::vocabulary::Token;

/// Slots of the table: 400 kilobytes, which the first window allocates.
const SLOTS: usize = 1 << 15;

/// How many slots are tried for a window.
const TRIED: usize = 4;

/// The most bytes and tokens that are kept: six megabytes. When they are full, all windows are forgotten.
const KEPT_BYTES: usize = 1 << 21;
const KEPT_TOKENS: usize = 1 << 20;

/// The windows that were merged.
#[derive(Debug, Default)]
pub(super) struct Windows {
    /// Empty until the first window.
    slots: Vec<Slot>,
    bytes: Vec<u8>,
    tokens: Vec<Token>,
}

/// Where a window's bytes and tokens are. A slot without bytes is free.
#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    first_byte: u32,
    first_token: u32,
    bytes: u16,
    tokens: u16,
}

impl Windows {
    /// Appends the tokens of a window to `found`. They come from `merge` unless the same bytes were merged before.
    pub(super) fn tokens(&mut self, window: &[u8], found: &mut Vec<Token>, merge: impl FnOnce(&mut Vec<Token>)) {
        let first = digest(window) as usize;
        let mut place = first % SLOTS;
        for tried in (first..first + TRIED).map(|slot| slot % SLOTS) {
            let Some(slot) = self.slots.get(tried).copied().filter(|slot| slot.bytes > 0) else {
                place = tried;
                break;
            };
            if self.bytes[slot.first_byte as usize..][..usize::from(slot.bytes)] == *window {
                found.extend_from_slice(&self.tokens[slot.first_token as usize..][..usize::from(slot.tokens)]);
                return;
            }
        }
        let before = found.len();
        merge(found);
        let new = &found[before..];
        if self.bytes.len() + window.len() > KEPT_BYTES || self.tokens.len() + new.len() > KEPT_TOKENS {
            self.slots.clear();
            self.bytes.clear();
            self.tokens.clear();
        }
        self.slots.resize(SLOTS, Slot::default());
        // A window has a few hundred bytes, and not more tokens than bytes.
        self.slots[place] = Slot {
            first_byte: self.bytes.len() as u32,
            first_token: self.tokens.len() as u32,
            bytes: window.len() as u16,
            tokens: new.len() as u16,
        };
        self.bytes.extend_from_slice(window);
        self.tokens.extend_from_slice(new);
    }
}

/// A hash of all bytes.
fn digest(bytes: &[u8]) -> u64 {
    (0..bytes.len()).step_by(SHORT).fold(bytes.len() as u64, |all, at| {
        all.rotate_left(8) ^ hash(key(load(bytes, at), SHORT.min(bytes.len() - at)))
    })
}
