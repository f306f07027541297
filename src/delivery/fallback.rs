//! Files for events that a service did not take in as many attempts as it was to have.
//!
//! ```text
//! <dir>/events_<nanoseconds since the Unix epoch>-<account>.json   a JSON array of the events, as the service takes them
//! ```
//!
//! Each file is written once, under a name that nobody else has, and read back once the service takes something again: its events go
//! into a journal, and then it goes. Files of other accounts, and those that the original SDK wrote, whose events it had sent or kept
//! besides, stay as they are.

use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::value::RawValue;

use super::dead_letter::locked;
use super::requeue::requeue;
use crate::event::binary::encode;
use crate::event::{Outgoing, UsageEvent};
use crate::protocol::TokenTrackr;
use crate::sys::clock::unix_ns;
use crate::sys::fs::{append_private, create_private_dir};
use crate::sys::private::PrivateFile;

const PREFIX: &str = "events_";
/// Bytes of files that are put back together, into one journal; the others' turn is when these are delivered.
const MOST_AT_ONCE: usize = 8 << 20;
/// Likewise so many files, each of which is open meanwhile.
const MOST_FILES: usize = 64;
/// After this the files are looked at, though the service took nothing meanwhile: there may be nothing else to bring it.
const FIRST_LOOK: Duration = Duration::from_mins(1);
/// The pause doubles up to this with every time that events come back at once.
const LONGEST_PAUSE: Duration = Duration::from_mins(5);

/// The fallback of one account.
pub(super) struct Fallback {
    dir: PathBuf,
    state: PathBuf,
    destination: String,
    /// The ends of its files' names; the first is that of those which are written.
    suffixes: Vec<String>,
    /// When the files are looked at, if the service takes nothing before; `None` while there are none of this process's.
    looks_at: Option<Instant>,
    /// When events went from here into a journal last.
    recovered_at: Option<Instant>,
    /// How often in a row they came back within a minute: it may be their own fault, whatever else the service takes.
    returns: u32,
    /// Whether events went from here into a journal.
    has_recovered: bool,
}

impl Fallback {
    /// That of the first of these accounts; the files of the others are taken over.
    pub(super) fn new(dir: &Path, state: &Path, destination: &str, accounts: &[String]) -> Self {
        Self {
            dir: dir.to_owned(),
            state: state.to_owned(),
            destination: destination.to_owned(),
            suffixes: accounts.iter().map(|account| format!("-{account}.json")).collect(),
            looks_at: Some(Instant::now() + FIRST_LOOK),
            recovered_at: None,
            returns: 0,
            has_recovered: false,
        }
    }

    /// Writes events into a file of their own.
    ///
    /// # Errors
    /// Those of the operating system; then there is none.
    pub(super) fn save(&mut self, events: &[Vec<u8>]) -> io::Result<()> {
        if events.is_empty() {
            return Ok(());
        }
        create_private_dir(&self.dir)?;
        let suffix = self.suffixes.first().map_or(".json", String::as_str);
        let name = format!("{PREFIX}{}{suffix}", unix_ns());
        let draft = self.dir.join(format!(".{name}.tmp"));
        let mut content = b"[".to_vec();
        content.extend(events.join(&b", "[..]));
        content.extend(b"]\n");
        let written = append_private(&draft).and_then(|mut file| {
            file.write_all(&content)?;
            file.sync_data()
        });
        written.and_then(|()| fs::rename(&draft, self.dir.join(name))).inspect_err(|_| {
            let _ = fs::remove_file(&draft);
        })?;
        // Its name is in the directory, which is a file of its own to a disk. What cannot be synced is there all the same.
        let _ = fs::File::open(&self.dir).and_then(|dir| dir.sync_all());
        let now = Instant::now();
        let has_come_back = self.recovered_at.is_some_and(|at| now.duration_since(at) < FIRST_LOOK);
        self.returns = if has_come_back { self.returns.saturating_add(1) } else { 0 };
        self.looks_at = Some(now + FIRST_LOOK.saturating_mul(1 << self.returns.min(10)).min(LONGEST_PAUSE));
        Ok(())
    }

