//! Spill files: events that a destination did not accept within the configured number of attempts, if its format has such files.
//!
//! Each file is written once, under a unique name. It is read back once the destination accepts events again: its events are requeued
//! in a journal, and then the file is deleted. Files in another format are left alone.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::locked_file::locked;
use super::requeue::requeue;
use crate::event::UsageEvent;
use crate::event::binary::encode;
use crate::protocol::SpillFormat;
use crate::sys::clock::unix_ns;
use crate::sys::fs::{
    create_private_dir, create_private_file, hard_link, list_dir, read_from, remove_file, rename, set_len, sync,
    sync_dir, write_at,
};
use crate::sys::private::PrivateFile;

/// The most bytes of files that are requeued together, into one journal. The others follow later.
const MAX_BYTES: usize = 8 << 20;
/// The most files that are requeued together. All of them are open meanwhile.
const MAX_FILES: usize = 64;
/// After this time the files are requeued even if the destination accepted nothing, because there may be no other events to send.
const FIRST_PAUSE: Duration = Duration::from_mins(1);
/// The longest pause. The pause doubles each time that requeued events are spilled again at once.
const MAX_PAUSE: Duration = Duration::from_mins(5);
/// How many names are tried for a file. Each has 64 random bits.
const NAME_ATTEMPTS: usize = 8;

/// The spilled events of one destination.
pub(super) struct Spill {
    format: Box<dyn SpillFormat>,
    state: PathBuf,
    destination: String,
    /// When to read the files next, unless the destination accepts events before; `None` while this process has no files.
    next_attempt: Option<Instant>,
    /// When events were last requeued.
    recovered_at: Option<Instant>,
    /// How many times in a row they were spilled again within a minute. They may be the cause, even if the destination accepts other
    /// events.
    returns: u32,
    /// Whether events were requeued since the last call of `has_recovered()`.
    has_recovered: bool,
    /// Files that could not be deleted after their events were requeued.
    requeued: HashSet<PathBuf>,
}

impl Spill {
    /// The spill files of a destination whose journals are under `state`.
    pub(super) fn new(format: Box<dyn SpillFormat>, state: &Path, destination: &str) -> Self {
        Self {
            format,
            state: state.to_owned(),
            destination: destination.to_owned(),
            next_attempt: Some(Instant::now() + FIRST_PAUSE),
            recovered_at: None,
            returns: 0,
            has_recovered: false,
            requeued: HashSet::new(),
        }
    }

    /// Writes events to a new file.
    ///
    /// # Errors
    /// I/O errors. Then no file is left.
    pub(super) fn save(&mut self, events: &[Vec<u8>]) -> io::Result<()> {
        if events.is_empty() {
            return Ok(());
        }
        create_private_dir(self.format.dir())?;
        let content = self.format.write(events);
        let unique = || format!("{}-{:016x}", unix_ns(), fastrand::u64(..));
        self.write_once(&content, std::iter::repeat_with(unique).take(NAME_ATTEMPTS))?;
        let now = Instant::now();
        let has_come_back = self.recovered_at.is_some_and(|at| now.duration_since(at) < FIRST_PAUSE);
        self.returns = if has_come_back { self.returns.saturating_add(1) } else { 0 };
        self.next_attempt = Some(now + FIRST_PAUSE.saturating_mul(1 << self.returns.min(10)).min(MAX_PAUSE));
        Ok(())
    }

    /// Writes a file completely or not at all, under the first of these names that is not in use.
    fn write_once(&self, content: &[u8], names: impl Iterator<Item = String>) -> io::Result<()> {
        let dir = self.format.dir();
        for name in names {
            let path = dir.join(self.format.file_name(&name));
            let draft = dir.join(format!(".{name}.tmp"));
            let written = create_private_file(&draft).and_then(|file| {
                write_at(&file, content, 0)?;
                sync(&file)?;
                link(&draft, &path)
            });
            // Remove the draft: it was renamed, or the file has a second name now.
            let _ = remove_file(&draft);
            match written {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(error) => return Err(error),
            }
            // Sync the directory as well, which holds the name. The file is usable even if this fails.
            let _ = sync_dir(dir);
            return Ok(());
        }
        Err(io::Error::new(io::ErrorKind::AlreadyExists, "all names that were tried for a file are in use"))
    }

    /// Whether events were requeued since the last call.
    pub(super) fn has_recovered(&mut self) -> bool {
        std::mem::take(&mut self.has_recovered)
    }

