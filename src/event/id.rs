//! Event ids: UUID version 7 (RFC 9562 §5.7), made without a lock, a system call or shared state.
//!
//! Each source of ids is seeded once from the operating system and is never used after a `fork`: it belongs to a journal's writer,
//! which a child process never touches.

/// A source of ids for one writer.
pub struct IdSource {
    random: fastrand::Rng,
}

impl IdSource {
    /// A source seeded from the operating system or, if that fails, from addresses and the clock.
    #[must_use]
    pub fn new() -> Self {
        let mut seed = [0_u8; 8];
        let random = match getrandom::fill(&mut seed) {
            Ok(()) => fastrand::Rng::with_seed(u64::from_le_bytes(seed)),
            Err(_) => fastrand::Rng::new(),
        };
        Self { random }
    }

    /// The next id, for an event that was tracked at `unix_ns`.
    pub fn next(&mut self, unix_ns: u64) -> [u8; 16] {
        const VERSION: u64 = 0x7000;
        const VARIANT: u64 = 1 << 63;
        // 48 bits of time, the version, 12 random bits; the variant, 62 random bits.
        let high = (unix_ns / 1_000_000) << 16 | VERSION | self.random.u64(..) >> 52;
        let low = VARIANT | self.random.u64(..) >> 2;
        (u128::from(high) << 64 | u128::from(low)).to_be_bytes()
    }
}

impl Default for IdSource {
    fn default() -> Self {
        Self::new()
    }
}

/// The id in its usual form: 36 characters, lower case.
#[must_use]
pub fn id_text(id: [u8; 16]) -> String {
    uuid::Uuid::from_bytes(id).hyphenated().to_string()
}

/// Passes the id in its usual form to `use_text`, without an allocation.
pub fn with_id_text<R>(id: [u8; 16], use_text: impl FnOnce(&str) -> R) -> R {
    let mut buffer = [0; uuid::fmt::Hyphenated::LENGTH];
    use_text(uuid::Uuid::from_bytes(id).hyphenated().encode_lower(&mut buffer))
}

/// Parses an id from any text form of a UUID.
#[must_use]
pub fn parse_id(text: &str) -> Option<[u8; 16]> {
    uuid::Uuid::parse_str(text).ok().map(uuid::Uuid::into_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_version_7_carry_their_time_and_differ() {
        let mut source = IdSource::new();
        let at = 1_763_800_000_123_456_789_u64;
        let ids: std::collections::HashSet<_> = (0..10_000).map(|_| source.next(at)).collect();
        assert_eq!(ids.len(), 10_000);
        let id = uuid::Uuid::from_bytes(source.next(at));
        assert_eq!(id.get_version_num(), 7);
        let (seconds, nanos) = id.get_timestamp().unwrap().to_unix();
        assert_eq!(seconds * 1000 + u64::from(nanos) / 1_000_000, at / 1_000_000);
    }
}
