//! Files in a journal's directory that taximeter did not write: they are moved to the quarantine before the journal is deleted.

use std::io;
use std::path::Path;

use crate::sys::fs::{create_private_dir, path_metadata, rename};

/// The quarantine's name under the state directory.
pub(super) const DIR: &str = "quarantine";
/// Ends the name of what taximeter did not write.
const FOREIGN: &str = ".foreign";
/// Characters of such a file's own name that are kept, at most 200 bytes: a file name has 255.
const LONGEST_NAME: usize = 50;

/// Moves what taximeter did not write out of a journal that is to be deleted, whatever it takes: it takes that already.
///
/// # Errors
/// Those of the operating system; then it stays where it is.
pub(super) fn keep(journal: &Path, file: &Path) -> io::Result<()> {
    let state = journal.parent().and_then(Path::parent).ok_or(io::ErrorKind::NotFound)?;
    let quarantine = state.join(DIR);
    create_private_dir(&quarantine)?;
    let text = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let name = format!("{}-{}", text(journal), text(file).chars().take(LONGEST_NAME).collect::<String>());
    let mut number = 0;
    let kept = loop {
        let kept = quarantine.join(format!("{name}.{number}{FOREIGN}"));
        match path_metadata(&kept) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => break kept,
            Err(error) => return Err(error),
            Ok(_) => number += 1,
        }
    };
    rename(file, &kept)
}
