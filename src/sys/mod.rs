//! What the operating system is asked for, and what it does differently from one platform to the next.
//!
//! The room of all `unsafe` code of the core and of all its platform conditions: files, locks, maps, clocks and fork detection.

pub mod clock;
pub(crate) mod filesystem;
pub mod fork;
pub mod fs;
pub mod identity;
pub mod lock;
pub mod mmap;
#[cfg(all(any(target_os = "linux", target_os = "android"), target_pointer_width = "64"))]
mod ofd;
#[cfg(not(all(any(target_os = "linux", target_os = "android"), target_pointer_width = "64")))]
#[path = "ofd_elsewhere.rs"]
mod ofd;
pub mod private;
pub mod sqlite;
