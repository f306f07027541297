//! The atomics of [`super::claims`], for which loom puts its own (`tests/claims.rs`).

pub(super) use std::sync::atomic::{AtomicU32, Ordering};
