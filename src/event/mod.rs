//! One usage event: what was called, what it used, what it cost, and whom to charge for it.
//!
//! An event is priced and encoded when it is tracked and never changes afterwards. It holds counts, names and the attribution
//! the caller gave; there is no field for prompt or response text.
//!
//! [`binary`] is its form in the journal, [`json`] its form for people and the wire.

pub mod accept;
pub mod binary;
pub mod id;
pub mod json;
pub mod limits;
pub mod units;
pub mod usage;

pub use units::Unit;
pub use usage::Usage;

use crate::money::Usd;

macro_rules! named_enum {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
        #[repr(u8)]
        pub enum $name { #[default] $($(#[$variant_doc])* $variant),+ }

        impl $name {
            const ALL: &[Self] = &[$(Self::$variant),+];

            /// The name used in JSON, in the ledger and in Python.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }

            /// The value of this name.
            #[must_use]
            pub fn from_name(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|value| value.name() == name)
            }

            /// The value with this number in the journal; an unknown number (from a newer version) reads as the first.
            #[must_use]
            pub fn from_code(code: u8) -> Self {
                Self::ALL.get(code as usize).copied().unwrap_or_default()
            }
        }
    };
}

named_enum! {
    /// How the call ended.
    Status {
        /// It was answered.
        Success = "success",
        /// It failed, or broke off.
        Error = "error",
    }
}

named_enum! {
    /// Whether the usage is the provider's own and final.
    UsageStatus {
        /// The provider's final numbers, or the caller's.
        Complete = "complete",
        /// The provider's numbers up to a point: the stream ended before its last report.
        Partial = "partial",
        /// The provider reported none. The event stands for the call; its cost is unknown, not zero.
        Missing = "missing",
    }
}

named_enum! {
    /// Where the cost comes from.
    CostStatus {
        /// No price is known: the cost is `None`, never zero and never guessed.
        Unpriced = "unpriced",
        /// Computed from the catalog.
        Priced = "priced",
        /// The catalog lists the model as free of charge.
        Free = "free",
        /// The provider or the caller reported it.
        Reported = "reported",
        /// Computed from a rate the user set.
        Manual = "manual",
    }
}

/// What to know about a computed cost: a set of remarks, none of which makes it wrong by the catalog's own rules.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
pub struct CostNotes(u8);

impl CostNotes {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// Tokens of audio, images or video were charged like text, for they have no rate of their own.
    pub const MODALITY_AT_TEXT_RATE: Self = Self(1);
    /// Cached tokens were charged like any input, for they have no rate of their own.
    pub const CACHE_AT_INPUT_RATE: Self = Self(1 << 1);
    /// Something that was used has no rate: the cost is of the rest.
    pub const UNIT_WITHOUT_RATE: Self = Self(1 << 2);
    /// The service tier has no rates: the standard ones were taken.
    pub const TIER_WITHOUT_RATES: Self = Self(1 << 3);
    /// Batches have no rates: the standard ones were taken.
    pub const BATCH_WITHOUT_RATES: Self = Self(1 << 4);
    /// The region has no rates of its own; it may cost more there.
    pub const REGION_WITHOUT_RATES: Self = Self(1 << 5);
    /// The rates are those of the provider whose model another one serves.
    pub const FALLBACK_PROVIDER: Self = Self(1 << 6);

    /// Some other condition has no rates: the standard ones were taken.
    pub const CONTEXT_WITHOUT_RATES: Self = Self(1 << 7);

    const NAMES: [&str; 8] = [
        "modality_at_text_rate",
        "cache_at_input_rate",
        "unit_without_rate",
        "tier_without_rates",
        "batch_without_rates",
        "region_without_rates",
        "fallback_provider",
        "context_without_rates",
    ];

