//! Whether a journal can be kept on disk here. Asked when metering is set up, so that a directory that cannot be used is reported
//! then, and not found out when the events are lost.

use std::io;

use super::disk_budget::{DiskBudget, taken};
use super::owner::random_bytes;
use super::settings::Settings;
use crate::sys::fs::create_private_dir;

/// Makes the directories that the first event needs and one in them, deletes that one, and asks whether a journal may grow here.
/// A dozen system calls: `init()` waits for it.
///
/// # Errors
/// Why events would be kept in memory: those of the operating system, and those of
/// [`crate::sys::fs::check_private_dir`]. `StorageFull` when the disk or the budget has no room for a segment.
pub fn probe(settings: &Settings) -> io::Result<()> {
    let Some(root) = &settings.root else { return Ok(()) };
    root.parent().map_or(Ok(()), create_private_dir)?;
    create_private_dir(root)?;
    // One that is left by a killed process has no lock, and is deleted by whoever looks for journals.
    let trial = root.join(format!("probe-{:016x}", u64::from_le_bytes(random_bytes())));
    std::fs::create_dir(&trial)?;
    let _ = std::fs::remove_dir(&trial);
    let budget = DiskBudget::of(root, 0, taken(root, None), settings.budget);
    if budget.may_grow() { Ok(()) } else { Err(io::ErrorKind::StorageFull.into()) }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::journal::Backend;

    fn settings(root: &Path, budget: Option<u64>) -> Settings {
        Settings { root: Some(root.to_owned()), backend: Backend::Mapped, budget, destinations: Vec::new() }
    }

    #[test]
    fn a_probe_leaves_nothing_behind_and_says_why_a_directory_cannot_be_used() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("state").join("journal");
        probe(&settings(&root, None)).unwrap();
        assert_eq!(std::fs::read_dir(&root).unwrap().count(), 0);
        assert_eq!(probe(&settings(&root, Some(1))).unwrap_err().kind(), io::ErrorKind::StorageFull);
        let file = dir.path().join("file");
        std::fs::write(&file, b"").unwrap();
        assert!(probe(&settings(&file.join("state").join("journal"), None)).unwrap_err().raw_os_error().is_some());
        assert!(probe(&settings(&file.join("journal"), None)).unwrap_err().to_string().contains("not a directory"));
    }
}
