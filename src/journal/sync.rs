//! The atomics of [`super::claims`]. `tests/claims.rs` replaces them with those of loom.

pub(super) use std::sync::atomic::{AtomicU32, Ordering};
