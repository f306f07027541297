//! Percentiles of reserve and settle in one process and in eight, beside SQLite in the same run, and the size of many counters.
//!
//! Criterion has means only. `cargo bench --bench budgets` runs everything.

#![expect(clippy::print_stdout, reason = "it prints what it measures")]

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use _core::budget::{Charge, Counts, Decision, Gate, Patience, Period, Share, Unavailable, Used};

/// The directory in which this binary works as one of several processes, and what it does there.
const WORK_IN: &str = "TAXIMETER_BENCH_BUDGETS";
const PROCESSES: usize = 8;
/// Each process makes so many calls, one a millisecond.
const CALLS: usize = 5_000;
/// The calls of a measurement in one process.
const COUNT: usize = 100_000;
const ALWAYS: Period = Period::Fixed { start: 0, end: i64::MAX };

fn share(key: &[u8]) -> Share<'_> {
    Share {
        key,
        period: ALWAYS,
        amount: i128::MAX,
        thresholds: &[],
        estimate: 1_000,
        blocks: true,
        admits_room: false,
        input_part: 0,
        is_charged_when_killed: false,
        hold_timeout: 900,
    }
}

fn gate(dir: &Path, used: impl Fn() -> Vec<Used> + Send + Sync + 'static) -> Gate {
    Gate::new(&dir.join("budgets"), 256 << 20, Box::new(used))
}

/// A call in the first budgets of three. Returns whether the state could be used.
fn in_gate(gate: &Gate, count: usize) -> bool {
    let shares = [share(b"customer"), share(b"team"), share(b"total")];
    let charges = [Charge { amount: 900, calls: 1, ..Charge::default() }; 3];
    let Ok((Decision::Admitted(ticket), _)) = gate.reserve(&shares[..count], None, Patience::Long) else {
        return false;
    };
    !gate.settle(Some(&ticket), &shares[..count], &charges[..count], Patience::Long).is_waiting
}

/// The same with SQLite: two transactions, each with one update.
fn in_sqlite(connection: &rusqlite::Connection) -> bool {
    let done = connection.execute_batch(
        "BEGIN IMMEDIATE; UPDATE budgets SET held = held + 1000 WHERE key = 'customer' AND used + held >= 0; COMMIT;
        BEGIN IMMEDIATE; UPDATE budgets SET held = held - 1000, used = used + 900 WHERE key = 'customer'; COMMIT;",
    );
    done.is_ok()
}

fn sqlite(dir: &Path) -> Option<rusqlite::Connection> {
    let connection = rusqlite::Connection::open(dir.join("budgets.db")).ok()?;
    connection.busy_timeout(Duration::from_secs(10)).ok()?;
    let made = connection.execute_batch(
        "PRAGMA journal_mode = wal; PRAGMA synchronous = normal;
        CREATE TABLE IF NOT EXISTS budgets (key TEXT PRIMARY KEY, used INTEGER, held INTEGER);
        INSERT OR IGNORE INTO budgets VALUES ('customer', 0, 0);",
    );
    made.ok().map(|()| connection)
}

/// Times calls. With a pause, one begins each millisecond.
fn timed(count: usize, has_pause: bool, mut call: impl FnMut() -> bool) -> Vec<Duration> {
    let start = Instant::now();
    let times = (0..count).filter_map(|index| {
        if has_pause {
            let next = start + Duration::from_millis(index as u64);
            std::thread::sleep(next.saturating_duration_since(Instant::now()));
        }
        let began = Instant::now();
        call().then(|| began.elapsed())
    });
    times.collect()
}

fn print(name: &str, mut times: Vec<Duration>, expected: usize) {
    times.sort_unstable();
    let at = |permille: usize| times.get((times.len() * permille / 1000).min(times.len().saturating_sub(1)));
    let shown = [500, 990, 999].map(|permille| at(permille).map_or(f64::NAN, |time| time.as_secs_f64() * 1e6));
    let failed = expected - times.len();
    println!("{name}: p50 {:.1} µs, p99 {:.1} µs, p99.9 {:.1} µs, {failed} failed", shown[0], shown[1], shown[2]);
}