    /// Requeues the events of all files if it is due: the service accepted something, or the time has come. Events that were spilled
    /// again at once wait for the latter.
    ///
    /// # Errors
    /// I/O errors. Events that were not requeued stay in their files for a later attempt.
    pub(super) fn recover(&mut self, now: Instant, was_taken: bool) -> io::Result<()> {
        let is_early = was_taken && self.returns == 0;
        if self.next_attempt.take_if(|at| is_early || now >= *at).is_none() {
            return Ok(());
        }
        let (count, outcome) = self.requeue();
        if count > 0 {
            self.has_recovered = true;
            self.recovered_at = Some(now);
        }
        if count > 0 || outcome.is_err() {
            // There may be more files than are requeued at once.
            self.next_attempt = Some(now + FIRST_PAUSE);
        }
        outcome
    }

    /// Requeues the readable events of all files. Returns their number, and an error if there was one. Files with other content stay.
    /// A file that cannot be deleted is not requeued again by this process.
    pub(super) fn requeue(&mut self) -> (u64, io::Result<()>) {
        self.requeued.retain(|path| matches!(remove_file(path), Err(error) if error.kind() != io::ErrorKind::NotFound));
        let mut outcome = Ok(());
        let files = self.claim_files(&mut outcome).unwrap_or_else(|error| {
            outcome = Err(error);
            Vec::new()
        });
        let events: Vec<_> = files.iter().filter_map(|(_, _, text)| self.format.read(text)).flatten().collect();
        if events.is_empty() {
            return (0, outcome);
        }
        let requeued = requeue(&self.state, &self.destination, &events, |request, out, ids| {
            let requests = vec![*request];
            encode(&UsageEvent { id: ids.next(unix_ns()), requests, ..UsageEvent::default() }, &[], out);
        });
        if let Err(error) = requeued {
            return (0, Err(error));
        }
        for (path, file, _) in &files {
            // If the file cannot be deleted, empty it, so that its events are not requeued again.
            if let Err(error) = remove_file(path).or_else(|_| set_len(file.file()?, 0)) {
                self.requeued.insert(path.clone());
                outcome = Err(error);
            }
        }
        (events.len() as u64, outcome)
    }

    /// The files to requeue and their texts. No other process reads them while they are open.
    fn claim_files(&self, outcome: &mut io::Result<()>) -> io::Result<Vec<(PathBuf, PrivateFile, String)>> {
        let entries = match list_dir(self.format.dir()) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let paths = entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
        let is_own = |path: &PathBuf| {
            let name = path.file_name().and_then(|name| name.to_str());
            name.is_some_and(|name| self.format.is_own(name)) && !self.requeued.contains(path)
        };
        let mut paths: Vec<_> = paths.into_iter().filter(is_own).collect();
        paths.sort();
        let (mut files, mut bytes) = (Vec::new(), 0);
        for path in paths {
            if bytes >= MAX_BYTES || files.len() >= MAX_FILES {
                break;
            }
            match claimed(&path) {
                Ok(Some((file, text))) if self.format.read(&text).is_some_and(|events| !events.is_empty()) => {
                    bytes += text.len();
                    files.push((path, file, text));
                }
                Ok(_) => {}
                // The other files are read nevertheless.
                Err(error) => *outcome = Err(error),
            }
        }
        Ok(files)
    }
}

/// Gives a file its final name. Fails if the name is in use, whereas a rename would replace a file of another process.
fn link(draft: &Path, path: &Path) -> io::Result<()> {
    match hard_link(draft, path) {
        // On file systems without hard links, the 64 random bits must suffice.
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists && !path.try_exists()? => rename(draft, path),
        linked => linked,
    }
}

