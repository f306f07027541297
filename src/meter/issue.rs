//! Issues: the things that can go wrong with events, and the name of each count in `stats()`.

/// Something that can go wrong with events. `stats()` has a count of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Issue {
    /// The provider was absent, empty or not a text.
    MissingProvider,
    /// The model was absent, empty or not a text.
    MissingModel,
    /// A count was negative, fractional, not a number or too large.
    InvalidUsage,
    /// A text field was not a text (it is left out), or not valid Unicode (invalid parts are replaced).
    InvalidText,
    /// A time was not a time, had no zone or was out of range. The time of the `track()` call is used instead. A duration is left out.
    InvalidTime,
    /// A cost was negative or not a decimal. The computed cost is recorded instead.
    InvalidCost,
    /// The journal was full.
    NoSpace,
    /// A request for a service was larger than 48 KiB.
    TooLarge,
    /// A bug in this library: recording the event panicked.
    InternalError,
    /// Events were dropped, the oldest first, because the journal's budget was used up or they waited too long for a destination.
    GivenUp,
    /// A unit does not exist. It is left out.
    UnknownUnit,
    /// Texts were cut or tags left out.
    Truncated,
    /// A provider's usage report could not be read. The event is recorded without usage.
    UnreadableUsage,
    /// The parts of the usage exceed their total. The event is recorded without a cost.
    ContradictoryUsage,
    /// A complete response reported no usage.
    UsageUnreported,
    /// A response ended before it reported its usage.
    UsageInterrupted,
    /// The JSON, the framing or the compression of a response was invalid.
    UsageMalformed,
    /// A response was neither JSON nor a stream of JSON.
    UsageNotJson,
    /// A bug in this library: reading a response panicked. The event is recorded without usage.
    UsageInternalError,
    /// A catalog on disk could not be read. The embedded one is used.
    UnreadableCatalog,
    /// An event does not have this field of a measured call. It is left out.
    UnknownField,
    /// Events that were only in memory when delivery ended are lost.
    LostInMemory,
    /// This library could not handle the way a client was called. The call is not recorded, or some of its fields are missing.
    InstrumentFailed,
    /// The user's function that attributes requests raised an exception. The request's calls are recorded without attribution.
    AttributionFailed,
    /// The user's function for a budget's thresholds raised an exception.
    CallbackFailed,
}

impl Issue {
    /// Every issue.
    pub const ALL: [Self; 25] = [
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
        Self::InstrumentFailed,
        Self::AttributionFailed,
        Self::CallbackFailed,
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
            Self::InstrumentFailed => "instrument_failed",
            Self::AttributionFailed => "attribution_failed",
            Self::CallbackFailed => "callback_failed",
        }
    }

    /// Whether each count stands for an event that was not recorded.
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
