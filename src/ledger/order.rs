//! The rows of a report: their sums, their order, and the part of them that is made.

use std::cmp::Ordering;

use super::error::LedgerError;
use super::groups::Groups;
use crate::money::Usd;

/// The sums of one group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// The number of events.
    pub calls: u64,
    /// How many of them failed.
    pub errors: u64,
    /// How many of them have an unknown cost. Failed calls that used nothing do not count.
    pub unpriced: u64,
    /// All input tokens.
    pub input_tokens: u64,
    /// All output tokens.
    pub output_tokens: u64,
    /// Input tokens read from a cache.
    pub cache_read_tokens: u64,
    /// Input tokens written to a cache.
    pub cache_write_tokens: u64,
    /// Output tokens spent on reasoning.
    pub reasoning_tokens: u64,
    /// The sum of the known costs.
    pub cost: Usd,
    /// The sum of what caching saved, of the calls of which it is known. It may be negative.
    pub cache_saved: Usd,
}

/// Sums: calls, errors, unpriced calls, the five counts of tokens, and amounts in units of [`Usd`].
#[derive(Clone, Copy, Default)]
pub(super) struct Sums {
    pub(super) counts: [u64; 8],
    pub(super) cost: i128,
    pub(super) saved: i128,
}

impl Sums {
    pub(super) fn add(&mut self, other: &Self) {
        self.counts.iter_mut().zip(other.counts).for_each(|(sum, count)| *sum += count);
        self.cost = self.cost.saturating_add(other.cost);
        self.saved = self.saved.saturating_add(other.saved);
    }

    /// These sums less those of a part of their calls.
    pub(super) fn without(&self, part: &Self) -> Self {
        let mut left = *self;
        left.counts.iter_mut().zip(part.counts).for_each(|(sum, count)| *sum -= count);
        left.cost = left.cost.saturating_sub(part.cost);
        left.saved = left.saved.saturating_sub(part.saved);
        left
    }
}

impl From<Sums> for Totals {
    fn from(sums: Sums) -> Self {
        let [calls, errors, unpriced, input, output, cache_read, cache_write, reasoning] = sums.counts;
        Self {
            calls,
            errors,
            unpriced,
            input_tokens: input,
            output_tokens: output,
            cache_read_tokens: cache_read,
            cache_write_tokens: cache_write,
            reasoning_tokens: reasoning,
            cost: Usd::from_units(sums.cost),
            cache_saved: Usd::from_units(sums.saved),
        }
    }
}

/// One row: the values of the dimensions, with an empty text for an absent value, and the sums.
pub type ReportRow = (Vec<String>, Totals);

/// The order of the rows of a report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// By the times among the dimensions, then from the highest cost. Equal ones from the most calls, then by the other values.
    #[default]
    Standard,
    /// By a sum, from the highest.
    Sum(Sum),
    /// By the dimension with this index: times as they follow, texts with absent ones last.
    Field(usize),
}

/// A sum of [`Totals`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sum {
    /// One of [`COUNT_NAMES`], by its index.
    Count(usize),
    /// The cost.
    Cost,
    /// What caching saved.
    CacheSaved,
}

/// The names of the counts of a report, in the order in which rows have them.
pub const COUNT_NAMES: [&str; 8] = [
    "calls",
    "errors",
    "unpriced",
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
];

impl Sum {
    /// The sum with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "cost_usd" => Some(Self::Cost),
            "cache_saved_usd" => Some(Self::CacheSaved),
            _ => COUNT_NAMES.iter().position(|count| *count == name).map(Self::Count),
        }
    }

    fn of(self, sums: &Sums) -> i128 {
        match self {
            Self::Count(index) => sums.counts[index].into(),
            Self::Cost => sums.cost,
            Self::CacheSaved => sums.saved,
        }
    }
}

/// Which rows of a report are made. The others are summed up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The order.
    pub order: Order,
    /// Whether the order is the other way round. Equal rows stay in the standard order.
    pub is_reversed: bool,
    /// How many rows come before those that are made.
    pub offset: usize,
    /// How many rows are made; `None` for all.
    pub limit: Option<usize>,
    /// Whether rows are counted from the last one. They still come in their order.
    pub is_last: bool,
}

/// A page of a report.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReportPage {
    /// The rows of the page.
    pub rows: Vec<ReportRow>,
    /// The sums of all groups that are not on the page.
    pub others: Totals,
    /// The sums of all groups.
    pub total: Totals,
    /// The number of groups.
    pub groups: usize,
}

/// Makes a page of the rows of a report, from the sums of its groups.
pub(super) fn page_of(all: &Groups<'_>, sums: &[Sums], page: Page) -> Result<ReportPage, LedgerError> {
    let ranks = match page.order {
        Order::Field(field) => all.ranks(field)?,
        Order::Standard | Order::Sum(_) => Vec::new(),
    };
    let times = all.times();
    // All but the texts, which only equal groups need.
    let order = |one: &u32, other: &u32| {
        let (own, others) = (&sums[*one as usize], &sums[*other as usize]);
        let first = match page.order {
            Order::Standard => Ordering::Equal,
            Order::Sum(sum) => sum.of(others).cmp(&sum.of(own)),
            Order::Field(_) => ranks[*one as usize].cmp(&ranks[*other as usize]),
        };
        let first = if page.is_reversed { first.reverse() } else { first };
        let by_time = || {
            let (key, others) = (all.key(*one), all.key(*other));
            times.iter().map(|index| key[*index].cmp(&others[*index])).find(|order| order.is_ne())
        };
        first
            .then_with(|| by_time().unwrap_or(Ordering::Equal))
            .then_with(|| others.cost.cmp(&own.cost))
            .then_with(|| others.counts[0].cmp(&own.counts[0]))
    };
    let mut groups: Vec<u32> = (0..all.len() as u32).collect();
    groups.sort_unstable_by(order);
    let (first, last) = ends(groups.len(), page);
    let is_tied = |index: usize| order(&groups[index - 1], &groups[index]).is_eq();
    let (mut from, mut to) = (first, last);
    while from > 0 && from < last && is_tied(from) {
        from -= 1;
    }
    while to > first && to < groups.len() && is_tied(to) {
        to += 1;
    }
    let made = &groups[from..to];
    let mut rows: Vec<_> = made.iter().copied().zip(all.values_of(made)?).collect();
    rows.sort_by(|one, other| order(&one.0, &other.0).then_with(|| one.1.cmp(&other.1)));
    let rows: Vec<_> = rows.into_iter().skip(first - from).take(last - first).collect();
    let (mut total, mut shown) = (Sums::default(), Sums::default());
    for one in sums {
        total.add(one);
    }
    for (group, _) in &rows {
        shown.add(&sums[*group as usize]);
    }
    let row = |(group, key): (u32, Vec<String>)| (key, Totals::from(sums[group as usize]));
    Ok(ReportPage {
        rows: rows.into_iter().map(row).collect(),
        others: total.without(&shown).into(),
        total: total.into(),
        groups: groups.len(),
    })
}

/// The index of the first group of a page, and of the one after its last.
fn ends(groups: usize, page: Page) -> (usize, usize) {
    let first = page.offset.min(groups);
    let last = page.limit.map_or(groups, |limit| first.saturating_add(limit).min(groups));
    if page.is_last { (groups - last, groups - first) } else { (first, last) }
}
