//! Everything that depends on the operating system: files, locks, memory maps, clocks and fork detection.
//!
//! All `unsafe` code of the core and all of its platform conditions are in this module.

pub mod clock;
pub(crate) mod filesystem;
pub mod fork;
pub mod fs;
pub(crate) mod held;
pub mod identity;
pub mod lock;
pub mod mmap;
pub(crate) mod mutex;
#[cfg(all(any(target_os = "linux", target_os = "android"), target_pointer_width = "64"))]
mod ofd;
#[cfg(not(all(any(target_os = "linux", target_os = "android"), target_pointer_width = "64")))]
#[path = "ofd_elsewhere.rs"]
mod ofd;
pub mod owner;
pub(crate) mod prefetch;
pub mod private;
pub(crate) mod random;
pub mod sqlite;