/// What a process of the measurement with eight does. Writes its times.
fn work(dir: &Path, with: &str) {
    let times = if with == "gate" {
        let gate = gate(dir, Vec::new);
        timed(CALLS, true, || in_gate(&gate, 1))
    } else {
        let Some(connection) = sqlite(dir) else { return };
        timed(CALLS, true, || in_sqlite(&connection))
    };
    let mut out = std::io::stdout();
    for time in times {
        let _ = out.write_all(&(time.as_nanos() as u64).to_le_bytes());
    }
}

fn eight(dir: &Path, with: &str) -> Vec<Duration> {
    let Ok(program) = std::env::current_exe() else { return Vec::new() };
    let start = || {
        Command::new(&program)
            .env(WORK_IN, dir)
            .arg(with)
            .stdout(Stdio::piped())
            .spawn()
            .and_then(std::process::Child::wait_with_output)
    };
    std::thread::scope(|scope| {
        let all: Vec<_> = (0..PROCESSES).map(|_| scope.spawn(start)).collect();
        let outputs = all.into_iter().filter_map(|one| one.join().ok()?.ok());
        let times = outputs.flat_map(|output| {
            let words = output.stdout.as_chunks::<8>().0.iter().map(|bytes| u64::from_le_bytes(*bytes));
            words.map(Duration::from_nanos).collect::<Vec<_>>()
        });
        times.collect()
    })
}

/// The time to count many keys again, and the bytes of the state.
fn many(count: u32) {
    let Ok(dir) = tempfile::tempdir() else { return };
    let used = move || {
        let one = |key: u32| Used {
            key: key.to_le_bytes().as_slice().into(),
            period: ALWAYS,
            counts: Counts { used: 1, held: 0, calls: 1, unpriced: 0 },
            unrecorded: 0,
            at: 0,
        };
        (0..count).map(one).collect()
    };
    let began = Instant::now();
    let prepared = gate(dir.path(), used).prepare();
    let bytes = std::fs::metadata(dir.path().join("budgets/state")).map_or(0, |data| data.len());
    println!("{count} keys: {:.2} s, {} MiB, {prepared:?}", began.elapsed().as_secs_f64(), bytes >> 20);
}

/// How long calls wait while the holder of the lock does not run: of this process, in which a lock of another open file excludes too.
fn stopped(dir: &Path) {
    let (gate, holder) = (gate(dir, Vec::new), gate(dir, Vec::new));
    let _ = holder.define(|number| {
        let times: Vec<_> = (0..3)
            .map(|_| {
                let began = Instant::now();
                (in_gate(&gate, 1), began.elapsed())
            })
            .collect();
        println!("calls while another process has stopped in an operation: {times:?}");
        Ok::<_, Unavailable>((number, ()))
    });
}

fn main() {
    if let Some(dir) = std::env::var_os(WORK_IN) {
        return work(Path::new(&dir), &std::env::args().nth(1).unwrap_or_default());
    }
    let Ok(dir) = tempfile::tempdir() else { return };
    let dir = dir.path();
    let (gate, connection) = (gate(dir, Vec::new), sqlite(dir));
    for budgets in 1..=3 {
        let times = timed(COUNT, false, || in_gate(&gate, budgets));
        print(&format!("reserve and settle in {budgets} budgets"), times, COUNT);
    }
    if let Some(connection) = connection {
        print("the same in SQLite", timed(COUNT / 5, false, || in_sqlite(&connection)), COUNT / 5);
    }
    for (name, with) in [("8 processes, 1,000 calls/s each", "gate"), ("the same in SQLite", "sqlite")] {
        print(name, eight(dir, with), PROCESSES * CALLS);
    }
    stopped(dir);
    many(100_000);
    many(1_000_000);
}
