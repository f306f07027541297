//! What SQLite's own interface does not do safely: replacing its system calls, and asking about the file behind a connection.

use super::ofd;

/// Makes the locks of the bundled SQLite independent of every other SQLite in the process, where the system can: 64-bit Linux and
/// Android. Has to come before the first connection of the process; later calls do nothing.
///
/// Returns whether the locks are independent; where they are not, SQLite works as it does everywhere.
#[expect(clippy::must_use_candidate, reason = "there is nothing to do about it")]
pub fn protect_locks() -> bool {
    ofd::protect_sqlite()
}
