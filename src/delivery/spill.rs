//! Files for events that a destination did not take in as many attempts as it was to have, where its format has such files.
//!
//! Each file is written once, under a name that is in use nowhere else, and read back once the destination takes something again: its
//! events go into a journal, and then the file is deleted. Files that are not in the format stay as they are.

use std::collections::HashSet;
use std::fs::File;
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
    write_at,
};
use crate::sys::private::PrivateFile;

/// Bytes of files that are requeued together, into one journal; the others follow when these are delivered.
const MOST_AT_ONCE: usize = 8 << 20;
/// Likewise so many files, each of which is open meanwhile.
const MOST_FILES: usize = 64;
/// After this the files are looked at, though the destination took nothing meanwhile: there may be nothing else to bring it.
const FIRST_LOOK: Duration = Duration::from_mins(1);
/// The pause doubles up to this with every time that events come back at once.
const LONGEST_PAUSE: Duration = Duration::from_mins(5);
/// How many names are tried for a file; each has 64 random bits.
const NAMES: usize = 8;

/// The spilled events of one destination.
pub(super) struct Spill {
    format: Box<dyn SpillFormat>,
    state: PathBuf,
    destination: String,
    /// When the files are read next, if the destination accepts nothing before; `None` while this process has no files.
    looks_at: Option<Instant>,
    /// When events were requeued from here last.
    recovered_at: Option<Instant>,
    /// How often in a row they came back within a minute: it may be their own fault, whatever else the destination takes.
    returns: u32,
    /// Whether events were requeued.
    has_recovered: bool,
    /// Files whose events were requeued, that could not be deleted.
    requeued: HashSet<PathBuf>,
}

impl Spill {
    /// Files in a format for a destination whose journals are under `state`.
    pub(super) fn new(format: Box<dyn SpillFormat>, state: &Path, destination: &str) -> Self {
        Self {
            format,
            state: state.to_owned(),
            destination: destination.to_owned(),
            looks_at: Some(Instant::now() + FIRST_LOOK),
            recovered_at: None,
            returns: 0,
            has_recovered: false,
            requeued: HashSet::new(),
        }
    }

    /// Writes events into a file of their own.
    ///
    /// # Errors
    /// Those of the operating system; then no file is left.
    pub(super) fn save(&mut self, events: &[Vec<u8>]) -> io::Result<()> {
        if events.is_empty() {
            return Ok(());
        }
        create_private_dir(self.format.dir())?;
        let content = self.format.write(events);
        let unique = || format!("{}-{:016x}", unix_ns(), fastrand::u64(..));
        self.write_once(&content, std::iter::repeat_with(unique).take(NAMES))?;
        let now = Instant::now();
        let has_come_back = self.recovered_at.is_some_and(|at| now.duration_since(at) < FIRST_LOOK);
        self.returns = if has_come_back { self.returns.saturating_add(1) } else { 0 };
        self.looks_at = Some(now + FIRST_LOOK.saturating_mul(1 << self.returns.min(10)).min(LONGEST_PAUSE));
        Ok(())
    }

