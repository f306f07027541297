//! Exports of calls in blocks are the same as those of the view `events`, and as those without blocks.

use std::path::Path;
use std::sync::Arc;

use rusqlite::Connection;

use super::super::reader::select;
use super::super::{Format, Pruning, Reader, Watch, Writer};
use super::event;
use super::ranking::filters;
use crate::event::{Unit, UsageEvent};
use crate::money::Usd;

/// All lines of an export, read page by page.
fn export(reader: &mut Reader, filter: &super::Filter, format: &Format, page: usize) -> String {
    let (mut bytes, mut after) = (Vec::new(), 0);
    loop {
        let block = reader.export(filter, format, after, page).unwrap();
        bytes.extend(block.bytes);
        after = block.last;
        if block.events < page as u64 {
            return String::from_utf8(bytes).unwrap();
        }
    }
}

fn csv(is_raw: bool) -> Format {
    let columns = ["seq", "id", "user", "cost_usd", "nothing", "tags", "usage", "latency_ms", "batch", "cost_notes"];
    Format::Csv { columns: columns.map(str::to_owned).to_vec(), is_raw }
}

/// Compares with the view, and with a copy of the file that has no blocks.
fn check(path: &Path) {
    let copy = path.with_extension("copy");
    let _ = std::fs::remove_file(&copy);
    let connection = Connection::open(path).unwrap();
    connection.execute("VACUUM INTO ?1", [copy.to_str().unwrap()]).unwrap();
    Connection::open(&copy).unwrap().execute_batch("DELETE FROM blocks; DELETE FROM block_columns").unwrap();
    super::super::functions::add(&connection).unwrap();
    let (mut reader, mut plain) = (Reader::open(path).unwrap(), Reader::open(&copy).unwrap());
    for filter in filters() {
        let mut values = Vec::new();
        let clause = filter.clause(&mut values);
        let (events, _) = select(&connection, &format!("SELECT * FROM events{clause} ORDER BY seq"), values).unwrap();
        let lines = export(&mut reader, &filter, &Format::JsonLines, 50);
        assert_eq!(lines.lines().collect::<Vec<_>>(), events, "{filter:?}");
        assert_eq!(reader.events(&filter, 0, 100_000).unwrap().0, events, "{filter:?}");
        for format in [csv(false), csv(true)] {
            let cells = export(&mut reader, &filter, &format, 1_000);
            assert_eq!(cells, export(&mut plain, &filter, &format, 7), "{filter:?}");
        }
    }
}

#[test]
fn exports_of_blocks_equal_those_of_rows_also_after_pruning() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ledger.db");
    let names: Vec<_> = (0..40).map(|number| format!("name-{number}")).collect();
    let hostile: Vec<_> = ["=1+1", "a,b", "\"quoted\"", "line\nbreak", "株式会社", "\u{1b}[2J", "{\"plan\":\"pro\"}"]
        .map(str::to_owned)
        .into();
    let mut random = fastrand::Rng::with_seed(7);
    let mut writer = Writer::new(&path);
    for round in 0..12 {
        let all = if round % 4 == 1 { &hostile } else { &names };
        let mut batch: Vec<UsageEvent<'_>> = (0..random.usize(1..60)).map(|_| event(&mut random, all)).collect();
        for event in &mut batch {
            event.ttft_us = random.bool().then(|| random.u64(0..3_000_000));
            event.batch = random.bool();
            event.computed_cost = random.bool().then(|| Usd::from_units(random.i128(0..1 << 90)));
            event.trace_id = random.bool().then_some("0123456789abcdef");
            event.operation = ["chat", ""][random.usize(0..2)];
            if random.bool() {
                event.usage.set(Unit::INPUT_TOKENS, random.u64(1..5_000));
                event.usage.set(Unit::REQUESTS, 3);
            }
        }
        writer.write(&batch).unwrap();
    }
    check(&path);
    let watch = Arc::new(Watch::default());
    // The last text is of a call that is deleted. Its number is not given again.
    let unseen = ["the last name".to_owned()];
    writer.write(&[event(&mut random, &unseen)]).unwrap();
    let mut reader = Reader::open(&path).unwrap();
    assert!(export(&mut reader, &super::Filter::default(), &csv(false), 10).contains("the last name"));
    let conditions = vec![super::Condition::new("user", super::Op::Is, vec![Some(unseen[0].clone())]).unwrap()];
    let erasing = Pruning { erases: true, ..Pruning::default() };
    writer.prune(&super::Filter { conditions, ..super::Filter::default() }, erasing, &watch).unwrap();
    assert_eq!(texts_with(&path, "the last name"), 0);
    writer.write(&[event(&mut random, &["another name".to_owned()])]).unwrap();
    let cells = export(&mut reader, &super::Filter::default(), &csv(false), 10);
    assert!(cells.contains("another name") && !cells.contains("the last name"), "{cells}");
    let pruning = Pruning { keeps_sums: true, ..Pruning::default() };
    let until = Some(1_790_000_000_000_000_000 + 25 * super::HOUR);
    writer.prune(&super::Filter { until, ..super::Filter::default() }, pruning, &watch).unwrap();
    check(&path);
}

fn texts_with(path: &Path, text: &str) -> i64 {
    let connection = Connection::open(path).unwrap();
    connection.query_row("SELECT count(*) FROM texts WHERE text = ?1", [text], |row| row.get(0)).unwrap()
}
