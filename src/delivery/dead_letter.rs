//! Events that a destination refused for good, kept beside the journals with the reason, one JSON object a line.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::event::UsageEvent;
use crate::event::json::time_text;
use crate::event::limits::cut;
use crate::journal::{append_private, create_private_dir, unix_ns};

/// Bytes of dead letters of one destination; what comes after is dropped, and counted so.
const LARGEST: u64 = 16 << 20;
/// Bytes of an answer that are kept with an event.
const LONGEST_REASON: usize = 1024;

/// The dead letters of one destination.
pub(super) struct DeadLetters {
    path: Option<PathBuf>,
}

#[derive(Serialize)]
struct Letter<'a> {
    at: String,
    destination: &'a str,
    status: u16,
    reason: &'a str,
    event: &'a UsageEvent<'a>,
}

impl DeadLetters {
    /// Letters under `state`; without one there is no room for any.
    pub(super) fn new(state: Option<&Path>, destination: &str) -> Self {
        Self { path: state.map(|state| state.join("dead").join(format!("{destination}.jsonl"))) }
    }

    /// Keeps an event that was refused with this status and reason; says whether there was room.
    ///
    /// # Errors
    /// Those of the operating system; the event must not be given up then.
    pub(super) fn keep(
        &self,
        destination: &str,
        event: &UsageEvent<'_>,
        status: u16,
        reason: &str,
    ) -> io::Result<bool> {
        let Some(path) = &self.path else { return Ok(false) };
        if path.metadata().is_ok_and(|data| data.len() > LARGEST) {
            return Ok(false);
        }
        let reason = cut(reason, LONGEST_REASON);
        let letter = Letter { at: time_text(unix_ns()), destination, status, reason: &reason, event };
        let mut line = serde_json::to_vec(&letter)?;
        line.push(b'\n');
        if let Some(dir) = path.parent() {
            create_private_dir(dir)?;
        }
        let mut file = append_private(path)?;
        // A line that a full disk broke off is not to take the next one along.
        if ends_in_a_line(path) == Some(false) {
            line.insert(0, b'\n');
        }
        // One write a line: several processes append to one file.
        file.write_all(&line)?;
        Ok(true)
    }
}

/// Whether a file ends with a line's end; `None` where it is empty.
fn ends_in_a_line(path: &Path) -> Option<bool> {
    let mut file = File::open(path).ok()?;
    file.seek(SeekFrom::End(-1)).ok()?;
    let mut last = [0];
    file.read_exact(&mut last).ok()?;
    Some(last == *b"\n")
}
