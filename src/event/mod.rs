//! One usage event: which model was called, what the call used, what it cost, and who to bill for it.
//!
//! An event is priced and encoded when it is tracked, and does not change afterwards. It holds counts, names and the attribution
//! that the caller gave. No field holds prompt or response text.
//!
//! [`binary`] is its encoding in the journal, [`json`] its form for people and HTTP destinations.

pub mod accept;
pub mod binary;
pub mod id;
pub mod json;
pub mod limits;
pub mod plain;
pub mod units;
pub mod usage;

pub use units::Unit;
pub use usage::Usage;

use std::sync::Arc;

use crate::money::Usd;

/// Computes what caching saved in an event; `None` if that is unknown.
pub type Savings = Arc<dyn Fn(&UsageEvent<'_>) -> Option<Usd> + Send + Sync>;

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

            /// The value with this name.
            #[must_use]
            pub fn from_name(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|value| value.name() == name)
            }

            /// The value with this number in the journal. A number that only a newer version knows reads as the first value.
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
        /// The provider answered.
        Success = "success",
        /// It failed or was cut off.
        Error = "error",
    }
}

named_enum! {
    /// Whether the usage is final and where it comes from.
    UsageStatus {
        /// The provider's final numbers, or numbers that the caller gave.
        Complete = "complete",
        /// The provider's numbers so far: the stream ended before its last report.
        Partial = "partial",
        /// The provider reported no usage. The event records the call; its cost is unknown, not zero.
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
        /// The call failed and used nothing, so no cost is expected. It is `None`.
        NotCharged = "not_charged",
    }
}

/// Remarks about a computed cost. The cost follows the catalog's rules in spite of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
pub struct CostNotes(u16);

impl CostNotes {
    /// No remarks.
    pub const NONE: Self = Self(0);
    /// Audio, image or video tokens were charged like text, because the catalog has no rate for them.
    pub const MODALITY_AT_TEXT_RATE: Self = Self(1);
    /// Cached tokens were charged like other input, because the catalog has no rate for them.
    pub const CACHE_AT_INPUT_RATE: Self = Self(1 << 1);
    /// A unit that was used has no rate. The cost covers the other units.
    pub const UNIT_WITHOUT_RATE: Self = Self(1 << 2);
    /// The catalog has no rates for the service tier; the standard rates were used.
    pub const TIER_WITHOUT_RATES: Self = Self(1 << 3);
    /// The catalog has no rates for batches; the standard rates were used.
    pub const BATCH_WITHOUT_RATES: Self = Self(1 << 4);
    /// The catalog has no rates for the region, which may cost more.
    pub const REGION_WITHOUT_RATES: Self = Self(1 << 5);
    /// The rates are those of the provider that made the model; another provider served it.
    pub const FALLBACK_PROVIDER: Self = Self(1 << 6);

    /// The catalog has no rates for another condition of the call; the standard rates were used.
    pub const CONTEXT_WITHOUT_RATES: Self = Self(1 << 7);
    /// The host belongs to no known provider. The call is charged at the rates of the client's own vendor.
    pub const HOST_UNKNOWN: Self = Self(1 << 8);
    /// The provider's total is greater than the sum of the parts it reports. The type of the remaining tokens is unknown, so the cost
    /// does not include them.
    pub const UNACCOUNTED_TOKENS: Self = Self(1 << 9);

    /// The output is text and images, and the response does not say how many tokens each has. All were charged like text.
    pub const UNSPLIT_OUTPUT: Self = Self(1 << 10);

    /// Notes that come from the call, not from the prices. They are kept when the call is priced again.
    pub const FROM_CALL: Self = Self(Self::HOST_UNKNOWN.0 | Self::UNACCOUNTED_TOKENS.0 | Self::UNSPLIT_OUTPUT.0);

    const NAMES: [&str; 11] = [
        "modality_at_text_rate",
        "cache_at_input_rate",
        "unit_without_rate",
        "tier_without_rates",
        "batch_without_rates",
        "region_without_rates",
        "fallback_provider",
        "context_without_rates",
        "host_unknown",
        "unaccounted_tokens",
        "unsplit_output",
    ];

    /// The names of the remarks, as used in Python and in the ledger.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Self::NAMES.into_iter().enumerate().filter(move |(bit, _)| self.0 >> bit & 1 == 1).map(|(_, name)| name)
    }

    /// The remarks with these names, separated by commas. Unknown names are ignored.
    #[must_use]
    pub fn from_names(text: &str) -> Self {
        let position = |name: &str| Self::NAMES.iter().position(|known| *known == name);
        Self(text.split(',').filter_map(position).fold(0, |set, bit| set | 1 << bit))
    }

    /// As a number in the journal.
    #[must_use]
    pub const fn code(self) -> u16 {
        self.0
    }

    /// From a number in the journal.
    #[must_use]
    pub const fn from_code(code: u16) -> Self {
        Self(code)
    }

    /// The notes that both sets contain.
    #[must_use]
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Whether there are no remarks.
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

/// Who to bill: the dimensions of every report. Empty texts count as absent.
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

/// One usage event. Its texts are borrowed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct UsageEvent<'a> {
    /// UUID version 7.
    pub id: [u8; 16],
    /// When the call began: nanoseconds since the Unix epoch, UTC.
    pub started_at: u64,
    /// The provider, named as in OpenTelemetry's `gen_ai.provider.name` where that has a name for it.
    pub provider: &'a str,
    /// The model that answered.
    pub model: &'a str,
    /// OpenTelemetry's `gen_ai.operation.name`: `chat`, `embeddings`, …
    pub operation: &'a str,
    /// How the call ended.
    pub status: Status,
    /// The class of the error, never its message.
    pub error: Option<&'a str>,
    /// Why generation stopped, in the provider's terms.
    pub finish_reason: Option<&'a str>,
    /// Counts by unit.
    pub usage: Usage,
    /// The provider's own usage report, a JSON object. Kept only if the settings ask for it.
    pub provider_usage: Option<&'a str>,
    /// Whether the usage is complete.
    pub usage_status: UsageStatus,
    /// The effective cost: the reported one if there is one, else the computed one.
    pub cost: Option<Usd>,
    /// Where the cost comes from.
    pub cost_status: CostStatus,
    /// The computed cost of an event with a reported cost.
    pub computed_cost: Option<Usd>,
    /// Remarks about the computed cost.
    pub cost_notes: CostNotes,
    /// The catalog entry whose rates were used, as `provider/model`.
    pub priced_as: Option<&'a str>,
    /// The catalog of that entry.
    pub catalog: Option<&'a str>,
    /// Microseconds from the request to the last byte of the response.
    pub latency_us: Option<u64>,
    /// Microseconds from the request to the first token.
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
    /// W3C id of the parent span.
    pub parent_span_id: Option<&'a str>,
    /// The id that the events of one call share, if it made several requests.
    pub call_id: Option<&'a str>,
    /// Who to bill.
    pub attribution: Attribution<'a>,
    /// Requests to a service with its own wire format, to be sent in this order. Empty for a usage event.
    pub requests: Vec<Outgoing<'a>>,
}

impl UsageEvent<'_> {
    /// Whether this is a usage event, as opposed to requests for one service.
    #[must_use]
    pub fn is_usage(&self) -> bool {
        self.requests.is_empty()
    }
}

/// A request in the form that another vendor's SDK sends. It is complete when it is recorded and is sent unchanged. It holds no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outgoing<'a> {
    /// The path to append to the service's URL.
    pub path: &'a str,
    /// The body.
    pub body: &'a str,
}
