//! The files that hold the state of all budgets of a state directory.
//!
//! ```text
//! <state>/budgets/
//!     lock            empty; locked during each operation
//!     state           counters and holds: see layout.rs
//!     keys-<number>   the texts of keys
//!     <token>.owner   empty; locked by its process while it lives
//! ```

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use siphasher::sip128::SipHasher24;

use super::checkpoint::Saved;
use super::crossing::Crossing;
use super::hold::Hold;
use super::keys::Keys;
use super::layout::{Layout, MAGIC, VERSION, header};
use super::slot::{Counts, Hash, Period, Slot};
use super::transaction::{Transaction, redo};
use super::words::{WORD, Words};
use crate::sys::fs::{create_private_file, file_identity, list_dir, open_private, read_at, remove_file, rename};
use crate::sys::random::random_word;

const STATE: &str = "state";
const DRAFT: &str = "state.draft";

/// The open state. Every method needs the lock.
pub(super) struct State {
    dir: PathBuf,
    pub(super) words: Words,
    pub(super) layout: Layout,
    keys: Keys,
    hash_key: [u64; 2],
    /// Device and inode.
    file: Option<(u64, u64)>,
}

/// Where the state comes from.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// It was written in this boot.
    Kept,
    /// It is new and empty: the file was missing or from an earlier boot. The used amounts have to be counted again.
    New,
    /// It is new and empty: the old file was damaged, and was renamed to this.
    Replaced(String),
}

/// Whether a directory has a state that was written in this boot.
pub(super) fn is_of_boot(dir: &Path, boot: u128) -> bool {
    let mut bytes = [0; (header::BOOT + 2) * WORD];
    let read = open_private(&dir.join(STATE), false).and_then(|file| read_at(&file, &mut bytes, 0));
    let word = |index: usize| bytes.as_chunks::<WORD>().0.get(index).map(|word| u64::from_le_bytes(*word));
    read.is_ok()
        && word(header::MAGIC) == Some(MAGIC)
        && [word(header::BOOT), word(header::BOOT + 1)] == [Some(boot as u64), Some((boot >> 64) as u64)]
}