/// Opens a file that no other process reads while it is open, and returns its text; `None` if another process has it open or if it
/// has no text.
fn claimed(path: &Path) -> io::Result<Option<(PrivateFile, String)>> {
    let private = match locked(path, Duration::ZERO) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
        Err(error) => return Err(error),
    };
    let bytes = read_from(private.file()?, 0, u64::MAX)?;
    if bytes.is_empty() {
        // Another process deleted it before it was opened here.
        remove_file(path)?;
    }
    Ok(String::from_utf8(bytes).ok().filter(|text| !text.is_empty()).map(|text| (private, text)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::binary::decode;
    use crate::journal::{Batch, adopt_all};
    use crate::protocol::{Options, format_named};
    use std::fs;

    fn spill(dir: &Path, state: &Path, account: &str) -> Spill {
        let options =
            Options { accounts: vec![account.to_owned()], spill_dir: Some(dir.to_owned()), ..Options::default() };
        let protocol = (format_named("token_trackr").unwrap().make)(&options);
        Spill::new(protocol.spill().unwrap(), state, &format!("token_trackr-{account}"))
    }

    fn requeue(spill: &mut Spill) -> u64 {
        let (count, outcome) = spill.requeue();
        outcome.unwrap();
        count
    }

    #[test]
    fn an_existing_file_is_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let spill = spill(dir.path(), &dir.path().join("state"), "1");
        let names = |names: [&str; 2]| names.map(str::to_owned).into_iter();
        spill.write_once(b"[1]", names(["same", "other"])).unwrap();
        spill.write_once(b"[2]", names(["same", "other"])).unwrap();
        let read = |name: &str| fs::read_to_string(dir.path().join(spill.format.file_name(name))).unwrap();
        assert_eq!((read("same").as_str(), read("other").as_str()), ("[1]", "[2]"));
        let none = spill.write_once(b"[3]", names(["same", "other"])).unwrap_err();
        assert_eq!(none.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }

    #[test]
    fn events_are_written_once_and_read_back_once_by_their_own_account() {
        let dir = tempfile::tempdir().unwrap();
        let (files, state) = (dir.path().join("files"), dir.path().join("state"));
        let mut spilled = spill(&files, &state, "1");
        assert_eq!(requeue(&mut spilled), 0);
        let events = [br#"{"model": "a"}"#.to_vec(), br#"{"model": "b"}"#.to_vec()];
        spilled.save(&events).unwrap();
        spilled.save(&events[..1]).unwrap();
        spilled.save(&[]).unwrap();
        let original = files.join("events_1764316536.json");
        fs::write(&original, "[{}]").unwrap();
        assert_eq!(fs::read_dir(&files).unwrap().count(), 3);
        assert_eq!(requeue(&mut spill(&files, &state, "2")), 0);
        // Not before the service accepts something or a minute is over; then once.
        let now = Instant::now();
        spilled.recover(now, false).unwrap();
        assert!(!spilled.has_recovered());
        spilled.recover(now, true).unwrap();
        assert!(spilled.has_recovered() && !spilled.has_recovered());
        assert_eq!(fs::read_dir(&files).unwrap().count(), 1);
        spilled.recover(now + MAX_PAUSE, true).unwrap();
        assert!(!spilled.has_recovered());
        // Events that were spilled again at once are not retried whenever the service accepts something else.
        spilled.save(&events[..1]).unwrap();
        spilled.recover(Instant::now(), true).unwrap();
        assert!(!spilled.has_recovered());
        spilled.recover(Instant::now() + MAX_PAUSE, false).unwrap();
        assert!(spilled.has_recovered());
        let (_adopting, orphans) = adopt_all(&state.join("journal"));
        let readers = orphans.iter().filter_map(|orphan| orphan.reader("token_trackr-1").unwrap());
        let batches: Vec<_> = readers.map(|reader| reader.read(1 << 20)).collect();
        let bodies: Vec<_> =
            batches.iter().flat_map(Batch::payloads).map(|payload| decode(payload).unwrap().requests[0].body).collect();
        assert_eq!(bodies.len(), 4);
        assert_eq!(bodies.iter().filter(|body| **body == r#"{"model": "a"}"#).count(), 3);
    }

    #[test]
    fn a_file_with_other_content_stays() {
        let dir = tempfile::tempdir().unwrap();
        let mut spilled = spill(dir.path(), &dir.path().join("state"), "1");
        let paths = ["events_1-1.json", "events_2-1.json", "events_3-1.json"].map(|name| dir.path().join(name));
        fs::write(&paths[0], "[{}").unwrap();
        fs::write(&paths[1], b"[\xff]").unwrap();
        fs::write(&paths[2], "[{}]").unwrap();
        assert_eq!(requeue(&mut spilled), 1);
        assert_eq!(paths.map(|path| path.exists()), [true, true, false]);
    }

    #[test]
    fn files_with_other_content_do_not_block_the_others() {
        let dir = tempfile::tempdir().unwrap();
        let mut spilled = spill(dir.path(), &dir.path().join("state"), "1");
        for index in 0..MAX_FILES {
            fs::write(dir.path().join(format!("events_1{index}-1.json")), "[{}").unwrap();
        }
        fs::write(dir.path().join("events_2-1.json"), "[{}]").unwrap();
        assert_eq!(requeue(&mut spilled), 1);
    }
}
