//! Pages of reports are parts of the whole report, in every order.

use std::cmp::Reverse;

use super::super::{Dimension, Filter, Order, Page, Reader, ReportPage, ReportRow, Sum, Totals, Writer};
use super::{HOUR, event};
use crate::money::Usd;

fn sum_of(rows: &[ReportRow]) -> Totals {
    rows.iter().fold(Totals::default(), |sum, (_, row)| Totals {
        calls: sum.calls + row.calls,
        errors: sum.errors + row.errors,
        unpriced: sum.unpriced + row.unpriced,
        input_tokens: sum.input_tokens + row.input_tokens,
        output_tokens: sum.output_tokens + row.output_tokens,
        cache_read_tokens: sum.cache_read_tokens + row.cache_read_tokens,
        cache_write_tokens: sum.cache_write_tokens + row.cache_write_tokens,
        reasoning_tokens: sum.reasoning_tokens + row.reasoning_tokens,
        cost: sum.cost + row.cost,
        cache_saved: sum.cache_saved + row.cache_saved,
    })
}

/// The whole report in an order, sorted by stable sorts from the least key to the first.
fn ordered(mut rows: Vec<ReportRow>, dimensions: &[Dimension], order: Order, is_reversed: bool) -> Vec<ReportRow> {
    let part = |row: &ReportRow, index: usize| match dimensions[index] {
        Dimension::Time(_) => (false, row.0[index].parse().unwrap(), String::new()),
        _ => (row.0[index].is_empty(), 0_u32, row.0[index].clone()),
    };
    rows.sort_by_key(|row| (Reverse(row.1.cost), Reverse(row.1.calls), row.0.clone()));
    rows.sort_by_key(|row| {
        let times = (0..dimensions.len()).filter(|index| matches!(dimensions[*index], Dimension::Time(_)));
        times.map(|index| part(row, index)).collect::<Vec<_>>()
    });
    let key = |row: &ReportRow| match order {
        Order::Standard => (Reverse(Usd::ZERO), Reverse(0), None),
        Order::Sum(Sum::Cost) => (Reverse(row.1.cost), Reverse(0), None),
        Order::Sum(_) => (Reverse(Usd::ZERO), Reverse(row.1.calls), None),
        Order::Field(index) => (Reverse(Usd::ZERO), Reverse(0), Some(part(row, index))),
    };
    rows.sort_by(|one, other| {
        let order = key(one).cmp(&key(other));
        if is_reversed { order.reverse() } else { order }
    });
    rows
}

#[test]
fn a_page_of_a_report_is_a_part_of_the_whole_with_the_sum_of_the_rest() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ledger.db");
    let names: Vec<_> = (0..25).map(|number| format!("name-{number}")).collect();
    let mut random = fastrand::Rng::with_seed(3);
    let mut writer = Writer::new(&path);
    for _ in 0..6 {
        let mut batch: Vec<_> = (0..70).map(|_| event(&mut random, &names)).collect();
        for event in &mut batch {
            // Few amounts, so that many groups have the same.
            event.cost = event.cost.map(|_| Usd::from_units(random.i128(-1..3) * 10_i128.pow(21)));
        }
        writer.write(&batch).unwrap();
    }
    let mut reader = Reader::open(&path).unwrap();
    let days = Dimension::Time((0..4).map(|day| 1_790_000_000_000_000_000 + day * 20 * HOUR + 5).collect());
    let field = |name| Dimension::parse(name).unwrap();
    for dimensions in [
        vec![],
        vec![field("customer")],
        vec![field("user"), field("tag:plan")],
        vec![field("customer"), days.clone()],
        vec![field("model"), field("status"), field("user")],
        vec![days],
    ] {
        let whole = reader.report(&dimensions, &Filter::default(), Page::default()).unwrap();
        let fields = (0..dimensions.len()).map(Order::Field);
        for order in [Order::Standard, Order::Sum(Sum::Cost), Order::Sum(Sum::Count(0))].into_iter().chain(fields) {
            for (is_reversed, is_last) in [(false, false), (false, true), (true, false), (true, true)] {
                let expected = ordered(whole.rows.clone(), &dimensions, order, is_reversed);
                for (offset, limit) in [(0, None), (0, Some(0)), (0, Some(3)), (2, Some(5)), (4, None), (1000, Some(1))]
                {
                    let page = Page { order, is_reversed, offset, limit, is_last };
                    let found = reader.report(&dimensions, &Filter::default(), page).unwrap();
                    let count = expected.len();
                    let (first, last) = (offset.min(count), (offset + limit.unwrap_or(count)).min(count));
                    let (first, last) = if is_last { (count - last, count - first) } else { (first, last) };
                    let rest = [&expected[..first], &expected[last..]].concat();
                    let expected = ReportPage {
                        rows: expected[first..last].to_vec(),
                        others: sum_of(&rest),
                        total: sum_of(&whole.rows),
                        groups: count,
                    };
                    assert_eq!(found, expected, "{dimensions:?} {page:?}");
                }
            }
        }
    }
}
