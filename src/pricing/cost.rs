//! The question for a price and its answer: a call, and its cost.

use super::catalog::{MatchKind, Place};
use super::charge::Line;
use super::conditions::Conditions;
use super::entry::ModelEntry;
use super::reference::OpenRouter;
use super::uplifts::Uplift;
use crate::event::{CostNotes, CostStatus, Usage};
use crate::money::Usd;

/// A call to be priced.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The provider that was called; if `None`, the name of the model must say.
    pub provider: Option<&'a str>,
    /// The model reference, as in the request or in the response.
    pub model: &'a str,
    /// The usage.
    pub usage: &'a Usage,
    /// When the call began, in nanoseconds since the Unix epoch. It decides which dated rate applies.
    pub started_at: u64,
    /// The other conditions that decide the rate.
    pub conditions: Conditions<'a>,
}

/// Where the rates for a reference were found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    pub(super) source: Source,
    /// The index of the user's multiplier.
    pub(super) multiplier: Option<u16>,
    /// Whether the rates belong to another provider, because the called one falls back to it or an alias leads to it.
    pub(super) is_fallback: bool,
    /// How OpenRouter is asked to route the call.
    pub(super) route: Option<OpenRouter>,
    /// How the reference matched.
    pub kind: MatchKind,
}

/// The list of rates, and the place in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// A rate of the user.
    Override(u16),
    /// The catalog.
    Catalog(Place),
    /// The table of further providers.
    LongTail(Place),
}

/// The cost of a call and its explanation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cost {
    /// The total cost; `None` if it is unknown.
    pub usd: Option<Usd>,
    /// The cost of the input.
    pub input: Option<Usd>,
    /// The cost of the output.
    pub output: Option<Usd>,
    /// Where the cost comes from.
    pub status: CostStatus,
    /// Remarks about the cost.
    pub notes: CostNotes,
    /// Where the rates were found.
    pub found: Option<Found>,
    /// The first second, since the Unix epoch, in which the row of rates is valid, if the row says so.
    pub valid_from: Option<u64>,
    /// The factors for the region and the tier, if the catalog has no rates for them.
    pub(super) uplift: Uplift,
    /// One line for each charged unit.
    pub lines: Vec<Line>,
}

/// The cost of an event and its origin, without the lines: what `track()` needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Total {
    /// The total cost; `None` if it is unknown.
    pub usd: Option<Usd>,
    /// Where the cost comes from.
    pub status: CostStatus,
    /// Remarks about the cost.
    pub notes: CostNotes,
    /// Where the rates were found.
    pub found: Option<Found>,
    pub(super) valid_from: Option<u64>,
    pub(super) uplift: Uplift,
}

impl Total {
    /// The result for a call without a price: its cost is unknown.
    pub(super) const UNPRICED: Self = Self {
        usd: None,
        status: CostStatus::Unpriced,
        notes: CostNotes::NONE,
        found: None,
        valid_from: None,
        uplift: Uplift { region: None, tier: None },
    };

    pub(super) fn free(found: Option<Found>) -> Self {
        Self { usd: Some(Usd::ZERO), status: CostStatus::Free, found, ..Self::UNPRICED }
    }
}

impl Found {
    /// Whether it is free whatever was used, by a rule of the user or by OpenRouter's name of it.
    pub(super) fn is_free(self, model: &ModelEntry) -> bool {
        self.route == Some(OpenRouter::Free)
            || (matches!(self.source, Source::Override(_)) && model.rows.iter().all(|row| row.rates.is_empty()))
    }
}
