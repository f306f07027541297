//! What a call is expected to use, and what it is charged in the end.

use super::definition::{Estimate, Rule, Unit, Unpriced, WithoutEnd};
use super::gate::Charge;
use crate::event::{CostStatus, Unit as Counted, UsageEvent, UsageStatus};

/// An amount of each unit that budgets count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amounts {
    /// Units of 10⁻²⁴ USD; `None` if the price is unknown.
    pub usd: Option<i128>,
    /// Input and output tokens.
    pub tokens: u64,
    /// Calls.
    pub calls: u64,
}

impl Amounts {
    pub(super) fn of(self, unit: Unit) -> Option<i128> {
        match unit {
            Unit::Usd => self.usd,
            Unit::Tokens => Some(self.tokens.into()),
            Unit::Calls => Some(self.calls.into()),
        }
    }
}

/// What a call is expected to use before it is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quote {
    /// Its input alone.
    pub input: Amounts,
    /// Its input, and as much output as it may have.
    pub most: Amounts,
    /// Its input, and as much output as such calls have.
    pub typical: Amounts,
    /// The estimated counts of tokens, before any correction of the input.
    pub tokens: [u64; 2],
    /// Whether a part of the input could not be estimated.
    pub is_incomplete: bool,
    /// What it had used when a budget closed its stream.
    pub cut: Option<Amounts>,
}

impl Quote {
    /// What a call has used with so many input tokens, by the report of its stream, and output tokens. The prices are those of the
    /// estimate.
    #[must_use]
    pub fn running(&self, input: Option<u64>, output: u64) -> Amounts {
        let input = input.unwrap_or(self.input.tokens);
        let scaled = |amount: i128, count: u64, of: u64| amount.saturating_mul(count.into()) / i128::from(of.max(1));
        let usd = self.input.usd.zip(self.most.usd).map(|(of_input, most)| {
            scaled(of_input, input, self.input.tokens).saturating_add(scaled(
                most.saturating_sub(of_input),
                output,
                self.tokens[1],
            ))
        });
        Amounts { usd, tokens: input.saturating_add(output), calls: 1 }
    }
}

/// How a call ended.
#[derive(Clone, Copy, Debug)]
pub enum Outcome<'a> {
    /// There is an event of it.
    Event(&'a UsageEvent<'a>),
    /// There is an event of it that something else records, so the ledger does not have it.
    Unrecorded(&'a UsageEvent<'a>),
    /// It was never sent, or the provider refused it.
    Failed,
    /// It was cancelled, or its end is not known.
    Cancelled,
}

/// The charge to a budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Terms {
    pub(super) unit: Unit,
    pub(super) unpriced: Unpriced,
    pub(super) estimate: Estimate,
    pub(super) cancelled: WithoutEnd,
}

impl Terms {
    pub(super) fn of(rule: &Rule) -> Self {
        let definition = &rule.definition;
        Self {
            unit: definition.unit,
            unpriced: rule.unpriced,
            estimate: definition.estimate,
            cancelled: definition.cancelled,
        }
    }

    /// The amount to hold for a call; `None` if the call is refused, because its price is unknown.
    pub(super) fn estimate(&self, quote: &Quote) -> Option<i128> {
        let amounts = if self.estimate == Estimate::Typical { quote.typical } else { quote.most };
        match (amounts.of(self.unit), self.unpriced) {
            (Some(amount), _) | (None, Unpriced::Charge(amount)) => Some(amount),
            (None, Unpriced::Allow) => Some(0),
            (None, Unpriced::Block) => None,
        }
    }

    /// The input's part of a quote.
    pub(super) fn input(&self, quote: &Quote) -> i128 {
        match (quote.input.of(self.unit), self.unpriced) {
            (Some(amount), _) | (None, Unpriced::Charge(amount)) => amount,
            (None, Unpriced::Allow | Unpriced::Block) => 0,
        }
    }

