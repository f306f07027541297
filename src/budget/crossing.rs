//! Thresholds that calls have crossed.

use super::slot::Period;

/// A threshold that a call crossed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crossing {
    /// The key of the budget.
    pub key: Box<[u8]>,
    /// The period of the call.
    pub period: Period,
    /// The thresholds, as bits in the order of the share's.
    pub bits: u64,
    /// The amount used.
    pub used: i128,
    /// When, in seconds since the Unix epoch.
    pub at: i64,
    /// Its record, until it is reported.
    pub(super) record: Option<usize>,
}
