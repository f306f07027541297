//! Dead letters: events that a destination rejected for good, kept beside the journals with the reason, as one JSON object per line.
//!
//! ```text
//! <state>/dead/<destination>.jsonl   {"at", "destination", "status", "reason", "event": {…}, "record": "…"}
//! ```
//!
//! `event` is for people. `record` is the journal's record in base64, from which a retry restores the event. Several processes append
//! to one file, and a retry replaces it. Each locks the file, and checks that the file still has its name.

use std::collections::HashSet;
use std::fs::File;
use std::io;
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
use crate::sys::fs::{
    append_all, append_private, check_private_dir, create_private_dir, file_identity, list_dir, metadata, read_at,
    read_from, remove_file, rename, set_len, sync,
};

/// The most bytes of dead letters of one destination. Later ones are dropped and counted.
const MAX_FILE_BYTES: u64 = 16 << 20;
/// The most bytes of a response that are kept with an event.
const MAX_REASON_BYTES: usize = 1024;
/// The most bytes of a file of letters that are read at once. No such file is larger.
const READ_LIMIT: u64 = 4 * MAX_FILE_BYTES;
/// How long a retry waits for processes that are writing letters.
const LOCK_WAIT: Duration = Duration::from_secs(3);

/// The dead letters of one destination. An event has at most one line, however often it is rejected.
pub(super) struct DeadLetters {
    path: Option<PathBuf>,
    index: Index,
}

/// The ids of the events in the file, as far as it was read.
#[derive(Default)]
struct Index {
    /// The identity of the file that was read.
    identity: Option<(u64, u64)>,
    /// The number of bytes that were read.
    read: u64,
    /// The last line that was read. A new file may get the identity of a deleted one, but has another line at this position.
    last: Vec<u8>,
    ids: HashSet<String>,
}

/// The result of keeping an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kept {
    /// A line was written.
    Written,
    /// The event already has a line.
    Known,
    /// There is no space left, or no state directory.
    NoRoom,
}

#[derive(Serialize)]
struct Letter<'a> {
    at: String,
    destination: &'a str,
    status: u16,
    reason: &'a str,
    event: &'a UsageEvent<'a>,
    /// The body of an event that is a request.
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<&'a str>,
    record: String,
}

/// The part of a letter that a retry reads.
#[derive(Deserialize)]
struct Retried {
    record: String,
}

/// The part of a letter that identifies its event.
#[derive(Deserialize)]
struct Named {
    event: NamedEvent,
}

#[derive(Deserialize)]
struct NamedEvent {
    id: String,
}

impl DeadLetters {
    /// The letters under the state directory; without one, none can be kept.
    pub(super) fn new(state: Option<&Path>, destination: &str) -> Self {
        Self {
            path: state.map(|state| state.join("dead").join(format!("{destination}.jsonl"))),
            index: Index::default(),
        }
    }

    /// Keeps an event and its record after a response with this status and reason.
    ///
    /// # Errors
    /// I/O errors. Then the event must stay in its batch.
    pub(super) fn keep(
        &mut self,
        destination: &str,
        event: &UsageEvent<'_>,
        record: &[u8],
        status: u16,
        reason: &str,
    ) -> io::Result<Kept> {
        let Some(path) = &self.path else { return Ok(Kept::NoRoom) };
        let (reason, record) = (cut(reason, MAX_REASON_BYTES), BASE64.encode(record));
        let body = event.requests.last().map(|request| request.body);
        let letter = Letter { at: time_text(unix_ns()), destination, status, reason: &reason, event, body, record };
        let mut line = serde_json::to_vec(&letter)?;
        line.push(b'\n');
        if let Some(dir) = path.parent() {
            create_private_dir(dir)?;
        }
        let lock = locked(path, Duration::ZERO)?;
        let file = lock.file()?;
        // A crash may have cut off the last line; it must not damage the next one. Perhaps only its line end is missing.
        if !ends_in_a_line(file)? {
            append_all(file, b"\n")?;
        }
        self.index.catch_up(path, file)?;
        let id = id_text(event.id);
        if self.index.ids.contains(&id) {
            return Ok(Kept::Known);
        }
        let length = metadata(file)?.len();
        if length > MAX_FILE_BYTES {
            return Ok(Kept::NoRoom);
        }
        if let Err(error) = append_all(file, &line) {
            // If the disk was full in the middle of the line, remove the part. The line will be written again.
            let _ = set_len(file, length);
            return Err(error);
        }
        Ok(Kept::Written)
    }
}

