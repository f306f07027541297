//! Random names and keys.

/// Random bytes from the operating system or, if that fails, from the clock and this process.
pub(crate) fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    if getrandom::fill(&mut bytes).is_err() {
        fastrand::fill(&mut bytes);
    }
    bytes
}

/// A random number, from the same source.
pub(crate) fn random_word() -> u64 {
    u64::from_le_bytes(random_bytes())
}
