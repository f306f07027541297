mod export;
mod order;
mod ranking;

use std::collections::BTreeMap;
use std::sync::Arc;

use rusqlite::Connection;

use super::schema::{BEFORE_CALLS, STEPS, version as version_of};
use super::{Condition, Dimension, Filter, Op, Page, Pruning, Reader, Watch, Writer};
use crate::event::{Attribution, CostStatus, Status, Unit, UsageEvent};
use crate::money::Usd;

const HOUR: u64 = 3_600_000_000_000;

fn event<'a>(random: &mut fastrand::Rng, names: &'a [String]) -> UsageEvent<'a> {
    let mut event = UsageEvent {
        id: random.u128(..).to_be_bytes(),
        started_at: 1_790_000_000_000_000_000 + random.u64(0..400) * HOUR / 7,
        provider: "openai",
        model: ["gpt-4o", "gpt-4o-mini"][random.usize(0..2)],
        operation: "chat",
        status: if random.u8(0..5) == 0 { Status::Error } else { Status::Success },
        cost_status: if random.bool() { CostStatus::Priced } else { CostStatus::Unpriced },
        attribution: Attribution {
            customer: random.bool().then(|| names[random.usize(0..names.len())].as_str()),
            user: Some(names[random.usize(0..names.len())].as_str()),
            tags: if random.bool() { vec![("plan", "pro")] } else { Vec::new() },
            ..Attribution::default()
        },
        latency_us: random.bool().then(|| random.u64(0..9_000_000)),
        ..UsageEvent::default()
    };
    event.usage.set(Unit::INPUT_TOKENS, random.u64(0..3_000_000_000));
    if event.cost_status == CostStatus::Priced {
        event.cost = Some(Usd::from_units(i128::from(random.u64(..)) * if random.bool() { 1 } else { 1 << 62 }));
    }
    event
}

type Sums = BTreeMap<Vec<String>, (u64, u64, u64, u64, Usd)>;

fn expected(events: &[UsageEvent<'_>], key: impl Fn(&UsageEvent<'_>) -> Vec<String>) -> Sums {
    let mut sums = Sums::new();
    for event in events {
        let entry = sums.entry(key(event)).or_default();
        entry.0 += 1;
        entry.1 += u64::from(event.status == Status::Error);
        entry.2 += u64::from(event.cost_status == CostStatus::Unpriced);
        entry.3 += event.usage.count(Unit::INPUT_TOKENS);
        entry.4 = entry.4 + event.cost.unwrap_or_default();
    }
    sums
}

fn reported(reader: &mut Reader, fields: &[&str], filter: &Filter) -> Sums {
    let dimensions: Vec<_> = fields.iter().map(|field| Dimension::parse(field).unwrap()).collect();
    let rows = reader.report(&dimensions, filter, Page::default()).unwrap().rows.into_iter();
    rows.map(|(key, sums)| (key, (sums.calls, sums.errors, sums.unpriced, sums.input_tokens, sums.cost))).collect()
}

