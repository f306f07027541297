//! The texts of keys: a file that only grows, replaced when the state is.
//!
//! A record is its length as a little-endian u16 and that many bytes. The state holds the valid length of the file, so what a killed
//! process added last is overwritten.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use super::layout::header;
use super::operations::KeyTexts;
use super::transaction::Transaction;
use super::words::{Words, damaged};
use crate::sys::fs::{create_private_file, open_private, read_at, write_at};

/// The most bytes of a key's text: a budget's name and up to nine values of 256 bytes.
const MAX_KEY: usize = 4_096;

/// The file of keys of one state.
pub(super) struct Keys(File);

impl Keys {
    /// The path of the file with this number.
    pub(super) fn path(dir: &Path, number: u64) -> PathBuf {
        dir.join(format!("keys-{number}"))
    }

    pub(super) fn create(dir: &Path, number: u64) -> io::Result<Self> {
        create_private_file(&Self::path(dir, number)).map(Self)
    }

    /// Opens the file that the state names.
    pub(super) fn open(dir: &Path, words: &Words) -> io::Result<Self> {
        open_private(&Self::path(dir, words.load(header::KEYS_FILE)?), true).map(Self)
    }

    /// Writes a text at an offset. Returns the offset after it.
    pub(super) fn write(&self, offset: u64, text: &[u8]) -> io::Result<u64> {
        let text = &text[..text.len().min(MAX_KEY)];
        let mut record = Vec::with_capacity(2 + text.len());
        record.extend_from_slice(&(text.len() as u16).to_le_bytes());
        record.extend_from_slice(text);
        write_at(&self.0, &record, offset)?;
        Ok(offset + record.len() as u64)
    }

    /// Reads the text at an offset.
    pub(super) fn read(&self, offset: u64) -> io::Result<Vec<u8>> {
        let mut length = [0; 2];
        if read_at(&self.0, &mut length, offset)? < length.len() {
            return Err(damaged("a key is beyond the file of keys"));
        }
        let mut text = vec![0; usize::from(u16::from_le_bytes(length)).min(MAX_KEY)];
        let read = read_at(&self.0, &mut text, offset + 2)?;
        if read < text.len() {
            return Err(damaged("a key is cut"));
        }
        Ok(text)
    }
}

impl KeyTexts for Keys {
    fn add(&self, txn: &mut Transaction<'_>, text: &[u8]) -> io::Result<u64> {
        let offset = txn.load(header::KEYS_BYTES)?;
        let end = self.write(offset, text)?;
        txn.store(header::KEYS_BYTES, end);
        Ok(offset)
    }
}
