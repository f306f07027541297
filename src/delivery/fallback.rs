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
use super::put_back::put_back;
use crate::event::binary::encode;
use crate::event::{Outgoing, UsageEvent};
use crate::journal::{append_private, create_private_dir, unix_ns};
use crate::protocol::TokenTrackr;

const PREFIX: &str = "events_";
/// After this the files are looked at, though the service took nothing meanwhile: there may be nothing else to bring it.
const FIRST_LOOK: Duration = Duration::from_mins(1);
/// The pause doubles up to this with every time that events come back.
const LONGEST_PAUSE: Duration = Duration::from_mins(15);

/// The fallback of one account.
pub(super) struct Fallback {
    dir: PathBuf,
    state: PathBuf,
    destination: String,
    /// The ends of its files' names.
    suffix: String,
    /// When the files are looked at, if the service takes nothing before; `None` while there are none of this process's.
    looks_at: Option<Instant>,
    /// How often in a row events came here.
    times: u32,
    /// Whether events went from here into a journal.
    has_recovered: bool,
}

impl Fallback {
    pub(super) fn new(dir: &Path, state: &Path, destination: &str, account: u32) -> Self {
        Self {
            dir: dir.to_owned(),
            state: state.to_owned(),
            destination: destination.to_owned(),
            suffix: format!("-{account:08x}.json"),
            looks_at: Some(Instant::now() + FIRST_LOOK),
            times: 0,
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
        let name = format!("{PREFIX}{}{}", unix_ns(), self.suffix);
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
        let pause = FIRST_LOOK.saturating_mul(1 << self.times.min(10)).min(LONGEST_PAUSE);
        self.looks_at = Some(Instant::now() + pause);
        self.times += 1;
        Ok(())
    }

    /// Whether events went from here into a journal since this was asked last.
    pub(super) fn has_recovered(&mut self) -> bool {
        std::mem::take(&mut self.has_recovered)
    }

    /// Puts the events of all files back into a journal, when that is due: the service took something, or it is time to look.
    ///
    /// # Errors
    /// Those of the operating system; what was not put back stays in its file, and is looked at later.
    pub(super) fn recover(&mut self, now: Instant, was_taken: bool) -> io::Result<()> {
        self.times = if was_taken { 0 } else { self.times };
        if self.looks_at.take_if(|at| was_taken || now >= *at).is_none() {
            return Ok(());
        }
        let count = self.put_back().inspect_err(|_| self.looks_at = Some(now + FIRST_LOOK))?;
        self.has_recovered |= count > 0;
        Ok(())
    }

    /// Puts the events of all files back; how many there were. A file that holds something else stays.
    fn put_back(&self) -> io::Result<u64> {
        let entries = match fs::read_dir(&self.dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
            Err(error) => return Err(error),
        };
        let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).filter(|path| self.is_own(path)).collect();
        paths.sort();
        let mut count = 0;
        for path in paths {
            count += self.recover_file(&path)?;
        }
        Ok(count)
    }

    fn is_own(&self, path: &Path) -> bool {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.starts_with(PREFIX) && name.ends_with(&self.suffix)
    }

    fn recover_file(&self, path: &Path) -> io::Result<u64> {
        // Locked for as long as it is open. Another process that has it sees to it.
        let mut file = match locked(path, Duration::ZERO) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(0),
            Err(error) => return Err(error),
        };
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        if text.is_empty() {
            // It was gone before it was opened.
            return fs::remove_file(path).map(|()| 0);
        }
        let Ok(events) = serde_json::from_str::<Vec<&RawValue>>(&text) else { return Ok(0) };
        put_back(&self.state, &self.destination, &events, |body, out, ids| {
            let requests = vec![Outgoing { path: TokenTrackr::COMPLETE, body: body.get() }];
            encode(&UsageEvent { id: ids.next(unix_ns()), requests, ..UsageEvent::default() }, &[], out);
        })?;
        fs::remove_file(path)?;
        Ok(events.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::binary::decode;
    use crate::journal::{Batch, Foreigners};

    #[test]
    fn events_are_written_once_and_read_back_once_by_their_own_account() {
        let dir = tempfile::tempdir().unwrap();
        let (files, state) = (dir.path().join("files"), dir.path().join("state"));
        let mut fallback = Fallback::new(&files, &state, "token_trackr-1", 1);
        assert_eq!(fallback.put_back().unwrap(), 0);
        let events = [br#"{"model": "a"}"#.to_vec(), br#"{"model": "b"}"#.to_vec()];
        fallback.save(&events).unwrap();
        fallback.save(&events[..1]).unwrap();
        fallback.save(&[]).unwrap();
        let original = files.join("events_1764316536.json");
        fs::write(&original, "[{}]").unwrap();
        assert_eq!(fs::read_dir(&files).unwrap().count(), 3);
        assert_eq!(Fallback::new(&files, &state, "token_trackr-2", 2).put_back().unwrap(), 0);
        // Not before the service takes something, or a minute is over; then once.
        let now = Instant::now();
        fallback.recover(now, false).unwrap();
        assert!(!fallback.has_recovered());
        fallback.recover(now, true).unwrap();
        assert!(fallback.has_recovered() && !fallback.has_recovered());
        assert_eq!(fs::read_dir(&files).unwrap().count(), 1);
        fallback.recover(now + LONGEST_PAUSE, true).unwrap();
        assert!(!fallback.has_recovered());
        let foreigners = loop {
            if let Some(found) = Foreigners::find(&state.join("journal")) {
                break found;
            }
        };
        let tails = foreigners.tails("token_trackr-1", 0);
        let batches: Vec<_> = tails.iter().map(|tail| tail.read(1 << 20)).collect();
        let bodies: Vec<_> =
            batches.iter().flat_map(Batch::payloads).map(|payload| decode(payload).unwrap().requests[0].body).collect();
        assert_eq!(bodies.len(), 3);
        assert_eq!(bodies.iter().filter(|body| **body == r#"{"model": "a"}"#).count(), 2);
    }

    #[test]
    fn a_file_that_holds_something_else_stays() {
        let dir = tempfile::tempdir().unwrap();
        let fallback = Fallback::new(dir.path(), &dir.path().join("state"), "token_trackr-1", 1);
        let path = dir.path().join("events_1-00000001.json");
        fs::write(&path, "[{}").unwrap();
        assert_eq!(fallback.put_back().unwrap(), 0);
        assert!(path.exists());
    }
}
