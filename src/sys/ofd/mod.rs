//! Locks of open file descriptions on 64-bit Linux and Android, for this process's own files and for the bundled SQLite.
//!
//! `ofd_elsewhere.rs` replaces this module on other systems.

mod gate;
mod lock;
mod sqlite;
mod table;

pub(super) use gate::{Use, enter, is_clean_child};
pub(super) use lock::{lock, unlock};
pub(super) use sqlite::protect_sqlite;
pub(super) use table::{Registration, open};
