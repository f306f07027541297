//! Mutexes whose contents outlive a panic.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Takes a lock. A panic under one of delivery's locks leaves counts and lists whole; going on loses less than stopping.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
