//! Events that a destination refused for good, kept beside the journals with the reason, one JSON object a line.
//!
//! ```text
//! <state>/dead/<destination>.jsonl   {"at", "destination", "status", "reason", "event": {…}, "record": "…"}
//! ```
//!
//! `event` is for people; `record` is the journal's own, in base64, from which a retry makes the same event. Several processes append
//! to one file, and a retry empties it: each holds the file's lock, and looks whether it still has its name.

use std::fs::{File, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};

use crate::event::UsageEvent;
use crate::event::binary::decode;
use crate::event::json::time_text;
use crate::event::limits::cut;
use crate::sys::clock::unix_ns;
use crate::sys::fs::{append_private, check_private_dir, create_private_dir, is_linked};
use crate::sys::private::PrivateFile;

/// Bytes of dead letters of one destination; what comes after is dropped, and counted so.
const LARGEST: u64 = 16 << 20;
/// Bytes of an answer that are kept with an event.
const LONGEST_REASON: usize = 1024;
/// How long a retry waits for processes that write letters.
const LOCK_WAIT: Duration = Duration::from_secs(3);
const LOCK_POLL: Duration = Duration::from_millis(10);

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
    /// Of an event that is a request, its body.
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<&'a str>,
    record: String,
}

/// What a retry reads of a letter.
#[derive(Deserialize)]
struct Kept {
    record: String,
}

impl DeadLetters {
    /// Letters under `state`; without one there is no room for any.
    pub(super) fn new(state: Option<&Path>, destination: &str) -> Self {
        Self { path: state.map(|state| state.join("dead").join(format!("{destination}.jsonl"))) }
    }

    /// Keeps an event, with the record it was read from, that was refused with this status and reason; says whether there was room.
    ///
    /// # Errors
    /// Those of the operating system; the event must not be given up then.
    pub(super) fn keep(
        &self,
        destination: &str,
        event: &UsageEvent<'_>,
        record: &[u8],
        status: u16,
        reason: &str,
    ) -> io::Result<bool> {
        let Some(path) = &self.path else { return Ok(false) };
        if path.metadata().is_ok_and(|data| data.len() > LARGEST) {
            return Ok(false);
        }
        let (reason, record) = (cut(reason, LONGEST_REASON), BASE64.encode(record));
        let body = event.requests.last().map(|request| request.body);
        let letter = Letter { at: time_text(unix_ns()), destination, status, reason: &reason, event, body, record };
        let mut line = serde_json::to_vec(&letter)?;
        line.push(b'\n');
        if let Some(dir) = path.parent() {
            create_private_dir(dir)?;
        }
        let lock = locked(path, Duration::ZERO)?;
        let mut file = lock.file()?;
        // A line that a full disk broke off is not to take the next one along.
        if !ends_in_a_line(file)? {
            line.insert(0, b'\n');
        }
        file.write_all(&line)?;
        Ok(true)
    }
}

/// Opens a file of letters, and locks it until it is closed. No forked child keeps the lock.
pub(super) fn locked(path: &Path, patience: Duration) -> io::Result<PrivateFile> {
    let deadline = Instant::now() + patience;
    loop {
        let private = PrivateFile::open(|| append_private(path))?;
        let file = private.file()?;
        match file.try_lock() {
            // Whoever had the lock may have put another file in its place.
            Ok(()) => {
                if is_linked(file) {
                    return Ok(private);
                }
            }
            Err(TryLockError::Error(error)) => return Err(error),
            Err(TryLockError::WouldBlock) if Instant::now() >= deadline => {
                return Err(io::Error::new(io::ErrorKind::WouldBlock, "another process has them"));
            }
            Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_POLL),
        }
    }
}

/// Whether a file is empty or ends with a line's end.
fn ends_in_a_line(mut file: &File) -> io::Result<bool> {
    if file.metadata()?.len() == 0 {
        return Ok(true);
    }
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}

/// Puts the dead letters of some destinations under `state` into a journal that nobody holds, from which they are delivered like what a
/// dead process left. Lines that hold no event stay where they are. Returns how many events were put back.
///
/// # Errors
/// Those of the operating system; what was not put back stays a dead letter.
pub fn retry_dead_letters(state: &Path, destinations: &[String]) -> io::Result<u64> {
    let mut count = 0;
    for (path, destination) in files(state)? {
        if destinations.contains(&destination) {
            count += requeue(state, &path, &destination)?;
        }
    }
    Ok(count)
}

