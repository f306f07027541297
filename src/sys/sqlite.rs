//! What SQLite's own interface does not do safely: replacing its system calls, and asking about the file behind a connection.

use std::ffi::{c_int, c_void};

use rusqlite::{Connection, ffi};

use super::ofd;

/// The right to call SQLite, held while it is called: a fork waits for its end, a short time.
pub struct SqliteUse {
    _use: ofd::Use,
}

impl SqliteUse {
    /// Takes the right, once a fork that is under way is over. Fails in a child that is not clean, if its parent used SQLite.
    #[must_use]
    pub fn begin() -> Self {
        Self { _use: ofd::enter() }
    }
}

/// Whether this process is a forked child that may use SQLite although its parent had a file open: the fork met no use of SQLite, and the
/// parent's open files are told from this process's. (64-bit Linux and Android; elsewhere no child may.)
#[must_use]
pub fn is_clean_child() -> bool {
    ofd::is_clean_child()
}

/// Makes the locks of the bundled SQLite independent of every other SQLite in the process, where the system can: 64-bit Linux and
/// Android. Has to come before the first connection of the process; later calls do nothing.
///
/// Returns whether the locks are independent; where they are not, SQLite works as it does everywhere.
#[expect(clippy::must_use_candidate, reason = "there is nothing to do about it")]
pub fn protect_locks() -> bool {
    ofd::protect_sqlite()
}

/// Whether the file that a connection has open was renamed or deleted, or another has its name. `false` where SQLite cannot tell, as
/// on Windows, which does not let go of an open file.
#[must_use]
pub fn has_moved(connection: &Connection) -> bool {
    let mut moved: c_int = 0;
    control(connection, ffi::SQLITE_FCNTL_HAS_MOVED, (&raw mut moved).cast()) && moved != 0
}

/// Bytes of an SQLite file's header.
pub const HEADER: usize = 100;

/// The header of the file that a connection has open, as the file has it and not as the write-ahead log would; `None` when the file is
/// shorter. Opens and closes nothing, which would drop locks of another SQLite in the process.
#[must_use]
#[expect(unsafe_code, reason = "rusqlite reads through the write-ahead log only")]
pub fn stored_header(connection: &Connection) -> Option<[u8; HEADER]> {
    let mut file: *mut ffi::sqlite3_file = std::ptr::null_mut();
    if !control(connection, ffi::SQLITE_FCNTL_FILE_POINTER, (&raw mut file).cast()) {
        return None;
    }
    // SAFETY: SQLite wrote the file of the connection, which is borrowed, so that it lives on, and not used by another thread.
    let methods = unsafe { file.as_ref()?.pMethods.as_ref() }?;
    let read = methods.xRead?;
    let mut header = [0; HEADER];
    // SAFETY: the file's own function, with room for as many bytes as it may write.
    let outcome = unsafe { read(file, header.as_mut_ptr().cast(), HEADER as c_int, 0) };
    (outcome == ffi::SQLITE_OK).then_some(header)
}

/// Asks the main file of a connection; `false` when it does not know the question.
#[expect(unsafe_code, reason = "rusqlite has no file controls")]
fn control(connection: &Connection, question: c_int, answer: *mut c_void) -> bool {
    // SAFETY: the handle is that of a live connection, used by one thread at a time; the callers pass a place for what the question
    // writes.
    let outcome = unsafe { ffi::sqlite3_file_control(connection.handle(), c"main".as_ptr(), question, answer) };
    outcome == ffi::SQLITE_OK
}