    /// The names of those that are set, as in Python and in the ledger.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Self::NAMES.into_iter().enumerate().filter(move |(bit, _)| self.0 >> bit & 1 == 1).map(|(_, name)| name)
    }

    /// The notes of these names, separated by commas; names that are not known are left out.
    #[must_use]
    pub fn from_names(text: &str) -> Self {
        let position = |name: &str| Self::NAMES.iter().position(|known| *known == name);
        Self(text.split(',').filter_map(position).fold(0, |set, bit| set | 1 << bit))
    }

    /// As a number in the journal.
    #[must_use]
    pub const fn code(self) -> u8 {
        self.0
    }

    /// From a number in the journal.
    #[must_use]
    pub const fn from_code(code: u8) -> Self {
        Self(code)
    }

    /// Whether it is empty.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl std::ops::BitOr for CostNotes {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl std::ops::BitOrAssign for CostNotes {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

/// Whom to charge: the dimensions of every report. Empty texts count as absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attribution<'a> {
    /// The agent that made the call.
    pub agent: Option<&'a str>,
    /// The product feature it was made for.
    pub feature: Option<&'a str>,
    /// The team that owns it.
    pub team: Option<&'a str>,
    /// The customer it was made for.
    pub customer: Option<&'a str>,
    /// The end user.
    pub user: Option<&'a str>,
    /// The conversation or session.
    pub session: Option<&'a str>,
    /// Further dimensions, as pairs of key and value.
    pub tags: Vec<(&'a str, &'a str)>,
}

/// One usage event, whose texts are borrowed from their owner.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct UsageEvent<'a> {
    /// UUID version 7.
    pub id: [u8; 16],
    /// When the call began: nanoseconds since the Unix epoch, UTC.
    pub started_at: u64,
    /// OpenTelemetry's `gen_ai.provider.name` where it has one.
    pub provider: &'a str,
    /// The model that answered.
    pub model: &'a str,
    /// OpenTelemetry's `gen_ai.operation.name`: `chat`, `embeddings`, …
    pub operation: &'a str,
    /// How the call ended.
    pub status: Status,
    /// The class of the error, never its message.
    pub error: Option<&'a str>,
    /// Why generation stopped, in the provider's word.
    pub finish_reason: Option<&'a str>,
    /// Counts by unit.
    pub usage: Usage,
    /// The provider's own report of it, a JSON object; kept when that is asked for.
    pub provider_usage: Option<&'a str>,
    /// Whether the usage is complete.
    pub usage_status: UsageStatus,
    /// The cost that counts: the reported one if there is one, else the computed one.
    pub cost: Option<Usd>,
    /// Where it comes from.
    pub cost_status: CostStatus,
    /// The computed cost, kept beside a reported one.
    pub computed_cost: Option<Usd>,
    /// What to know about the computed cost.
    pub cost_notes: CostNotes,
    /// The catalog entry that priced it, as `provider/model`.
    pub priced_as: Option<&'a str>,
    /// The catalog that was in force.
    pub catalog: Option<&'a str>,
    /// From request to last byte, in microseconds.
    pub latency_us: Option<u64>,
    /// From request to first token, in microseconds.
    pub ttft_us: Option<u64>,
    /// The tier that served the call.
    pub service_tier: Option<&'a str>,
    /// The region that served the call.
    pub region: Option<&'a str>,
    /// Whether it ran through a batch endpoint.
    pub batch: bool,
    /// W3C trace id, 32 hexadecimal digits.
    pub trace_id: Option<&'a str>,
    /// W3C span id, 16 hexadecimal digits.
    pub span_id: Option<&'a str>,
    /// The parent's span id.
    pub parent_span_id: Option<&'a str>,
    /// Whom to charge.
    pub attribution: Attribution<'a>,
    /// What a service with a wire of its own is to be asked, one request after the other; none of an event of usage.
    pub requests: Vec<Outgoing<'a>>,
}

impl UsageEvent<'_> {
    /// Whether it is an event of usage, rather than requests for one service.
    #[must_use]
    pub fn is_usage(&self) -> bool {
        self.requests.is_empty()
    }
}

/// A request in the form of another SDK, made when it was given and sent as it is. It holds no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outgoing<'a> {
    /// What is put after the service's URL.
    pub path: &'a str,
    /// The body.
    pub body: &'a str,
}