fn check(reader: &mut Reader, events: &[UsageEvent<'_>]) {
    let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
    let all = Filter::default();
    let customer = |event: &UsageEvent<'_>| vec![text(event.attribution.customer)];
    assert_eq!(reported(reader, &["customer"], &all), expected(events, customer));
    assert_eq!(reported(reader, &["model"], &all), expected(events, |event| vec![event.model.to_owned()]));
    let both = |event: &UsageEvent<'_>| vec![text(event.attribution.user), event.model.to_owned()];
    assert_eq!(reported(reader, &["user", "model"], &all), expected(events, both));
    let condition = Condition::new("tag:plan", Op::Is, vec![Some("pro".to_owned())]).unwrap();
    let since = 1_790_000_000_000_000_000 + 150 * HOUR / 7 + 5;
    let filter = Filter { since: Some(since), conditions: vec![condition], ..Filter::default() };
    let chosen = events.iter().filter(|event| event.started_at >= since && !event.attribution.tags.is_empty());
    let chosen: Vec<_> = chosen.cloned().collect();
    assert_eq!(reported(reader, &["customer"], &filter), expected(&chosen, customer));
}

/// Two writers add batches in turn, so blocks come from events at hand, from those of the other, and from both.
#[test]
fn reports_equal_brute_force_while_two_writers_fill_blocks() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ledger.db");
    let names: Vec<_> = (0..40).map(|number| format!("name-{number}")).collect();
    let mut random = fastrand::Rng::with_seed(7);
    let (mut first, mut second) = (Writer::new(&path), Writer::new(&path));
    let mut reader = Reader::open(&path).unwrap();
    let mut events = Vec::new();
    for round in 0..60 {
        let batch: Vec<_> = (0..random.usize(1..90)).map(|_| event(&mut random, &names)).collect();
        let writer = if round % 20 < 12 || random.bool() { &mut first } else { &mut second };
        assert_eq!(writer.write(&batch).unwrap().new, batch.len() as u64);
        // A repeated batch changes nothing.
        assert_eq!(writer.write(&batch).unwrap().new, 0);
        events.extend(batch);
        if round % 7 == 0 {
            check(&mut reader, &events);
        }
        if round == 40 {
            second.pack(&Watch::default()).unwrap();
        }
    }
    check(&mut reader, &events);
    let connection = Connection::open(&path).unwrap();
    let blocks: i64 = connection.query_row("SELECT count(*) FROM blocks", (), |row| row.get(0)).unwrap();
    assert!(blocks > 20, "{blocks}");
}

#[test]
fn small_blocks_are_merged_with_their_neighbours() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ledger.db");
    let names: Vec<_> = (0..40).map(|number| format!("name-{number}")).collect();
    let mut random = fastrand::Rng::with_seed(3);
    let (mut writer, mut reader, mut events) = (Writer::new(&path), Reader::open(&path).unwrap(), Vec::new());
    let blocks = |expected: &[i64]| {
        let connection = Connection::open(&path).unwrap();
        let mut select = connection.prepare("SELECT calls FROM blocks ORDER BY block").unwrap();
        let found = select.query_map((), |row| row.get(0)).unwrap().collect::<Result<Vec<i64>, _>>().unwrap();
        assert_eq!(found, expected);
    };
    for expected in [&[20][..], &[40], &[60], &[60, 20], &[60, 40]] {
        let batch: Vec<_> = (0..20).map(|_| event(&mut random, &names)).collect();
        writer.write(&batch).unwrap();
        writer.pack(&Watch::default()).unwrap();
        events.extend(batch);
        blocks(expected);
        check(&mut reader, &events);
    }
    let customer = events[0].attribution.customer.map(str::to_owned);
    let conditions = vec![Condition::new("customer", Op::IsNot, vec![customer.clone()]).unwrap()];
    let filter = Filter { conditions, ..Filter::default() };
    writer.prune(&filter, Pruning::default(), &Arc::new(Watch::default())).unwrap();
    events.retain(|event| event.attribution.customer == customer.as_deref());
    blocks(&[events.len() as i64]);
    check(&mut reader, &events);
}

