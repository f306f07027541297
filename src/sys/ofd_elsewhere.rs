//! Replaces `ofd/` on systems without locks of open file descriptions. It registers and replaces nothing.

use std::fs::File;
use std::io;

pub(super) struct Registration(());

pub(super) fn open(open: impl FnOnce() -> io::Result<File>) -> io::Result<(File, Registration)> {
    Ok((open()?, Registration(())))
}

impl Registration {
    pub(super) fn is_intact(&self) -> bool {
        let Self(()) = self;
        true
    }

    pub(super) fn close(&self, file: File) {
        let Self(()) = self;
        drop(file);
    }
}

/// Always returns `InvalidInput`, because the system has no such locks.
pub(super) fn lock(_file: &File) -> io::Result<bool> {
    Err(io::ErrorKind::InvalidInput.into())
}

/// Always returns `InvalidInput`, because the system has no such locks.
pub(super) fn unlock(_file: &File) -> io::Result<()> {
    Err(io::ErrorKind::InvalidInput.into())
}

/// SQLite keeps its own locks.
pub(super) fn protect_sqlite() -> bool {
    false
}

pub(super) struct Use(());

pub(super) fn enter() -> Use {
    Use(())
}

pub(super) fn is_clean_child() -> bool {
    false
}
