//! Checks whether a journal can be kept on disk. `init()` does this, so that an unusable directory is reported before events are
//! lost.

use std::io;

use super::disk_budget::DiskBudget;
use super::settings::Settings;
use crate::sys::fs::create_private_dir;
use crate::sys::random::random_word;

/// Creates the directories that the first event needs, creates and deletes a trial directory in them, and checks the free space of
/// the disk. This takes a dozen system calls, however many journals there are, because `init()` waits for it. The bytes of the other
/// journals are therefore not counted: if they use up the budget, the first event will find out.
///
/// # Errors
/// The reason why events would be kept in memory: I/O errors, and those of [`crate::sys::fs::check_private_dir`]. `StorageFull` if
/// the disk or the whole budget is too small for a segment.
pub fn probe(settings: &Settings) -> io::Result<()> {
    let Some(root) = &settings.root else { return Ok(()) };
    root.parent().map_or(Ok(()), create_private_dir)?;
    create_private_dir(root)?;
    // If a killed process leaves the trial directory, the next scan of the journals deletes it, because it has no lock.
    let trial = root.join(format!("probe-{:016x}", random_word()));
    std::fs::create_dir(&trial)?;
    let _ = std::fs::remove_dir(&trial);
    let budget = DiskBudget::of(root, 0, 0, settings.budget);
    if budget.may_grow() { Ok(()) } else { Err(io::ErrorKind::StorageFull.into()) }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::journal::Backend;
    use crate::journal::disk_budget::taken;
    use crate::journal::segment::{SEGMENT, file_name};

    fn settings(root: &Path, budget: Option<u64>) -> Settings {
        Settings { root: Some(root.to_owned()), backend: Backend::Mapped, budget, destinations: Vec::new() }
    }

    #[test]
    fn a_probe_leaves_nothing_behind_and_reports_why_a_directory_is_unusable() {
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

    #[test]
    fn a_probe_does_not_count_the_bytes_of_other_journals() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("state").join("journal");
        let limit = 2 * SEGMENT as u64;
        create_private_dir(&dir.path().join("state")).unwrap();
        for name in ["one", "two", "three"] {
            create_private_dir(&root.join(name)).unwrap();
            std::fs::write(root.join(name).join(file_name(1)), vec![1; SEGMENT]).unwrap();
        }
        assert!(!DiskBudget::of(&root, 0, taken(&root, None), Some(limit)).may_grow(), "they use up the budget");
        probe(&settings(&root, Some(limit))).unwrap();
    }
}
