//! What the operating system is asked for, and what it does differently from one platform to the next.
//!
//! The room of all `unsafe` code of the core and of all its platform conditions: files, locks, maps, clocks and fork detection.

pub mod clock;
pub mod fork;
pub mod fs;
pub mod lock;
pub mod mmap;
