//! Fork detection.

use std::sync::atomic::{AtomicU64, Ordering};

/// How often this process has been forked on the way to here, counted from the first call. A value that has changed says: the
/// threads, locks and files of everything made under the old value belong to another process.
///
/// Costs two loads. It sees forks that bypass libc and Python (`clone`, `syscall(SYS_fork)`), because the kernel itself wipes
/// the page it watches.
#[must_use]
pub fn fork_generation() -> u64 {
    generation()
}

static GENERATION: AtomicU64 = AtomicU64::new(1);

#[cfg(target_os = "linux")]
fn generation() -> u64 {
    use once_cell::race::OnceBox;
    // Threads that come first at once each map a page, and the first to be done decides; the other pages stay mapped, 4 KiB each. One
    // thread that maps while others wait would leave a child that is forked meanwhile waiting for ever.
    static WATCH: OnceBox<Option<&'static AtomicU64>> = OnceBox::new();

    const SEEN: u64 = 1;
    const CHANGING: u64 = 2;

    let Some(word) = WATCH.get_or_init(|| Box::new(wiped_on_fork())) else {
        return generation_by_pid();
    };
    // Acquire pairs with the Release below: a thread that sees SEEN in a child also sees the child's generation.
    while word.load(Ordering::Acquire) != SEEN {
        if word.compare_exchange(0, CHANGING, Ordering::Acquire, Ordering::Acquire).is_ok() {
            GENERATION.fetch_add(1, Ordering::Relaxed);
            word.store(SEEN, Ordering::Release);
        }
        std::hint::spin_loop();
    }
    GENERATION.load(Ordering::Relaxed)
}

/// One word of a page that the kernel hands to a forked child as zeros, set to 1 here; `None` before Linux 4.14.
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "no safe interface to MADV_WIPEONFORK exists")]
fn wiped_on_fork() -> Option<&'static AtomicU64> {
    use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous};
    const PAGE: usize = 4096;
    // SAFETY: a fresh private mapping at an address of the kernel's choice aliases nothing.
    let page = unsafe {
        mmap_anonymous(std::ptr::null_mut(), PAGE, ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE).ok()?
    };
    // SAFETY: the range is the whole mapping made above; the advice changes what a child sees, nothing here.
    unsafe { madvise(page, PAGE, Advice::LinuxWipeOnFork).ok()? };
    // SAFETY: the page is never unmapped, is aligned for a u64, zeroed, and reached only through this reference.
    let word = unsafe { &*page.cast::<AtomicU64>() };
    word.store(1, Ordering::Release);
    Some(word)
}

#[cfg(not(target_os = "linux"))]
fn generation() -> u64 {
    generation_by_pid()
}

/// Compares process ids: a system call, and blind to a child that got the id of its dead parent.
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
    fn without_a_fork_the_generation_stays() {
        assert_eq!(fork_generation(), fork_generation());
    }
}
