//! Fork detection.

use std::sync::atomic::{AtomicU64, Ordering};

/// The fork generation of this process: it grows with each fork between the first call and this one. If it differs from the
/// generation in which an object was created, the threads, locks and files of that object belong to another process.
///
/// Costs two loads. It also detects forks that bypass libc and Python (`clone`, `syscall(SYS_fork)`), because the kernel itself
/// zeroes the watched page.
#[must_use]
pub fn fork_generation() -> u64 {
    generation()
}

static GENERATION: AtomicU64 = AtomicU64::new(1);

#[cfg(target_os = "linux")]
fn generation() -> u64 {
    use once_cell::race::OnceBox;
    // Threads that call this first at the same time each map a page. The first to finish wins, and the other pages stay mapped, 4 KiB
    // each. If threads waited for one that maps the page instead, a child forked during the wait would wait forever.
    static WATCH: OnceBox<Option<&'static AtomicU64>> = OnceBox::new();

    const SEEN: u64 = 1;
    const CHANGING: u64 = 2;

    let Some(word) = WATCH.get_or_init(|| Box::new(wiped_on_fork())) else {
        return generation_by_pid();
    };
    // Acquire pairs with the Release below: a thread of the child that sees SEEN also sees the child's generation.
    while word.load(Ordering::Acquire) != SEEN {
        if word.compare_exchange(0, CHANGING, Ordering::Acquire, Ordering::Acquire).is_ok() {
            GENERATION.fetch_add(1, Ordering::Relaxed);
            word.store(SEEN, Ordering::Release);
        }
        std::hint::spin_loop();
    }
    GENERATION.load(Ordering::Relaxed)
}

/// A word, set to 1, in a page that the kernel zeroes in a forked child; `None` before Linux 4.14.
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "no safe interface to MADV_WIPEONFORK exists")]
fn wiped_on_fork() -> Option<&'static AtomicU64> {
    use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous};
    const PAGE: usize = 4096;
    // SAFETY: a new private mapping, at an address that the kernel chooses, aliases nothing.
    let page = unsafe {
        mmap_anonymous(std::ptr::null_mut(), PAGE, ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE).ok()?
    };
    // SAFETY: the range is the whole mapping created above. The advice affects only what a child sees.
    unsafe { madvise(page, PAGE, Advice::LinuxWipeOnFork).ok()? };
    // SAFETY: the page is never unmapped, is aligned for a u64, is zeroed, and is accessed only through this reference.
    let word = unsafe { &*page.cast::<AtomicU64>() };
    word.store(1, Ordering::Release);
    Some(word)
}

#[cfg(not(target_os = "linux"))]
fn generation() -> u64 {
    generation_by_pid()
}

/// Compares process ids. This costs a system call, and misses a child that has the same id as its ended parent.
fn generation_by_pid() -> u64 {
    static PID: AtomicU64 = AtomicU64::new(0);
    let pid = u64::from(std::process::id());
    let known = PID.swap(pid, Ordering::AcqRel);
    if known != pid && known != 0 {
        GENERATION.fetch_add(1, Ordering::AcqRel);
    }
    GENERATION.load(Ordering::Acquire)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generation_is_constant_without_a_fork() {
        assert_eq!(fork_generation(), fork_generation());
    }
}