impl Index {
    /// Reads the lines that this or another process added since the last time, or the whole file if it is another one.
    fn catch_up(&mut self, path: &Path, file: &File) -> io::Result<()> {
        let identity = file_identity(path);
        let from = self.read - self.last.len() as u64;
        let mut bytes = read_from(file, from, READ_LIMIT)?;
        if identity != self.identity || !bytes.starts_with(&self.last) {
            *self = Self { identity, ..Self::default() };
            bytes = read_from(file, 0, READ_LIMIT)?;
        }
        // Another process may be writing the last line if it has no line end.
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let new = &bytes[self.last.len()..whole];
        for line in lines(new) {
            if let Ok(Named { event }) = serde_json::from_slice(line) {
                self.ids.insert(event.id);
            }
        }
        self.read += new.len() as u64;
        if let Some(last) = new.split_inclusive(|byte| *byte == b'\n').next_back() {
            self.last = last.to_vec();
        }
        Ok(())
    }
}

/// Whether a file is empty or ends with a line end.
fn ends_in_a_line(file: &File) -> io::Result<bool> {
    let Some(end) = metadata(file)?.len().checked_sub(1) else { return Ok(true) };
    let mut last = [0];
    read_at(file, &mut last, end)?;
    Ok(last == *b"\n")
}

/// Requeues the dead letters of some destinations under `state`: writes them to a journal without an owner, from which they are
/// delivered like the events of ended processes. Lines without a valid event stay. Returns the number of requeued events.
///
/// # Errors
/// I/O errors. Events that were not requeued stay dead letters.
pub fn retry_dead_letters(state: &Path, destinations: &[String]) -> io::Result<u64> {
    let mut count = 0;
    for (path, destination) in files(state)? {
        if destinations.contains(&destination) {
            count += requeue(state, &path, &destination)?;
        }
    }
    Ok(count)
}

/// Deletes the dead letters under `state`. Returns how many there were.
///
/// # Errors
/// I/O errors.
pub fn drop_dead_letters(state: &Path) -> io::Result<u64> {
    let mut count = 0;
    for (path, _) in files(state)? {
        let lock = locked(&path, LOCK_WAIT)?;
        let letters = lines(&read_from(lock.file()?, 0, u64::MAX)?).count() as u64;
        remove_file(&path)?;
        count += letters;
    }
    Ok(count)
}

/// The files of dead letters, with their destinations.
fn files(state: &Path) -> io::Result<Vec<(PathBuf, String)>> {
    let dir = state.join("dead");
    check_private_dir(state)?;
    check_private_dir(&dir)?;
    let listed = match list_dir(&dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        listed => listed?,
    };
    let paths = listed.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    let named = paths.into_iter().filter(|path| path.extension().is_some_and(|extension| extension == "jsonl"));
    Ok(named.filter_map(|path| Some((path.clone(), path.file_stem()?.to_str()?.to_owned()))).collect())
}

/// The lines that are not empty. If the disk was full, a line may be cut off anywhere.
fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty())
}

