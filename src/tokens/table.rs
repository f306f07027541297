//! Hash tables from bytes to tokens: open addressing, with keys that hold the bytes themselves.

/// The most bytes that fit in a [`Key`] together with their number.
pub(super) const SHORT: usize = 15;

/// Up to [`SHORT`] bytes, with their number in the highest byte. The key of at least one byte is not zero.
pub(super) type Key = u128;

/// Two arbitrary odd constants for hashes (the fractions of the golden ratio and of the square root of two).
pub(super) const MIX: [u64; 2] = [0x9E37_79B9_7F4A_7C15, 0x6A09_E667_F3BC_C909];

/// The masks that keep a number of the sixteen loaded bytes.
const MASKS: [Key; SHORT + 1] = {
    let mut masks = [0; SHORT + 1];
    let mut length = 0;
    while length <= SHORT {
        masks[length] = (1 << (8 * length)) - 1;
        length += 1;
    }
    masks
};

/// The sixteen bytes of `text` from `at` on, padded with zeros at the end of the text.
#[inline(always)]
pub(super) fn load(text: &[u8], at: usize) -> Key {
    match text.get(at..).and_then(|rest| rest.first_chunk()) {
        Some(bytes) => Key::from_le_bytes(*bytes),
        None => load_last(text, at),
    }
}

#[cold]
fn load_last(text: &[u8], at: usize) -> Key {
    let mut bytes = [0; 16];
    for (place, byte) in bytes.iter_mut().zip(text.get(at..).unwrap_or_default()) {
        *place = *byte;
    }
    Key::from_le_bytes(bytes)
}

/// The key of the first `length` of sixteen loaded bytes. `length` is at most [`SHORT`].
#[inline(always)]
pub(super) fn key(loaded: Key, length: usize) -> Key {
    (loaded & MASKS[length & 15]) | (length as Key) << 120
}

/// The number of bytes in a key.
#[inline(always)]
pub(super) fn length(key: Key) -> usize {
    (key >> 120) as usize
}

/// A hash of a key: both halves of the product of its halves, so that every bit depends on the whole key.
#[inline(always)]
pub(super) fn hash(key: Key) -> u64 {
    let product = u128::from(key as u64 ^ MIX[0]) * u128::from((key >> 64) as u64 ^ MIX[1]);
    (product >> 64) as u64 ^ product as u64
}

/// A map from keys to values, filled only once.
///
/// Most lookups are for keys that are not in the map, so two bits per hash are checked first. The bits fit in the second-level cache; the
/// keys do not.
#[derive(Debug)]
pub(super) struct Table<V> {
    keys: Box<[Key]>,
    values: Box<[V]>,
    /// Eight bits per slot. Each key sets two bits of one word.
    known: Box<[u64]>,
    /// How many low bits of a hash are dropped to get a slot.
    shift: u32,
}

impl<V: Copy + Default> Table<V> {
    /// A map with space for `capacity` keys.
    pub(super) fn with_capacity(capacity: usize) -> Self {
        let slots = (capacity + capacity / 4).next_power_of_two().max(8);
        Self {
            keys: vec![0; slots].into_boxed_slice(),
            values: vec![V::default(); slots].into_boxed_slice(),
            known: vec![0; slots / 8].into_boxed_slice(),
            shift: 64 - slots.trailing_zeros(),
        }
    }

    /// The position of a hash's bits: the word, and the bits in it.
    #[inline(always)]
    fn bits(&self, hash: u64) -> (usize, u64) {
        let word = (hash >> self.shift) as usize / 8;
        (word % self.known.len(), 1 << (hash & 63) | 1 << (hash >> 6 & 63))
    }

    /// The slot of a key, or the free slot where it belongs.
    #[inline(always)]
    fn slot(&self, key: Key, hash: u64) -> usize {
        let last = self.keys.len() - 1;
        let mut slot = (hash >> self.shift) as usize & last;
        while self.keys[slot] != key && self.keys[slot] != 0 {
            slot = (slot + 1) & last;
        }
        slot
    }

    /// Like [`Self::get`], but for keys that are likely to be in the map: it does not check the bits first.
    #[inline(always)]
    pub(super) fn get_likely(&self, key: Key) -> Option<V> {
        let slot = self.slot(key, hash(key));
        (self.keys[slot] == key).then(|| self.values[slot])
    }

    /// The value of a key, if the key is in the map.
    #[inline(always)]
    pub(super) fn get(&self, key: Key) -> Option<V> {
        let hash = hash(key);
        let (word, bits) = self.bits(hash);
        if self.known[word] & bits != bits {
            return None;
        }
        let slot = self.slot(key, hash);
        (self.keys[slot] == key).then(|| self.values[slot])
    }

    /// The value of a key. Inserts the key if it is not in the map.
    pub(super) fn entry(&mut self, key: Key) -> &mut V {
        let hash = hash(key);
        let (word, bits) = self.bits(hash);
        self.known[word] |= bits;
        let slot = self.slot(key, hash);
        self.keys[slot] = key;
        &mut self.values[slot]
    }
}