impl State {
    /// Opens the state, or creates it.
    ///
    /// # Errors
    /// `Unsupported` if its version is newer; I/O errors.
    pub(super) fn open(dir: &Path, boot: u128) -> io::Result<(Self, Origin)> {
        let path = dir.join(STATE);
        let opened = open_private(&path, true).and_then(|file| Self::read(dir, Words::open(file)?));
        match opened {
            Ok(state) if state.boot()? == boot => Ok((state, Origin::Kept)),
            Ok(_) => Ok((Self::create(dir, Layout::FIRST, boot)?, Origin::New)),
            Err(error) if error.kind() == io::ErrorKind::NotFound && file_identity(&path).is_none() => {
                Ok((Self::create(dir, Layout::FIRST, boot)?, Origin::New))
            }
            // The file of keys is missing, or a file is not a state.
            Err(error) if matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::NotFound) => {
                rename(&path, &dir.join("state.damaged"))?;
                Ok((Self::create(dir, Layout::FIRST, boot)?, Origin::Replaced(error.to_string())))
            }
            Err(error) => Err(error),
        }
    }

    fn read(dir: &Path, words: Words) -> io::Result<Self> {
        let layout = Layout::read(&words)?;
        redo(&words)?;
        // A process was killed while it made a larger state: this one is still in use.
        if words.load(header::MOVED)? != 0 {
            words.store(header::MOVED, 0)?;
        }
        let keys = Keys::open(dir, &words)?;
        let hash_key = [words.load(header::HASH_KEY)?, words.load(header::HASH_KEY + 1)?];
        Ok(Self { dir: dir.to_owned(), words, layout, keys, hash_key, file: file_identity(&dir.join(STATE)) })
    }

    /// Creates an empty state in place of any other.
    fn create(dir: &Path, layout: Layout, boot: u128) -> io::Result<Self> {
        let hash_key = [random_word(), random_word()];
        let number = random_word() >> 1;
        let (words, keys) = Self::draft(dir, layout, boot, hash_key, number)?;
        rename(&dir.join(DRAFT), &dir.join(STATE))?;
        Self::remove_other_keys(dir, number);
        Ok(Self { dir: dir.to_owned(), words, layout, keys, hash_key, file: file_identity(&dir.join(STATE)) })
    }

    /// Writes a state without slots under the name of a draft.
    fn draft(dir: &Path, layout: Layout, boot: u128, hash_key: [u64; 2], number: u64) -> io::Result<(Words, Keys)> {
        let draft = dir.join(DRAFT);
        // A process that was killed left it. Only the holder of the lock makes drafts.
        let _ = remove_file(&draft);
        let keys = Keys::create(dir, number)?;
        let made = create_private_file(&draft).and_then(|file| Words::create(file, layout.len()));
        let words = made.inspect_err(|_| {
            let _ = remove_file(&draft);
            let _ = remove_file(&Keys::path(dir, number));
        })?;
        for (index, value) in [
            (header::MAGIC, MAGIC),
            (header::VERSION, VERSION),
            (header::BOOT, boot as u64),
            (header::BOOT + 1, (boot >> 64) as u64),
            (header::SLOTS, layout.slots as u64),
            (header::HOLDS, layout.holds as u64),
            (header::WINDOWS, layout.windows as u64),
            (header::KEYS_FILE, number),
            (header::HASH_KEY, hash_key[0]),
            (header::HASH_KEY + 1, hash_key[1]),
        ] {
            words.store(index, value)?;
        }
        Ok((words, keys))
    }

    /// Deletes the files of keys of earlier states.
    fn remove_other_keys(dir: &Path, number: u64) {
        let kept = Keys::path(dir, number);
        let Ok(entries) = list_dir(dir) else { return };
        for path in entries.filter_map(Result::ok).map(|entry| entry.path()).filter(|path| *path != kept) {
            if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("keys-")) {
                let _ = remove_file(&path);
            }
        }
    }

    fn boot(&self) -> io::Result<u128> {
        let (low, high) = (self.words.load(header::BOOT)?, self.words.load(header::BOOT + 1)?);
        Ok(u128::from(high) << 64 | u128::from(low))
    }

    /// Prepares for an operation: repeats what a killed process left, and reopens a state that was replaced.
    ///
    /// # Errors
    /// Those of [`State::open`].
    pub(super) fn refresh(&mut self) -> io::Result<()> {
        redo(&self.words)?;
        if self.words.load(header::MOVED)? == 0 {
            return Ok(());
        }
        let path = self.dir.join(STATE);
        *self = Self::read(&self.dir.clone(), Words::open(open_private(&path, true)?)?)?;
        Ok(())
    }

    /// Whether the file still has its name. A user may have deleted the directory.
    pub(super) fn is_linked(&self) -> bool {
        self.file.is_some() && file_identity(&self.dir.join(STATE)) == self.file
    }

    /// The hash of a key's text.
    pub(super) fn hash(&self, text: &[u8]) -> Hash {
        let [low, high] = self.hash_key;
        Hash::new(SipHasher24::new_with_keys(low, high).hash(text).as_u128())
    }

    /// Every slot in use with the text of its key.
    pub(super) fn slots(&self) -> io::Result<Vec<(Slot, Vec<u8>)>> {
        let txn = Transaction::new(&self.words);
        let mut all = Vec::new();
        for index in 0..self.layout.slots {
            let slot = Slot::at(index, self.layout);
            if slot.hash(&txn)? != 0 {
                all.push((slot, self.keys.read(slot.key(&txn)?)?));
            }
        }
        Ok(all)
    }

    /// The crossed threshold of a record.
    pub(super) fn crossing(&self, record: usize, hold: &Hold) -> io::Result<Crossing> {
        let (txn, slot) = (Transaction::new(&self.words), Slot::checked(hold.slot, self.layout)?);
        let period = match hold.terms.rolling {
            0 if slot.period(&txn)? == hold.period => Period::Fixed { start: hold.period, end: slot.ends(&txn)? },
            0 => Period::Fixed { start: hold.period, end: i64::MAX },
            seconds => Period::Rolling { seconds: seconds.into() },
        };
        let key = self.keys.read(slot.key(&txn)?)?.into();
        Ok(Crossing { key, period, bits: hold.call, used: hold.amount, at: hold.expires, record: Some(record) })
    }

    /// Adds copies of the counts of some slots.
    pub(super) fn save(&self, slots: Range<usize>, all: &mut Vec<Saved>) -> io::Result<()> {
        let txn = Transaction::new(&self.words);
        for index in slots {
            let slot = Slot::at(index, self.layout);
            if slot.hash(&txn)? == 0 {
                continue;
            }
            let (counts, buckets) = (slot.counts(&txn)?, slot.buckets(&txn)?);
            let period = if buckets.is_empty() { slot.period(&txn)? } else { 0 };
            let key = self.keys.read(slot.key(&txn)?)?;
            let (Counts { used, calls, unpriced, .. }, unrecorded) = (counts, slot.unrecorded(&txn)?);
            all.push(Saved { key, period, used, unrecorded, calls, unpriced, buckets });
        }
        Ok(())
    }

    /// Uses the draft in place of the present state, which other processes may have open.
    ///
    /// # Errors
    /// I/O errors. The present state then stays in use.
    pub(super) fn replace(&mut self, (words, keys): (Words, Keys), layout: Layout) -> io::Result<()> {
        self.words.store(header::MOVED, 1)?;
        if let Err(error) = rename(&self.dir.join(DRAFT), &self.dir.join(STATE)) {
            self.words.store(header::MOVED, 0)?;
            return Err(error);
        }
        let number = words.load(header::KEYS_FILE)?;
        (self.words, self.layout, self.keys) = (words, layout, keys);
        self.file = file_identity(&self.dir.join(STATE));
        Self::remove_other_keys(&self.dir, number);
        Ok(())
    }

    /// An empty draft of a state with these capacities.
    ///
    /// # Errors
    /// I/O errors, for example that the disk is full.
    pub(super) fn new_draft(&self, layout: Layout) -> io::Result<(Words, Keys)> {
        Self::draft(&self.dir, layout, self.boot()?, self.hash_key, random_word() >> 1)
    }

    /// The texts of keys.
    pub(super) fn keys(&self) -> &Keys {
        &self.keys
    }
}