    /// The charge for a call. `quote` is what was expected of it, if it passed the gate.
    pub(super) fn charge(&self, outcome: Outcome<'_>, quote: Option<&Quote>) -> Charge {
        let cut = quote.and_then(|quote| quote.cut).and_then(|cut| cut.of(self.unit));
        if let (Some(cut), Outcome::Event(event)) = (cut, outcome) {
            // The provider bills what was generated, also if it has not reported it yet.
            let actual = self.actual(event).unwrap_or(0);
            return Charge { amount: actual.max(cut), unrecorded: (cut - actual).max(0), calls: 1, is_unpriced: false };
        }
        let event = match outcome {
            Outcome::Failed => return Charge::default(),
            Outcome::Cancelled => {
                return match (self.cancelled, quote) {
                    (WithoutEnd::Input, Some(quote)) => {
                        let amount = self.input(quote);
                        Charge { amount, unrecorded: amount, calls: 1, is_unpriced: false }
                    }
                    _ => Charge::default(),
                };
            }
            Outcome::Event(event) | Outcome::Unrecorded(event) => event,
        };
        if event.cost_status == CostStatus::NotCharged {
            return Charge::default();
        }
        let actual = self.actual(event);
        let is_missing = event.usage.is_empty() && (self.unit != Unit::Usd || actual.is_none());
        let amount = match quote {
            // The admitted estimate is the best known amount.
            Some(quote) if is_missing && quote.most.of(self.unit).is_some() => quote.most.of(self.unit),
            Some(quote) if event.usage_status == UsageStatus::Partial => {
                actual.map(|amount| amount.max(self.input(quote)))
            }
            _ => actual,
        };
        // What `rebuild` makes of the ledger's row of this event.
        let recorded = match (outcome, actual, self.unpriced) {
            (Outcome::Unrecorded(_), ..) | (_, None, Unpriced::Allow | Unpriced::Block) => 0,
            (_, Some(actual), _) => actual,
            (_, None, Unpriced::Charge(amount)) => amount,
        };
        let (amount, is_unpriced) = match (amount, self.unpriced) {
            (Some(amount), _) => (amount.max(0), false),
            (None, Unpriced::Charge(amount)) => (amount, true),
            (None, Unpriced::Allow | Unpriced::Block) => (0, true),
        };
        Charge { amount, unrecorded: amount.saturating_sub(recorded), calls: 1, is_unpriced }
    }

    fn actual(&self, event: &UsageEvent<'_>) -> Option<i128> {
        match self.unit {
            Unit::Usd => event.cost.map(crate::money::Usd::units),
            Unit::Tokens => Some(tokens(event).into()),
            Unit::Calls => Some(1),
        }
    }
}

/// The input and output tokens of an event.
pub(super) fn tokens(event: &UsageEvent<'_>) -> u64 {
    event.usage.count(Counted::INPUT_TOKENS) + event.usage.count(Counted::OUTPUT_TOKENS)
}