fn requeue(state: &Path, path: &Path, destination: &str) -> io::Result<u64> {
    let lock = locked(path, LOCK_WAIT)?;
    let mut records: Vec<Vec<u8>> = Vec::new();
    let (mut ids, mut rest) = (HashSet::new(), Vec::new());
    for line in lines(&read_from(lock.file()?, 0, u64::MAX)?) {
        let record = serde_json::from_slice(line).ok().and_then(|kept: Retried| BASE64.decode(kept.record).ok());
        let id = record.as_deref().and_then(|record| Some(decode(record).ok()?.id));
        match (record, id) {
            // An earlier version could write two lines for an event. It is requeued once.
            (Some(record), Some(id)) if ids.insert(id) => records.push(record),
            (Some(_), Some(_)) => {}
            _ => rest.extend([line, b"\n"].concat()),
        }
    }
    if records.is_empty() {
        return Ok(0);
    }
    super::requeue::requeue(state, destination, &records, |record, out, _| out.extend_from_slice(record))?;
    // The events are in the journal now. From here on they may at worst come twice, and a destination recognizes them by id.
    if rest.is_empty() {
        remove_file(path)?;
    } else {
        let draft = path.with_extension("tmp");
        match remove_file(&draft) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = append_private(&draft)?;
        append_all(&file, &rest)?;
        sync(&file)?;
        rename(&draft, path)?;
    }
    Ok(records.len() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::binary::encode;
    use crate::journal::adopt_all;
    use crate::sys::filesystem::{Fault, break_files};

    #[test]
    fn requeued_letters_become_a_journal_of_the_same_events() {
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
        append_private(&path).map(|file| append_all(&file, b"{\"broken \xc3\n")).unwrap().unwrap();
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
    fn a_locked_file_of_letters_loses_nothing_and_is_not_waited_for() {
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
    fn an_event_rejected_in_several_processes_has_one_line() {
        let dir = tempfile::tempdir().unwrap();
        let event = |id| UsageEvent { id: [id; 16], provider: "p", model: "m", ..UsageEvent::default() };
        let [mut first, mut second] = [(); 2].map(|()| DeadLetters::new(Some(dir.path()), "http-1"));
        let keep = |letters: &mut DeadLetters, id| letters.keep("http-1", &event(id), b"", 400, "no").unwrap();
        assert_eq!((keep(&mut first, 1), keep(&mut second, 1)), (Kept::Written, Kept::Known));
        assert_eq!((keep(&mut second, 2), keep(&mut first, 2)), (Kept::Written, Kept::Known));
        let path = dir.path().join("dead/http-1.jsonl");
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 2);
        // Another file now has its name.
        assert_eq!(drop_dead_letters(dir.path()).unwrap(), 2);
        assert_eq!((keep(&mut first, 1), keep(&mut second, 1)), (Kept::Written, Kept::Known));
    }

    #[test]
    fn a_new_file_with_the_identity_of_a_deleted_one_is_read_from_the_start() {
        let dir = tempfile::tempdir().unwrap();
        let event = |id| UsageEvent { id: [id; 16], provider: "p", model: "m", ..UsageEvent::default() };
        let [mut first, mut second] = [(); 2].map(|()| DeadLetters::new(Some(dir.path()), "http-1"));
        let keep = |letters: &mut DeadLetters, id| letters.keep("http-1", &event(id), b"", 400, "no").unwrap();
        keep(&mut first, 1);
        std::fs::write(dir.path().join("dead/http-1.jsonl"), b"").unwrap();
        assert_eq!([2, 3].map(|id| keep(&mut second, id)), [Kept::Written; 2]);
        assert_eq!(keep(&mut first, 1), Kept::Written, "its line is gone");
        assert_eq!(keep(&mut first, 2), Kept::Known);
    }

    #[test]
    fn a_directory_of_letters_that_cannot_be_listed_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(drop_dead_letters(dir.path()).unwrap(), 0);
        DeadLetters::new(Some(dir.path()), "http-1").keep("http-1", &UsageEvent::default(), b"", 400, "no").unwrap();
        break_files(Some(Fault::Descriptors));
        let outcomes = [drop_dead_letters(dir.path()), retry_dead_letters(dir.path(), &["http-1".to_owned()])];
        break_files(None);
        assert!(outcomes.iter().all(Result::is_err), "{outcomes:?}");
        assert_eq!(drop_dead_letters(dir.path()).unwrap(), 1);
    }

    #[test]
    fn irregular_files_are_not_opened() {
        let dir = tempfile::tempdir().unwrap();
        let dead = dir.path().join("dead");
        create_private_dir(&dead).unwrap();
        std::fs::create_dir(dead.join("http-1.jsonl")).unwrap();
        let mut letters = DeadLetters::new(Some(dir.path()), "http-1");
        assert!(letters.keep("http-1", &UsageEvent::default(), b"", 400, "no").is_err());
    }
}