    /// Whether events went from here into a journal since this was asked last.
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
        let count = self.requeue().inspect_err(|_| self.looks_at = Some(now + FIRST_LOOK))?;
        if count > 0 {
            self.has_recovered = true;
            self.recovered_at = Some(now);
            // There may be more than are put back at once.
            self.looks_at = Some(now + FIRST_LOOK);
        }
        Ok(())
    }

    /// Puts the events of all files back; how many there were. A file that holds something else stays.
    fn requeue(&self) -> io::Result<u64> {
        let entries = match fs::read_dir(&self.dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
            Err(error) => return Err(error),
        };
        let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).filter(|path| self.is_own(path)).collect();
        paths.sort();
        let (mut files, mut events, mut bytes, mut failure) = (Vec::new(), Vec::new(), 0, None);
        for path in paths {
            if bytes >= MOST_AT_ONCE || files.len() >= MOST_FILES {
                break;
            }
            match claimed(&path) {
                Ok(Some((file, text))) => {
                    let held: Vec<Box<RawValue>> = serde_json::from_str(&text).unwrap_or_default();
                    if !held.is_empty() {
                        bytes += text.len();
                        files.push((path, file));
                        events.extend(held);
                    }
                }
                Ok(None) => {}
                // Others are no worse for it.
                Err(error) => failure = Some(error),
            }
        }
        if !events.is_empty() {
            requeue(&self.state, &self.destination, &events, |body, out, ids| {
                let requests = vec![Outgoing { path: TokenTrackr::COMPLETE, body: body.get() }];
                encode(&UsageEvent { id: ids.next(unix_ns()), requests, ..UsageEvent::default() }, &[], out);
            })?;
        }
        for (path, file) in &files {
            // One that cannot be deleted is emptied, so that nothing of it is put back again.
            fs::remove_file(path).or_else(|_| file.file()?.set_len(0))?;
        }
        match failure {
            Some(error) if events.is_empty() => Err(error),
            _ => Ok(events.len() as u64),
        }
    }

    fn is_own(&self, path: &Path) -> bool {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.starts_with(PREFIX) && self.suffixes.iter().any(|suffix| name.ends_with(suffix))
    }
}

/// A file that nobody else reads, for as long as it is open, and its text; nothing where another process has it, or where it holds no text.
fn claimed(path: &Path) -> io::Result<Option<(PrivateFile, String)>> {
    let private = match locked(path, Duration::ZERO) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    private.file()?.read_to_end(&mut bytes)?;
    if bytes.is_empty() {
        // It was gone before it was opened.
        fs::remove_file(path)?;
    }
    Ok(String::from_utf8(bytes).ok().filter(|text| !text.is_empty()).map(|text| (private, text)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::binary::decode;
    use crate::journal::{Batch, adopt_all};

    #[test]
    fn events_are_written_once_and_read_back_once_by_their_own_account() {
        let dir = tempfile::tempdir().unwrap();
        let (files, state) = (dir.path().join("files"), dir.path().join("state"));
        let mut fallback = Fallback::new(&files, &state, "token_trackr-1", &["1".to_owned()]);
        assert_eq!(fallback.requeue().unwrap(), 0);
        let events = [br#"{"model": "a"}"#.to_vec(), br#"{"model": "b"}"#.to_vec()];
        fallback.save(&events).unwrap();
        fallback.save(&events[..1]).unwrap();
        fallback.save(&[]).unwrap();
        let original = files.join("events_1764316536.json");
        fs::write(&original, "[{}]").unwrap();
        assert_eq!(fs::read_dir(&files).unwrap().count(), 3);
        assert_eq!(Fallback::new(&files, &state, "token_trackr-2", &["2".to_owned()]).requeue().unwrap(), 0);
        // Not before the service takes something, or a minute is over; then once.
        let now = Instant::now();
        fallback.recover(now, false).unwrap();
        assert!(!fallback.has_recovered());
        fallback.recover(now, true).unwrap();
        assert!(fallback.has_recovered() && !fallback.has_recovered());
        assert_eq!(fs::read_dir(&files).unwrap().count(), 1);
        fallback.recover(now + LONGEST_PAUSE, true).unwrap();
        assert!(!fallback.has_recovered());
        // What comes back at once is not tried again with everything else that the service takes.
        fallback.save(&events[..1]).unwrap();
        fallback.recover(Instant::now(), true).unwrap();
        assert!(!fallback.has_recovered());
        fallback.recover(Instant::now() + LONGEST_PAUSE, false).unwrap();
        assert!(fallback.has_recovered());
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
        let fallback = Fallback::new(dir.path(), &dir.path().join("state"), "token_trackr-1", &["1".to_owned()]);
        let paths = ["events_1-1.json", "events_2-1.json", "events_3-1.json"].map(|name| dir.path().join(name));
        fs::write(&paths[0], "[{}").unwrap();
        fs::write(&paths[1], b"[\xff]").unwrap();
        fs::write(&paths[2], "[{}]").unwrap();
        assert_eq!(fallback.requeue().unwrap(), 1);
        assert_eq!(paths.map(|path| path.exists()), [true, true, false]);
    }

    #[test]
    fn files_that_hold_something_else_keep_none_from_its_turn() {
        let dir = tempfile::tempdir().unwrap();
        let fallback = Fallback::new(dir.path(), &dir.path().join("state"), "token_trackr-1", &["1".to_owned()]);
        for index in 0..MOST_FILES {
            fs::write(dir.path().join(format!("events_1{index}-1.json")), "[{}").unwrap();
        }
        fs::write(dir.path().join("events_2-1.json"), "[{}]").unwrap();
        assert_eq!(fallback.requeue().unwrap(), 1);
    }
}