/// A part of an amount in units of 2^-32, rounded down: [`super::hold`] rounds the part of the amount up again.
pub(super) fn part_of(part: i128, whole: i128) -> u32 {
    if whole <= 0 || part >= whole {
        return u32::MAX;
    }
    // Dropping the same bits of both keeps the product within 128 bits.
    let shift = (128 - whole.leading_zeros()).saturating_sub(90);
    let (part, whole) = (part.max(0) >> shift, whole >> shift);
    u32::try_from((part << 32) / whole).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Usage;
    use crate::money::Usd;

    const QUOTE: Quote = Quote {
        input: Amounts { usd: Some(30), tokens: 3, calls: 1 },
        most: Amounts { usd: Some(100), tokens: 10, calls: 1 },
        typical: Amounts { usd: Some(50), tokens: 5, calls: 1 },
        tokens: [3, 7],
        is_incomplete: false,
        cut: None,
    };

    fn terms(unit: Unit, unpriced: Unpriced) -> Terms {
        Terms { unit, unpriced, estimate: Estimate::Max, cancelled: WithoutEnd::Input }
    }

    fn event(cost: Option<i128>, tokens: u64, status: UsageStatus) -> UsageEvent<'static> {
        let mut usage = Usage::default();
        if tokens > 0 {
            usage.set(Counted::INPUT_TOKENS, tokens);
        }
        let cost_status = if cost.is_some() { CostStatus::Priced } else { CostStatus::Unpriced };
        UsageEvent {
            usage,
            usage_status: status,
            cost: cost.map(Usd::from_units),
            cost_status,
            ..UsageEvent::default()
        }
    }

    /// The table of ends: USD, tokens and calls that are charged.
    #[test]
    fn every_end_has_its_charge() {
        let charged = |outcome| {
            [Unit::Usd, Unit::Tokens, Unit::Calls].map(|unit| {
                let charge = terms(unit, Unpriced::Allow).charge(outcome, Some(&QUOTE));
                (charge.amount, charge.calls)
            })
        };
        let unrecorded = |outcome| terms(Unit::Usd, Unpriced::Allow).charge(outcome, Some(&QUOTE)).unrecorded;
        let whole = event(Some(70), 7, UsageStatus::Complete);
        assert_eq!(charged(Outcome::Event(&whole)), [(70, 1), (7, 1), (1, 1)]);
        assert_eq!((unrecorded(Outcome::Event(&whole)), unrecorded(Outcome::Unrecorded(&whole))), (0, 70));
        let missing = event(None, 0, UsageStatus::Missing);
        assert_eq!(charged(Outcome::Event(&missing)), [(100, 1), (10, 1), (1, 1)]);
        let partial = event(Some(20), 2, UsageStatus::Partial);
        assert_eq!(charged(Outcome::Event(&partial)), [(30, 1), (3, 1), (1, 1)]);
        assert_eq!((unrecorded(Outcome::Event(&missing)), unrecorded(Outcome::Event(&partial))), (100, 10));
        let refused = UsageEvent { cost_status: CostStatus::NotCharged, ..event(None, 0, UsageStatus::Missing) };
        assert_eq!(charged(Outcome::Event(&refused)), [(0, 0); 3]);
        assert_eq!(charged(Outcome::Failed), [(0, 0); 3]);
        assert_eq!(charged(Outcome::Cancelled), [(30, 1), (3, 1), (1, 1)]);
    }

    /// A stream that was closed is charged what it had used by then, or what its event has, whichever is more.
    #[test]
    fn a_closed_stream_is_charged_what_was_generated() {
        assert_eq!(QUOTE.running(None, 14), Amounts { usd: Some(170), tokens: 17, calls: 1 });
        assert_eq!(QUOTE.running(Some(6), 0), Amounts { usd: Some(60), tokens: 6, calls: 1 });
        let quote = Quote { cut: Some(QUOTE.running(None, 14)), ..QUOTE };
        for (event, charge) in [
            (event(Some(20), 2, UsageStatus::Partial), (170, 150)),
            (event(Some(180), 2, UsageStatus::Partial), (180, 0)),
            (event(None, 0, UsageStatus::Missing), (170, 170)),
        ] {
            let found = terms(Unit::Usd, Unpriced::Allow).charge(Outcome::Event(&event), Some(&quote));
            assert_eq!((found.amount, found.unrecorded), charge);
        }
    }

    #[test]
    fn a_call_without_a_price_is_charged_as_the_budget_says() {
        let quote = Quote { input: Amounts::default(), most: Amounts::default(), typical: Amounts::default(), ..QUOTE };
        let unknown = event(None, 9, UsageStatus::Complete);
        for (unpriced, estimate, amount) in
            [(Unpriced::Allow, Some(0), 0), (Unpriced::Block, None, 0), (Unpriced::Charge(4), Some(4), 4)]
        {
            let terms = terms(Unit::Usd, unpriced);
            assert_eq!(terms.estimate(&quote), estimate);
            let expected = Charge { amount, unrecorded: 0, calls: 1, is_unpriced: true };
            assert_eq!(terms.charge(Outcome::Event(&unknown), Some(&quote)), expected);
        }
    }

    #[test]
    fn a_part_comes_back_as_it_was() {
        for (part, whole) in [(1, 3), (0, 5), (1, 1), (100, 4_196), (10_i128.pow(9) - 1, 4 * 10_i128.pow(9))] {
            assert_eq!(super::super::hold::input_part(whole, part_of(part, whole)), part, "{part} of {whole}");
        }
        for (part, whole) in [(10_i128.pow(30), 10_i128.pow(31)), (i128::MAX / 3, i128::MAX / 2)] {
            let difference = part - super::super::hold::input_part(whole, part_of(part, whole));
            assert!((0..=whole >> 31).contains(&difference), "{part} of {whole}");
        }
    }
}
