//! Files in a journal's directory that taximeter did not write. They are moved to the quarantine before the journal is deleted.

use std::io;
use std::path::Path;

use crate::sys::fs::{create_private_dir, path_metadata, rename};

/// The quarantine's name under the state directory.
pub(super) const DIR: &str = "quarantine";
/// The suffix of files that taximeter did not write.
const FOREIGN: &str = ".foreign";
/// How many characters of such a file's own name are kept: at most 200 bytes, because a file name has at most 255.
const MAX_NAME_CHARACTERS: usize = 50;

/// Moves a file that taximeter did not write out of a journal that is about to be deleted. Its size does not matter, because it is on
/// the disk already.
///
/// # Errors
/// I/O errors. The file then stays where it is.
pub(super) fn keep(journal: &Path, file: &Path) -> io::Result<()> {
    let state = journal.parent().and_then(Path::parent).ok_or(io::ErrorKind::NotFound)?;
    let quarantine = state.join(DIR);
    create_private_dir(&quarantine)?;
    let text = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let name = format!("{}-{}", text(journal), text(file).chars().take(MAX_NAME_CHARACTERS).collect::<String>());
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