/// A file of each earlier schema is read as it is, and migrated by the first batch.
#[test]
fn ledgers_of_earlier_schemas_are_read_and_migrated() {
    crate::sys::sqlite::protect_locks();
    for version in 1..=BEFORE_CALLS as usize {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ledger.db");
        let connection = Connection::open(&path).unwrap();
        STEPS[..version].iter().for_each(|step| connection.execute_batch(step).unwrap());
        connection.pragma_update(None, "user_version", version as u32).unwrap();
        let names: Vec<_> = (0..40).map(|number| format!("name-{number}")).collect();
        let mut random = fastrand::Rng::with_seed(9);
        let mut events: Vec<_> = (0..150).map(|_| event(&mut random, &names)).collect();
        for event in &events {
            let (tokens, cost) =
                (event.usage.count(Unit::INPUT_TOKENS) as i64, event.cost.map(|cost| cost.to_string()));
            let columns = "id, started_at, provider, model, operation, status, input_tokens, output_tokens, cache_read_tokens,
                cache_write_tokens, reasoning_tokens, usage, usage_status, cost_usd, cost_status, batch, customer, user, tags";
            let query = format!(
                "INSERT INTO events ({columns}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 0, 0, 0, 0, ?8, ?9, ?10, ?11, 0, ?12, ?13, ?14)"
            );
            let tags = (!event.attribution.tags.is_empty()).then_some("{\"plan\":\"pro\"}");
            let usage = format!("{{\"input_tokens\":{tokens}}}");
            let values = rusqlite::params![
                crate::event::id::id_text(event.id),
                event.started_at as i64,
                event.provider,
                event.model,
                event.operation,
                event.status.name(),
                tokens,
                usage,
                "complete",
                cost,
                event.cost_status.name(),
                event.attribution.customer,
                event.attribution.user,
                tags,
            ];
            connection.execute(&query, values).unwrap();
            // Earlier versions summed exactly. Here each call gets its own row, by its own operation.
            let operation = crate::event::id::id_text(event.id);
            let (hour, cost) = ((event.started_at / HOUR) as i64, cost.unwrap_or("0".to_owned()));
            let (status, cost_status) = (event.status.name(), event.cost_status.name());
            if version >= 6 {
                let values =
                    rusqlite::params![hour, event.provider, event.model, operation, status, cost_status, tokens, cost];
                let query = "INSERT INTO hourly VALUES (?1, ?2, ?3, ?4, ?5, ?6, 1, ?7, 0, 0, 0, 0, ?8, '0')";
                connection.execute(query, values).unwrap();
                continue;
            }
            for (dimension, value) in [("", ""), ("customer", event.attribution.customer.unwrap_or_default())] {
                let values = rusqlite::params![
                    hour,
                    dimension,
                    value,
                    event.provider,
                    event.model,
                    operation,
                    status,
                    cost_status,
                    tokens,
                    cost,
                ];
                let query = "INSERT INTO hourly VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 1, ?9, 0, 0, 0, 0, ?10)";
                connection.execute(query, values).unwrap();
            }
        }
        drop(connection);
        let mut reader = Reader::open(&path).unwrap();
        check(&mut reader, &events);
        let mut writer = Writer::new(&path);
        for _ in 0..5 {
            let batch: Vec<_> = (0..50).map(|_| event(&mut random, &names)).collect();
            writer.write(&batch).unwrap();
            events.extend(batch);
            check(&mut reader, &events);
        }
        writer.pack(&Watch::default()).unwrap();
        check(&mut reader, &events);
        assert_eq!(version_of(&Connection::open(&path).unwrap()).unwrap(), STEPS.len() as u32);
    }
}

#[test]
fn failed_and_unpriced_calls_are_found_through_indexes_of_them_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger.db");
    Writer::new(&path).write(&[UsageEvent::default()]).unwrap();
    let connection = Connection::open(&path).unwrap();
    for (field, value, index) in [("status", "error", "calls_failed"), ("cost_status", "unpriced", "calls_unpriced")] {
        let condition = Condition::new(field, Op::Is, vec![Some(value.to_owned())]).unwrap();
        let filter = Filter { since: Some(1), until: None, conditions: vec![condition] };
        let mut values = Vec::new();
        let clause = filter.clause_by_time(&mut values);
        let query = format!("EXPLAIN QUERY PLAN SELECT id FROM events{clause} ORDER BY started_at DESC, seq DESC");
        let mut statement = connection.prepare(&query).unwrap();
        let mut plan = statement.query_map(rusqlite::params_from_iter(values), |row| row.get::<_, String>(3)).unwrap();
        let step = plan.next().unwrap().unwrap();
        assert!(step.contains(index), "{step}");
    }
}
