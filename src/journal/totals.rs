//! The counts of processes whose journals are deleted.
//!
//! ```text
//! <state>/counters.json   {"last", "processes", "tracked", …, "destinations": {name: {"delivered", …}}}
//! <state>/counters.lock   locked while counts are added
//! ```
//!
//! A process writes its counts to the status file in its journal, and they would be deleted with it. So they are added up here first.
//! A process that is killed loses what it counted since it last wrote them, at most five seconds.

use std::io::{self, Read};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Map, Value};

use crate::sys::fs::{append_all, append_private, open_private, remove_file, rename};
use crate::sys::lock::TurnLock;

const FILE: &str = "counters.json";
const LOCK: &str = "counters.lock";
/// The counts of a process, and those of each of its destinations. The others, such as what waits, end with the process.
const OF_PROCESS: [&str; 3] = ["tracked", "corrupt_records", "lost_records"];
const OF_DESTINATION: [&str; 10] = [
    "delivered",
    "duplicates",
    "unreadable",
    "rejected",
    "dead",
    "dropped",
    "expired",
    "evicted",
    "retries",
    "failures",
];
/// The most bytes of a file that is read.
const MAX_BYTES: u64 = 1 << 20;
/// The most destinations whose counts are kept. Each new address is a new destination.
const MOST_DESTINATIONS: usize = 100;
/// How long the deletion of a journal waits for another process that adds its counts.
const PATIENCE: Duration = Duration::from_millis(200);

/// On systems other than Linux, the lock excludes other processes only.
static ADDING: Mutex<()> = Mutex::new(());

/// Adds the counts in a status file to those of ended processes, once for each journal.
///
/// # Errors
/// I/O errors; `WouldBlock` if another process is adding its own for long. The counts are then lost with the journal.
pub(super) fn keep(journal: &Path, status: &str) -> io::Result<()> {
    let status = match read(&journal.join(status)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        status => status?,
    };
    let state = journal.parent().and_then(Path::parent).ok_or(io::ErrorKind::NotFound)?;
    let name = journal.file_name().unwrap_or_default().to_string_lossy();
    let _one = ADDING.lock().unwrap_or_else(PoisonError::into_inner);
    let lock = TurnLock::open(&state.join(LOCK))?;
    let deadline = Instant::now() + PATIENCE;
    let _turn = loop {
        match lock.try_take()? {
            Some(turn) => break turn,
            None if Instant::now() >= deadline => return Err(io::ErrorKind::WouldBlock.into()),
            None => std::thread::sleep(Duration::from_millis(1)),
        }
    };
    let path = state.join(FILE);
    // A file that cannot be read is started again.
    let mut totals = read(&path).unwrap_or_default();
    // The process that deleted this journal before may have been killed between the two steps.
    if totals.get("last").and_then(Value::as_str) == Some(&*name) {
        return Ok(());
    }
    totals.insert("last".into(), (&*name).into());
    add_up(&mut totals, &status);
    let draft = state.join("counters.tmp");
    let _ = remove_file(&draft);
    append_all(&append_private(&draft)?, &serde_json::to_vec(&totals)?)?;
    rename(&draft, &path)
}

fn read(path: &Path) -> io::Result<Map<String, Value>> {
    let mut text = Vec::new();
    open_private(path, false)?.take(MAX_BYTES).read_to_end(&mut text)?;
    Ok(serde_json::from_slice(&text)?)
}

fn add_up(totals: &mut Map<String, Value>, status: &Map<String, Value>) {
    if !totals.contains_key("since") {
        totals.insert("since".into(), status.get("at").cloned().unwrap_or_default());
    }
    add(totals, "processes", 1);
    for key in OF_PROCESS {
        add(totals, key, count(status, key));
    }
    if !totals.get("destinations").is_some_and(Value::is_object) {
        totals.insert("destinations".into(), Map::new().into());
    }
    let Some(Value::Object(all)) = totals.get_mut("destinations") else { return };
    for one in status.get("destinations").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_object) {
        let Some(name) = one.get("name").and_then(Value::as_str) else { continue };
        if OF_DESTINATION.iter().all(|key| count(one, key) == 0)
            || (!all.contains_key(name) && all.len() >= MOST_DESTINATIONS)
        {
            continue;
        }
        let Value::Object(sums) = all.entry(name).or_insert_with(|| Map::new().into()) else { continue };
        sums.insert("host".into(), one.get("host").cloned().unwrap_or_default());
        for key in OF_DESTINATION {
            add(sums, key, count(one, key));
        }
    }
}

fn count(of: &Map<String, Value>, key: &str) -> u64 {
    of.get(key).and_then(Value::as_u64).unwrap_or(0)
}

fn add(to: &mut Map<String, Value>, key: &str, more: u64) {
    let sum = count(to, key).saturating_add(more);
    to.insert(key.into(), sum.into());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counts_of_each_journal_are_added_once() {
        let dir = tempfile::tempdir().unwrap();
        let status = |delivered: u64| {
            let text = format!(
                r#"{{"at":"2026","tracked":{delivered},"destinations":[{{"name":"ledger","host":null,"delivered":{delivered},
                    "pending":9}}, {{"name":"idle"}}]}}"#
            );
            text.into_bytes()
        };
        for (name, delivered) in [("a", 3), ("a", 3), ("b", 4)] {
            let journal = dir.path().join("journal").join(name);
            std::fs::create_dir_all(&journal).unwrap();
            std::fs::write(journal.join("status.json"), status(delivered)).unwrap();
            keep(&journal, "status.json").unwrap();
        }
        keep(&dir.path().join("journal/none"), "status.json").unwrap();
        let totals = read(&dir.path().join(FILE)).unwrap();
        assert_eq!((count(&totals, "tracked"), count(&totals, "processes")), (7, 2));
        let destinations = totals["destinations"].as_object().unwrap();
        assert_eq!(destinations.keys().collect::<Vec<_>>(), ["ledger"]);
        assert_eq!(destinations["ledger"]["delivered"], 7);
        assert!(destinations["ledger"].get("pending").is_none());
        std::fs::write(dir.path().join(FILE), "no JSON").unwrap();
        let journal = dir.path().join("journal/a");
        keep(&journal, "status.json").unwrap();
        assert_eq!(count(&read(&dir.path().join(FILE)).unwrap(), "tracked"), 3);
    }
}
