//! The explanation of a cost: one line for each charged unit, the total, and the remarks.

use super::book::Book;
use super::cost::Cost;
use super::entry::RATE_SCALE;
use super::overrides::MULTIPLIER_SCALE;
use crate::money::{SCALE, Usd};

/// One line for each charged unit, quantity × rate = amount, then the total and the remarks. A `reported` cost is the effective one.
#[must_use]
pub fn explain(book: &Book, cost: &Cost, reported: Option<Usd>) -> String {
    let mut lines: Vec<String> = Vec::new();
    let multiplier = cost.found.and_then(|found| book.multiplier(found));
    let factor = multiplier.map_or_else(String::new, |(key, millionths)| {
        let value = Usd::from_units(millionths * 10_i128.pow(SCALE - MULTIPLIER_SCALE));
        format!(" × {value} ({key})")
    });
    for line in &cost.lines {
        let (unit, count) = (line.unit, line.count as f64 / line.unit.scale() as f64);
        let rate = Usd::from_units(line.rate.saturating_mul(10_i128.pow(SCALE - RATE_SCALE)));
        let uplift = cost.uplift.millionths().filter(|_| unit.dimensions().next() == Some("tokens"));
        let uplift = uplift.map_or_else(String::new, |millionths| {
            let value = Usd::from_units(millionths * 10_i128.pow(SCALE - MULTIPLIER_SCALE));
            format!(" × {value} (region, tier; {})", cost.uplift.sources())
        });
        lines.push(format!("{unit}: {count} × ${rate} per {}{uplift}{factor} = ${}", unit.per(), line.amount));
    }
    lines.push(match (reported, cost.usd) {
        (Some(reported), Some(usd)) => format!("total: ${reported} as reported, ${usd} computed"),
        (Some(reported), None) => format!("total: ${reported} as reported"),
        (None, Some(usd)) => format!("total: ${usd}"),
        (None, None) => "unpriced: no rate is known".to_owned(),
    });
    lines.extend(cost.notes.names().map(|note| format!("note: {}", note.replace('_', " "))));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Unit, Usage};
    use crate::pricing::{Catalog, Conditions, Overrides, Request};

    #[test]
    fn the_lines_add_up_to_the_total_and_a_reported_cost_is_shown() {
        let overrides = r#"{"rates":{"x/y":{"input_tokens":{"per_1m":"2.5"}}},"multipliers":{"x/*":"0.5"}}"#;
        let book = Book::new(Catalog::embedded(), None, Overrides::parse(overrides).unwrap());
        let mut usage = Usage::default();
        usage.set(Unit::INPUT_TOKENS, 1_000_000);
        let request = |model| Request {
            provider: Some("x"),
            model,
            usage: &usage,
            started_at: 1_780_000_000_000_000_000,
            conditions: Conditions { service_tier: None, batch: false, region: None, further: &[] },
        };
        let priced = book.price(&request("y")).unwrap();
        let text = explain(&book, &priced, None);
        let (lines, total) = text.rsplit_once('\n').unwrap();
        assert!(lines.starts_with("input_tokens: 1000000 × $2.5 per ") || lines.contains("$0.0000025"), "{text}");
        assert!(total.starts_with("total: $"), "{text}");
        assert!(explain(&book, &priced, Some(Usd::ZERO)).contains("as reported, $"));
        let unknown = book.price(&request("no-such-model")).unwrap();
        assert_eq!(explain(&book, &unknown, None), "unpriced: no rate is known");
    }
}
