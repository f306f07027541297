//! Events that a destination refused for good, kept beside the journals with the reason, one JSON object a line.
//!
//! ```text
//! <state>/dead/<destination>.jsonl   {"at", "destination", "status", "reason", "event": {…}, "record": "…"}
//! ```
//!
//! `event` is for people; `record` is the journal's own, in base64, from which a retry makes the same event. Several processes append
//! to one file, and a retry empties it: each holds the file's lock, and looks whether it still has its name.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};

use super::locked_file::locked;
use crate::event::UsageEvent;
use crate::event::binary::decode;
use crate::event::id::id_text;
use crate::event::json::time_text;
use crate::event::limits::cut;
use crate::sys::clock::unix_ns;
use crate::sys::fs::{append_private, check_private_dir, create_private_dir, file_identity};

/// Bytes of dead letters of one destination; what comes after is dropped, and counted so.
const LARGEST: u64 = 16 << 20;
/// Bytes of an answer that are kept with an event.
const LONGEST_REASON: usize = 1024;
/// Bytes of a file of letters that are read at once: more than such a file holds.
const READ_LIMIT: u64 = 4 * LARGEST;
/// How long a retry waits for processes that write letters.
const LOCK_WAIT: Duration = Duration::from_secs(3);

/// The dead letters of one destination. An event has one line at most, however often it comes back.
pub(super) struct DeadLetters {
    path: Option<PathBuf>,
    index: Index,
}

/// Which events have a line, as far as the file has been read.
#[derive(Default)]
struct Index {
    /// Of the file that was read.
    identity: Option<(u64, u64)>,
    /// Bytes of it that were read.
    read: u64,
    ids: HashSet<String>,
}

/// What became of an event that a destination refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kept {
    /// It has a line now.
    Written,
    /// It had one already.
    Known,
    /// There is no space for it, or no state directory.
    NoRoom,
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
struct Retried {
    record: String,
}

/// What tells the event of a letter.
#[derive(Deserialize)]
struct Named {
    event: NamedEvent,
}

#[derive(Deserialize)]
struct NamedEvent {
    id: String,
}

impl DeadLetters {
    /// Letters under `state`; without one there is no room for any.
    pub(super) fn new(state: Option<&Path>, destination: &str) -> Self {
        Self {
            path: state.map(|state| state.join("dead").join(format!("{destination}.jsonl"))),
            index: Index::default(),
        }
    }

    /// Keeps an event, with the record it was read from, that was refused with this status and reason.
    ///
    /// # Errors
    /// Those of the operating system; the event must not be given up then.
    pub(super) fn keep(
        &mut self,
        destination: &str,
        event: &UsageEvent<'_>,
        record: &[u8],
        status: u16,
        reason: &str,
    ) -> io::Result<Kept> {
        let Some(path) = &self.path else { return Ok(Kept::NoRoom) };
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
        self.index.catch_up(path, file)?;
        let id = id_text(event.id);
        if self.index.ids.contains(&id) {
            return Ok(Kept::Known);
        }
        let length = file.metadata()?.len();
        if length > LARGEST {
            return Ok(Kept::NoRoom);
        }
        // A line that a crash cut off must not spoil the next one.
        if !ends_in_a_line(file)? {
            line.insert(0, b'\n');
        }
        if let Err(error) = file.write_all(&line) {
            // A line that a full disk cut off is removed: it is written again.
            let _ = file.set_len(length);
            return Err(error);
        }
        Ok(Kept::Written)
    }
}

