//! Issues: what went wrong with events, counted, and the name of each count in `stats()`.

/// What went wrong with events; `stats()` has a count of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Issue {
    /// The provider was absent, empty or no text.
    MissingProvider,
    /// The model was absent, empty or no text.
    MissingModel,
    /// A count was negative, fractional, not a number or too large.
    InvalidUsage,
    /// A text was no text (it is left out), or not valid Unicode (it is mended).
    InvalidText,
    /// A time was without a zone, out of range or no time; the time of the call is used instead; a duration is left out.
    InvalidTime,
    /// A cost was negative or no decimal; the computed cost is recorded instead.
    InvalidCost,
    /// The journal was full.
    NoSpace,
    /// A request for a service was larger than 48 KiB.
    TooLarge,
    /// A fault of this library: recording the event panicked.
    InternalError,
    /// Events were given up, the oldest first, because the journal's budget is used up or they waited too long for a destination.
    GivenUp,
    /// A unit that does not exist; it is left out.
    UnknownUnit,
    /// Texts that were cut or tags left out.
    Truncated,
    /// A provider's usage that could not be read; the event is kept, without usage.
    UnreadableUsage,
    /// Usage whose parts exceed their total; the event is kept, without a cost.
    ContradictoryUsage,
    /// A response was whole and said nothing of usage.
    UsageUnreported,
    /// A response ended before it had said what it used.
    UsageInterrupted,
    /// A response was not what it said it is: broken JSON, frames or compression.
    UsageMalformed,
    /// A response was neither JSON nor a stream of it.
    UsageNotJson,
    /// A fault of this library: reading a response panicked. The event is kept, without usage.
    UsageInternalError,
    /// A catalog on disk that cannot be read; the embedded one is used.
    UnreadableCatalog,
    /// A field of a measured call that an event does not have; it is left out.
    UnknownField,
    /// Events that were only in memory when delivery ended, and are lost.
    LostInMemory,
}

impl Issue {
    /// Every issue.
    pub const ALL: [Self; 22] = [
        Self::MissingProvider,
        Self::MissingModel,
        Self::InvalidUsage,
        Self::InvalidText,
        Self::InvalidTime,
        Self::InvalidCost,
        Self::NoSpace,
        Self::TooLarge,
        Self::InternalError,
        Self::GivenUp,
        Self::UnknownUnit,
        Self::Truncated,
        Self::UnreadableUsage,
        Self::ContradictoryUsage,
        Self::UsageUnreported,
        Self::UsageInterrupted,
        Self::UsageMalformed,
        Self::UsageNotJson,
        Self::UsageInternalError,
        Self::UnreadableCatalog,
        Self::UnknownField,
        Self::LostInMemory,
    ];

    /// Its name in `stats()`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::MissingProvider => "missing_provider",
            Self::MissingModel => "missing_model",
            Self::InvalidUsage => "invalid_usage",
            Self::InvalidText => "invalid_text",
            Self::InvalidTime => "invalid_time",
            Self::InvalidCost => "invalid_cost",
            Self::NoSpace => "no_space",
            Self::TooLarge => "too_large",
            Self::InternalError => "internal_error",
            Self::GivenUp => "given_up",
            Self::UnknownUnit => "unknown_unit",
            Self::Truncated => "truncated",
            Self::UnreadableUsage => "unreadable_usage",
            Self::ContradictoryUsage => "contradictory_usage",
            Self::UsageUnreported => "usage_unreported",
            Self::UsageInterrupted => "usage_interrupted",
            Self::UsageMalformed => "usage_malformed",
            Self::UsageNotJson => "usage_not_json",
            Self::UsageInternalError => "usage_internal_error",
            Self::UnreadableCatalog => "unreadable_catalog",
            Self::UnknownField => "unknown_field",
            Self::LostInMemory => "lost_in_memory",
        }
    }

    /// Whether each one is an event that was not recorded.
    #[must_use]
    pub fn is_loss(self) -> bool {
        matches!(
            self,
            Self::MissingProvider
                | Self::MissingModel
                | Self::InvalidUsage
                | Self::NoSpace
                | Self::TooLarge
                | Self::InternalError
        )
    }
}
