//! Unsafe calls of SQLite's interface: replacing its system calls, and querying the file behind a connection.

use std::ffi::{c_int, c_void};

use rusqlite::{Connection, ffi};

use super::ofd;

/// The right to call SQLite, held during the call. A fork waits for a short time until it ends.
pub struct SqliteUse {
    _use: ofd::Use,
}

impl SqliteUse {
    /// Waits for a fork in progress and takes the right. Must not be called in a child that is not clean.
    #[must_use]
    pub fn begin() -> Self {
        Self { _use: ofd::enter() }
    }
}

/// Whether this process is a forked child that may use SQLite although its parent had a file open. That is the case if nothing was
/// using SQLite during the fork. SQLite then does not confuse this process's files with the parent's. Always false on systems other
/// than 64-bit Linux and Android.
#[must_use]
pub fn is_clean_child() -> bool {
    ofd::is_clean_child()
}

/// Makes the locks of the bundled SQLite independent of any other SQLite in the process, on 64-bit Linux and Android. Must be called
/// before the first connection of the process. Later calls do nothing.
///
/// Returns whether the locks are independent. If they are not, SQLite works as usual.
#[expect(clippy::must_use_candidate, reason = "there is nothing to do about it")]
pub fn protect_locks() -> bool {
    ofd::protect_sqlite()
}

/// Whether the open file of a connection was renamed or deleted, or another file has its name. `false` if SQLite cannot tell, as on
/// Windows, where an open file cannot be renamed or deleted.
#[must_use]
pub fn has_moved(connection: &Connection) -> bool {
    let mut moved: c_int = 0;
    control(connection, ffi::SQLITE_FCNTL_HAS_MOVED, (&raw mut moved).cast()) && moved != 0
}

/// The length of an SQLite file's header in bytes.
pub const HEADER: usize = 100;

/// The header of the open file of a connection, from the file itself and not through the write-ahead log; `None` if the file is
/// shorter. Opens and closes no descriptor, which would release locks of another SQLite in the process.
#[must_use]
#[expect(unsafe_code, reason = "rusqlite reads through the write-ahead log only")]
pub fn stored_header(connection: &Connection) -> Option<[u8; HEADER]> {
    let mut file: *mut ffi::sqlite3_file = std::ptr::null_mut();
    if !control(connection, ffi::SQLITE_FCNTL_FILE_POINTER, (&raw mut file).cast()) {
        return None;
    }
    // SAFETY: SQLite wrote the pointer to the connection's file. The borrowed connection keeps it alive, and no other thread uses it.
    let methods = unsafe { file.as_ref()?.pMethods.as_ref() }?;
    let read = methods.xRead?;
    let mut header = [0; HEADER];
    // SAFETY: the file's own function, with a buffer as long as the number of bytes it may write.
    let outcome = unsafe { read(file, header.as_mut_ptr().cast(), HEADER as c_int, 0) };
    (outcome == ffi::SQLITE_OK).then_some(header)
}

/// Sends a file control to the main file of a connection; `false` if SQLite does not support it.
#[expect(unsafe_code, reason = "rusqlite has no file controls")]
fn control(connection: &Connection, question: c_int, answer: *mut c_void) -> bool {
    // SAFETY: the handle belongs to a live connection that one thread uses at a time. Callers pass a valid pointer for the result of
    // the control.
    let outcome = unsafe { ffi::sqlite3_file_control(connection.handle(), c"main".as_ptr(), question, answer) };
    outcome == ffi::SQLITE_OK
}