impl Index {
    /// Reads what was written to a file since the last time, by this process or another; all of it where it is another file.
    fn catch_up(&mut self, path: &Path, mut file: &File) -> io::Result<()> {
        let identity = file_identity(path);
        if identity != self.identity || file.metadata()?.len() < self.read {
            *self = Self { identity, ..Self::default() };
        }
        file.seek(SeekFrom::Start(self.read))?;
        let mut bytes = Vec::new();
        file.take(READ_LIMIT).read_to_end(&mut bytes)?;
        // A line without its end may be in the middle of being written.
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        for line in lines(&bytes[..whole]) {
            if let Ok(Named { event }) = serde_json::from_slice(line) {
                self.ids.insert(event.id);
            }
        }
        self.read += whole as u64;
        Ok(())
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

/// Requeues the dead letters of some destinations under `state`: they go into a journal without an owner, from which they are delivered
/// like those of a process that ended. Lines that hold no event stay where they are. Returns how many events were put back.
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
    let mut records: Vec<Vec<u8>> = Vec::new();
    let (mut ids, mut rest) = (HashSet::new(), Vec::new());
    for line in lines(&read(lock.file()?)?) {
        let record = serde_json::from_slice(line).ok().and_then(|kept: Retried| BASE64.decode(kept.record).ok());
        let id = record.as_deref().and_then(|record| Some(decode(record).ok()?.id));
        match (record, id) {
            // An event with two lines, from an earlier version, is requeued once.
            (Some(record), Some(id)) if ids.insert(id) => records.push(record),
            (Some(_), Some(_)) => {}
            _ => rest.extend([line, b"\n"].concat()),
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
        let mut letters = DeadLetters::new(Some(&state), "http-1");
        let records: Vec<_> = (1..=3)
            .map(|id| {
                let event = UsageEvent { id: [id; 16], provider: "p", model: "m", ..UsageEvent::default() };
                let mut record = Vec::new();
                encode(&event, &[], &mut record);
                let keep = |letters: &mut DeadLetters| letters.keep("http-1", &event, &record, 400, "no").unwrap();
                assert_eq!((keep(&mut letters), keep(&mut letters)), (Kept::Written, Kept::Known));
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
        let mut letters = DeadLetters::new(Some(dir.path()), "http-1");
        let mut keep =
            |id| letters.keep("http-1", &UsageEvent { id: [id; 16], ..UsageEvent::default() }, b"", 400, "no");
        assert_eq!(keep(1).unwrap(), Kept::Written);
        let held = locked(&dir.path().join("dead/http-1.jsonl"), Duration::ZERO).unwrap();
        assert_eq!(keep(2).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        drop(held);
        assert_eq!(keep(2).unwrap(), Kept::Written);
    }

    #[test]
    fn an_event_that_comes_back_to_several_processes_has_one_line() {
        let dir = tempfile::tempdir().unwrap();
        let event = |id| UsageEvent { id: [id; 16], provider: "p", model: "m", ..UsageEvent::default() };
        let [mut first, mut second] = [(); 2].map(|()| DeadLetters::new(Some(dir.path()), "http-1"));
        let keep = |letters: &mut DeadLetters, id| letters.keep("http-1", &event(id), b"", 400, "no").unwrap();
        assert_eq!((keep(&mut first, 1), keep(&mut second, 1)), (Kept::Written, Kept::Known));
        assert_eq!((keep(&mut second, 2), keep(&mut first, 2)), (Kept::Written, Kept::Known));
        let path = dir.path().join("dead/http-1.jsonl");
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 2);
        // Another file has its name.
        assert_eq!(drop_dead_letters(dir.path()).unwrap(), 2);
        assert_eq!((keep(&mut first, 1), keep(&mut second, 1)), (Kept::Written, Kept::Known));
    }

    #[test]
    fn what_is_no_regular_file_is_not_opened() {
        let dir = tempfile::tempdir().unwrap();
        let dead = dir.path().join("dead");
        create_private_dir(&dead).unwrap();
        std::fs::create_dir(dead.join("http-1.jsonl")).unwrap();
        let mut letters = DeadLetters::new(Some(dir.path()), "http-1");
        assert!(letters.keep("http-1", &UsageEvent::default(), b"", 400, "no").is_err());
    }
}
