//! Two clocks: the time of day, which can be set, and the time since boot, which cannot.

use std::time::Duration;

/// Nanoseconds since the Unix epoch.
#[cfg(unix)]
#[must_use]
pub fn unix_ns() -> u64 {
    // Without the checks of `SystemTime`, which take a tenth of the time of a call of `track()`.
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    (time.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(time.tv_nsec as u64)
}

/// Nanoseconds since the Unix epoch.
#[cfg(not(unix))]
#[must_use]
pub fn unix_ns() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
}

/// Seconds since the Unix epoch.
#[must_use]
pub fn unix_seconds() -> i64 {
    (unix_ns() / 1_000_000_000).cast_signed()
}

/// A point in time, measured since boot, including suspended time. Setting the system clock does not affect it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BootTime {
    /// The kernel's id of this boot.
    boot: [u8; 16],
    nanoseconds: u64,
}

impl BootTime {
    /// The length of the encoded form in bytes.
    pub const LENGTH: usize = 28;

    /// The current time; `None` on systems without an id of the boot (all but Linux).
    #[must_use]
    pub fn now() -> Option<Self> {
        Some(Self { boot: boot_id()?, nanoseconds: since_boot()? })
    }

    /// The time that was so much earlier, or the boot.
    #[must_use]
    pub fn earlier_by(self, duration: Duration) -> Self {
        let nanoseconds = self.nanoseconds.saturating_sub(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX));
        Self { nanoseconds, ..self }
    }

    /// The time that has passed since; `None` if the machine was rebooted, or if the time comes from another machine.
    #[must_use]
    pub fn elapsed(&self) -> Option<Duration> {
        let now = Self::now().filter(|now| now.boot == self.boot)?;
        Some(Duration::from_nanos(now.nanoseconds.saturating_sub(self.nanoseconds)))
    }

    /// Encodes it: the id of the boot, nanoseconds as a little-endian u64, and the CRC-32 of both.
    #[must_use]
    pub fn encode(&self) -> [u8; Self::LENGTH] {
        let mut bytes = [0; Self::LENGTH];
        bytes[..16].copy_from_slice(&self.boot);
        bytes[16..24].copy_from_slice(&self.nanoseconds.to_le_bytes());
        let crc = crc32fast::hash(&bytes[..24]);
        bytes[24..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Decodes it; `None` if the bytes do not come from [`BootTime::encode`].
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; Self::LENGTH] = bytes.get(..Self::LENGTH)?.try_into().ok()?;
        let crc = u32::from_le_bytes(bytes[24..].try_into().ok()?);
        let nanoseconds = u64::from_le_bytes(bytes[16..24].try_into().ok()?);
        (crc32fast::hash(&bytes[..24]) == crc)
            .then(|| Self { boot: bytes[..16].try_into().unwrap_or_default(), nanoseconds })
    }
}

/// The kernel's id of this boot; 0 on systems without one.
#[must_use]
pub fn boot() -> u128 {
    boot_id().map_or(0, u128::from_le_bytes)
}

#[cfg(target_os = "linux")]
fn since_boot() -> Option<u64> {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let seconds = u64::try_from(time.tv_sec).ok()?;
    seconds.checked_mul(1_000_000_000)?.checked_add(u64::try_from(time.tv_nsec).ok()?)
}

/// The random id that the kernel chose at boot. Read only once, because it could not be read if the process ran out of descriptors.
#[cfg(target_os = "linux")]
fn boot_id() -> Option<[u8; 16]> {
    static ID: once_cell::race::OnceBox<Option<[u8; 16]>> = once_cell::race::OnceBox::new();
    *ID.get_or_init(|| {
        let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok();
        Box::new(text.and_then(|text| uuid::Uuid::parse_str(text.trim()).ok()).map(uuid::Uuid::into_bytes))
    })
}

#[cfg(not(target_os = "linux"))]
fn since_boot() -> Option<u64> {
    None
}

#[cfg(not(target_os = "linux"))]
fn boot_id() -> Option<[u8; 16]> {
    None
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn times_of_another_boot_are_recognized() {
        let moment = BootTime::now().unwrap();
        assert_eq!(BootTime::decode(&moment.encode()), Some(moment));
        assert!(moment.elapsed().is_some());
        let elsewhere = BootTime { boot: [7; 16], ..moment };
        assert_eq!(elsewhere.elapsed(), None);
        assert_eq!(BootTime::decode(&[0; 28]), None);
        let early = BootTime { nanoseconds: 0, ..moment };
        assert_eq!(moment.earlier_by(Duration::MAX), early);
        assert!(early.elapsed().unwrap() >= moment.elapsed().unwrap());
    }
}
