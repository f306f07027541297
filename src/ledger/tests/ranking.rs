//! Pages of calls are the same as those that SQL finds.

use std::sync::Arc;

use rusqlite::{Connection, params_from_iter};

use super::super::{Condition, Filter, Measure, NewPrice, Op, Pruning, Reader, Watch, Writer};
use super::{HOUR, event};
use crate::event::{CostNotes, CostStatus};
use crate::money::Usd;

fn condition(field: &str, op: Op, values: &[Option<&str>]) -> Condition {
    Condition::new(field, op, values.iter().map(|value| value.map(str::to_owned)).collect()).unwrap()
}

pub(super) fn filters() -> Vec<Filter> {
    let start = 1_790_000_000_000_000_000;
    let conditions = [
        vec![],
        vec![condition("customer", Op::Is, &[Some("name-7")])],
        vec![condition("customer", Op::Is, &[Some("name-7"), None])],
        vec![condition("customer", Op::IsNot, &[Some("name-7"), Some("no such name")])],
        vec![condition("customer", Op::Is, &[Some("no such name")])],
        vec![condition("user", Op::Contains, &[Some("NAME-1")]), condition("tag:plan", Op::Is, &[Some("pro")])],
        vec![condition("status", Op::Is, &[Some("error")])],
        vec![condition("status", Op::Is, &[Some("error")]), condition("user", Op::Is, &[Some("name-3")])],
        vec![condition("latency_ms", Op::Above, &[Some("8000")])],
        vec![condition("model", Op::Is, &[Some("gpt-4o")]), condition("cost_usd", Op::Is, &[None])],
        vec![condition("trace_id", Op::Is, &[None]), condition("user", Op::Is, &[Some("name-3")])],
    ];
    let periods = [(None, None), (Some(start + 20 * HOUR), Some(start + 40 * HOUR)), (None, Some(start + HOUR / 7))];
    let all = conditions
        .iter()
        .flat_map(|conditions| periods.map(|(since, until)| Filter { since, until, conditions: conditions.clone() }));
    all.collect()
}

/// The ids that SQL finds in the order of an expression.
fn expected(connection: &Connection, filter: &Filter, order: &str, limit: usize, offset: usize) -> Vec<String> {
    let mut values = Vec::new();
    let clause = filter.clause(&mut values);
    let query = format!("SELECT id FROM events{clause} ORDER BY {order} DESC, seq DESC LIMIT {limit} OFFSET {offset}");
    let mut statement = connection.prepare(&query).unwrap();
    let ids = statement.query_map(params_from_iter(values), |row| row.get(0)).unwrap();
    ids.map(Result::unwrap).collect()
}

fn ids(events: &[String]) -> Vec<String> {
    let id = |event: &String| {
        let event: serde_json::Value = serde_json::from_str(event).unwrap();
        event["id"].as_str().unwrap().to_owned()
    };
    events.iter().map(id).collect()
}

fn check(reader: &mut Reader, path: &std::path::Path) {
    let connection = Connection::open(path).unwrap();
    super::super::functions::add(&connection).unwrap();
    for filter in filters() {
        for (limit, offset) in [(0, 0), (1, 0), (5, 0), (20, 7), (100_000, 2)] {
            let newest = ids(&reader.newest(&filter, limit).unwrap());
            assert_eq!(newest, expected(&connection, &filter, "started_at", limit, 0), "{filter:?} {limit}");
            let slowest = ids(&reader.highest(&filter, Measure::Latency, limit, offset).unwrap());
            assert_eq!(slowest, expected(&connection, &filter, "latency_ms", limit, offset), "{filter:?} {limit}");
            let costliest = ids(&reader.highest(&filter, Measure::Cost, limit, offset).unwrap());
            // No two of these costs differ by less than floating point can tell.
            let cost = "CAST(cost_usd AS REAL)";
            assert_eq!(costliest, expected(&connection, &filter, cost, limit, offset), "{filter:?} {limit}");
        }
    }
}

#[test]
fn pages_of_calls_equal_those_of_sql_also_after_pruning_and_repricing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ledger.db");
    let names: Vec<_> = (0..40).map(|number| format!("name-{number}")).collect();
    let mut random = fastrand::Rng::with_seed(5);
    let mut writer = Writer::new(&path);
    let mut reader = Reader::open(&path).unwrap();
    check(&mut reader, &{
        writer.write(&[event(&mut random, &names)]).unwrap();
        path.clone()
    });
    for round in 0..20 {
        let mut batch: Vec<_> = (0..random.usize(1..90)).map(|_| event(&mut random, &names)).collect();
        for event in &mut batch {
            // Few amounts, so that many calls have the same.
            event.cost = event.cost.map(|_| Usd::from_units(random.i128(-3..9) * 10_i128.pow(21)));
            if round < 10 {
                // As a service writes: nearly in the order of time.
                event.started_at = 1_790_000_000_000_000_000 + (round * 3 + random.u64(0..4)) * HOUR;
            }
        }
        writer.write(&batch).unwrap();
    }
    check(&mut reader, &path);

    let filter = Filter { conditions: vec![condition("customer", Op::Is, &[Some("name-9")])], ..Filter::default() };
    writer
        .reprice(&filter, false, |_| {
            Some(NewPrice {
                usd: Some(Usd::from_units(5 * 10_i128.pow(21))),
                saved: None,
                status: CostStatus::Priced,
                notes: CostNotes::default(),
                priced_as: None,
                catalog: None,
            })
        })
        .unwrap();
    check(&mut reader, &path);

    let watch = Arc::new(Watch::default());
    writer.prune(&filter, Pruning::default(), &watch).unwrap();
    let until = Some(1_790_000_000_000_000_000 + 25 * HOUR);
    let pruning = Pruning { keeps_sums: true, ..Pruning::default() };
    writer.prune(&Filter { until, ..Filter::default() }, pruning, &watch).unwrap();
    check(&mut reader, &path);
    writer.write(&[event(&mut random, &names)]).unwrap();
    check(&mut reader, &path);
}