    /// Writes a file under the first of these names that is not in use, whole or not at all.
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
            // Renamed, or one name too many.
            let _ = remove_file(&draft);
            match written {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(error) => return Err(error),
            }
            // Its name is in the directory, which is a file of its own to a disk. What cannot be synced is there all the same.
            let _ = File::open(dir).and_then(|dir| dir.sync_all());
            return Ok(());
        }
        Err(io::Error::new(io::ErrorKind::AlreadyExists, "every name that was tried for a file is in use"))
    }

    /// Whether events were requeued since this was asked last.
    pub(super) fn has_recovered(&mut self) -> bool {
        std::mem::take(&mut self.has_recovered)
    }

    /// Puts the events of all files back into a journal, when that is due: the service took something, or it is time to look. Those
    /// that came back at once before wait for the latter.
    ///
    /// # Errors
    /// Those of the operating system; what was not put back stays in its file, and is looked at later.
    pub(super) fn recover(&mut self, now: Instant, was_taken: bool) -> io::Result<()> {
        let is_early = was_taken && self.returns == 0;
        if self.looks_at.take_if(|at| is_early || now >= *at).is_none() {
            return Ok(());
        }
        let (count, outcome) = self.requeue();
        if count > 0 {
            self.has_recovered = true;
            self.recovered_at = Some(now);
        }
        if count > 0 || outcome.is_err() {
            // There may be more than are put back at once.
            self.looks_at = Some(now + FIRST_LOOK);
        }
        outcome
    }

    /// Requeues the events of all files, as far as they can be read; how many there were, and an error if there was one. A file that
    /// holds something else stays. One that cannot be deleted is not requeued again by this process.
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
            // One that cannot be deleted is emptied, so that nothing of it is requeued again.
            if let Err(error) = remove_file(path).or_else(|_| set_len(file.file()?, 0)) {
                self.requeued.insert(path.clone());
                outcome = Err(error);
            }
        }
        (events.len() as u64, outcome)
    }

    /// The files that are to be requeued, which no other process reads as long as they are open, and their texts.
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
            if bytes >= MOST_AT_ONCE || files.len() >= MOST_FILES {
                break;
            }
            match claimed(&path) {
                Ok(Some((file, text))) if self.format.read(&text).is_some_and(|events| !events.is_empty()) => {
                    bytes += text.len();
                    files.push((path, file, text));
                }
                Ok(_) => {}
                // The other files are read all the same.
                Err(error) => *outcome = Err(error),
            }
        }
        Ok(files)
    }
}

/// Gives a file its name, which must not be in use: a rename would replace a file of another process.
fn link(draft: &Path, path: &Path) -> io::Result<()> {
    match hard_link(draft, path) {
        // Some file systems have no second names. There, 64 random bits have to do.
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists && !path.try_exists()? => rename(draft, path),
        linked => linked,
    }
}

/// A file that no other process reads, for as long as it is open, and its text; nothing where another process has it, or where it has no
/// text.
fn claimed(path: &Path) -> io::Result<Option<(PrivateFile, String)>> {
    let private = match locked(path, Duration::ZERO) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
        Err(error) => return Err(error),
    };
    let bytes = read_from(private.file()?, 0, u64::MAX)?;
    if bytes.is_empty() {
        // It was deleted before it was opened.
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
        let options = Options { accounts: vec![account.to_owned()], spill_dir: Some(dir.to_owned()), cloud: None };
        let protocol = (format_named("token_trackr").unwrap().make)(&options);
        Spill::new(protocol.spill().unwrap(), state, &format!("token_trackr-{account}"))
    }

    fn requeue(spill: &mut Spill) -> u64 {
        let (count, outcome) = spill.requeue();
        outcome.unwrap();
        count
    }

    #[test]
    fn a_file_that_has_the_name_already_is_not_replaced() {
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
        // Not before the service takes something, or a minute is over; then once.
        let now = Instant::now();
        spilled.recover(now, false).unwrap();
        assert!(!spilled.has_recovered());
        spilled.recover(now, true).unwrap();
        assert!(spilled.has_recovered() && !spilled.has_recovered());
        assert_eq!(fs::read_dir(&files).unwrap().count(), 1);
        spilled.recover(now + LONGEST_PAUSE, true).unwrap();
        assert!(!spilled.has_recovered());
        // What comes back at once is not tried again with everything else that the service takes.
        spilled.save(&events[..1]).unwrap();
        spilled.recover(Instant::now(), true).unwrap();
        assert!(!spilled.has_recovered());
        spilled.recover(Instant::now() + LONGEST_PAUSE, false).unwrap();
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
    fn a_file_that_holds_something_else_stays() {
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
    fn files_that_hold_something_else_keep_none_from_its_turn() {
        let dir = tempfile::tempdir().unwrap();
        let mut spilled = spill(dir.path(), &dir.path().join("state"), "1");
        for index in 0..MOST_FILES {
            fs::write(dir.path().join(format!("events_1{index}-1.json")), "[{}").unwrap();
        }
        fs::write(dir.path().join("events_2-1.json"), "[{}]").unwrap();
        assert_eq!(requeue(&mut spilled), 1);
    }
}