/// Deletes the dead letters under `state`; how many there were.
///
/// # Errors
/// Those of the operating system.
pub fn drop_dead_letters(state: &Path) -> io::Result<u64> {
    let mut count = 0;
    for (path, _) in files(state)? {
        let lock = locked(&path, LOCK_WAIT)?;
        count += lines(&read(lock.file()?)?).count() as u64;
        std::fs::remove_file(path)?;
    }
    Ok(count)
}

/// The files of letters, and whose they are.
fn files(state: &Path) -> io::Result<Vec<(PathBuf, String)>> {
    let dir = state.join("dead");
    check_private_dir(state)?;
    check_private_dir(&dir)?;
    let paths = std::fs::read_dir(&dir).into_iter().flatten().flatten().map(|entry| entry.path());
    let named = paths.filter(|path| path.extension().is_some_and(|extension| extension == "jsonl"));
    Ok(named.filter_map(|path| Some((path.clone(), path.file_stem()?.to_str()?.to_owned()))).collect())
}

fn read(mut file: &File) -> io::Result<Vec<u8>> {
    file.rewind()?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Lines that hold something; a disk that was full may have broken one off anywhere.
fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty())
}

fn requeue(state: &Path, path: &Path, destination: &str) -> io::Result<u64> {
    let lock = locked(path, LOCK_WAIT)?;
    let mut records = Vec::new();
    let mut rest = Vec::new();
    for line in lines(&read(lock.file()?)?) {
        let record = serde_json::from_slice(line).ok().and_then(|kept: Kept| BASE64.decode(kept.record).ok());
        match record.filter(|record| decode(record).is_ok()) {
            Some(record) => records.push(record),
            None => rest.extend([line, b"\n"].concat()),
        }
    }
    if records.is_empty() {
        return Ok(0);
    }
    super::requeue::requeue(state, destination, &records, |record, out, _| out.extend_from_slice(record))?;
    // They are in the journal: from here on they come twice at worst, and a destination tells them by their id.
    if rest.is_empty() {
        std::fs::remove_file(path)?;
    } else {
        let draft = path.with_extension("tmp");
        let _ = std::fs::remove_file(&draft);
        append_private(&draft)?.write_all(&rest)?;
        std::fs::rename(draft, path)?;
    }
    Ok(records.len() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::binary::encode;
    use crate::journal::adopt_all;

    #[test]
    fn letters_that_are_put_back_are_a_journal_of_the_same_events() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        let letters = DeadLetters::new(Some(&state), "http-1");
        let records: Vec<_> = (1..=3)
            .map(|id| {
                let event = UsageEvent { id: [id; 16], provider: "p", model: "m", ..UsageEvent::default() };
                let mut record = Vec::new();
                encode(&event, &[], &mut record);
                assert!(letters.keep("http-1", &event, &record, 400, "no").unwrap());
                record
            })
            .collect();
        let path = state.join("dead/http-1.jsonl");
        File::options().append(true).open(&path).unwrap().write_all(b"{\"broken \xc3\n").unwrap();
        let retry = |name: &str| retry_dead_letters(&state, &[name.to_owned()]).unwrap();
        assert_eq!(retry("http-2"), 0);
        assert_eq!(retry("http-1"), 3);
        assert_eq!(std::fs::read(&path).unwrap(), b"{\"broken \xc3\n");
        let (_adopting, orphans) = adopt_all(&state.join("journal"));
        assert!(orphans[0].reader("http-2").unwrap().is_none());
        let batch = orphans[0].reader("http-1").unwrap().unwrap().read(1 << 20);
        assert_eq!(batch.payloads().collect::<Vec<_>>(), records);
        assert_eq!(retry("http-1"), 0);
        assert_eq!(drop_dead_letters(&state).unwrap(), 1);
        assert!(!path.exists());
    }

    #[test]
    fn letters_that_another_holds_are_not_lost_and_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let letters = DeadLetters::new(Some(dir.path()), "http-1");
        let keep = || letters.keep("http-1", &UsageEvent::default(), b"", 400, "no");
        assert!(keep().unwrap());
        let held = locked(&dir.path().join("dead/http-1.jsonl"), Duration::ZERO).unwrap();
        assert_eq!(keep().unwrap_err().kind(), io::ErrorKind::WouldBlock);
        drop(held);
        assert!(keep().unwrap());
    }
}
