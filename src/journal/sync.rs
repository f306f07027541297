//! The atomics of [`super::claims`]. `tests/interleavings.rs` replaces them with those of loom.

pub(super) use std::sync::atomic::{AtomicU32, Ordering};
