//! The locks that a process holds, by name.

use arc_swap::ArcSwap;
use once_cell::race::OnceBox;

use super::fork::fork_generation;

/// Names of locks that this process holds. It must not open their files: on systems other than Linux, closing a second handle would
/// release the lock.
///
/// The list is replaced as a whole, because a forked child could inherit a mutex locked. A child holds none of its parent's locks, so
/// each name has the fork generation that added it.
pub(crate) struct HeldLocks<T>(OnceBox<ArcSwap<Vec<(u64, T)>>>);

impl<T: Clone> HeldLocks<T> {
    /// An empty list.
    pub(crate) const fn new() -> Self {
        Self(OnceBox::new())
    }

    fn all(&self) -> &ArcSwap<Vec<(u64, T)>> {
        self.0.get_or_init(Box::default)
    }

    /// Adds a lock.
    pub(crate) fn add(&self, name: &T) {
        let added = (fork_generation(), name.clone());
        self.all().rcu(|all| all.iter().chain([&added]).cloned().collect::<Vec<_>>());
    }

    /// Adds a lock, unless this process holds it. Returns whether it was added.
    pub(crate) fn try_add(&self, name: &T) -> bool
    where
        T: PartialEq,
    {
        let added = (fork_generation(), name.clone());
        let mut is_new = false;
        self.all().rcu(|all| {
            is_new = !all.contains(&added);
            all.iter().chain(is_new.then_some(&added)).cloned().collect::<Vec<_>>()
        });
        is_new
    }

    /// Whether this process, and not one that forked it, holds a lock for which `is_it` returns true.
    pub(crate) fn any(&self, is_it: impl Fn(&T) -> bool) -> bool {
        let generation = fork_generation();
        self.all().load().iter().any(|(by, held)| *by == generation && is_it(held))
    }

    /// Removes the locks for which `is_it` returns true.
    pub(crate) fn remove(&self, is_it: impl Fn(&T) -> bool) {
        self.all().rcu(|all| all.iter().filter(|(_, held)| !is_it(held)).cloned().collect::<Vec<_>>());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_held_until_it_is_removed() {
        let locks = HeldLocks::new();
        locks.add(&"a");
        locks.add(&"b");
        assert!(!locks.try_add(&"a") && locks.try_add(&"d"));
        assert!(locks.any(|name| *name == "a") && !locks.any(|name| *name == "c"));
        locks.remove(|name| *name == "a");
        assert!(!locks.any(|name| *name == "a") && locks.any(|name| *name == "b"));
    }
}
