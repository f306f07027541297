//! Real processes that are killed, and threads, on one state.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::super::slot::{Counts, Period};
use super::super::{Charge, Decision, Gate, Patience, Share, Unavailable, Used};

const ALWAYS: Period = Period::Fixed { start: 0, end: i64::MAX };
const ESTIMATE: i128 = 10;
/// The directory in which a test has this binary work as a holder.
const WORK_IN: &str = "TAXIMETER_TEST_BUDGETS";

fn share(key: &[u8], amount: i128) -> Share<'_> {
    Share {
        key,
        period: ALWAYS,
        amount,
        thresholds: &[],
        estimate: ESTIMATE,
        blocks: true,
        admits_room: false,
        input_part: 0,
        is_charged_when_killed: false,
        hold_timeout: 900,
    }
}

fn gate(dir: &Path) -> Gate {
    Gate::new(&dir.join("budgets"), 256 << 20, Box::new(Vec::new))
}

/// Reserves and settles until it is killed. Writes each amount to a file before it settles, and a dot once it is charged.
#[test]
#[ignore = "a part of another test, run as a process"]
fn holder() {
    let Some(dir) = std::env::var_os(WORK_IN).map(PathBuf::from) else { return };
    let gate = gate(&dir);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (dir, gate) = (&dir, &gate);
            scope.spawn(move || {
                let path = dir.join(format!("log-{}-{thread}", std::process::id()));
                let mut log = std::fs::File::create(path).unwrap();
                for call in 0_u64.. {
                    let shares = [share(b"all", 1 << 40), share(b"few", 1_000)];
                    let shares = if call % 2 == 0 { &shares[..] } else { &shares[..1] };
                    let Ok((Decision::Admitted(ticket), _)) = gate.reserve(shares, None, Patience::Long) else {
                        continue;
                    };
                    let actual = call % (ESTIMATE as u64 + 1);
                    log.write_all(&[b'0' + actual as u8]).unwrap();
                    let charge = Charge { amount: actual.into(), calls: 1, ..Charge::default() };
                    if !gate.settle(Some(&ticket), shares, &vec![charge; shares.len()], Patience::Short).is_waiting {
                        log.write_all(b".").unwrap();
                    }
                }
            });
        }
    });
}

/// Settles one call, and ends.
#[test]
#[ignore = "a part of another test, run as a process"]
fn one_call() {
    let Some(dir) = std::env::var_os(WORK_IN).map(PathBuf::from) else { return };
    let (gate, shares) = (gate(&dir), [share(b"all", 1 << 40)]);
    let ticket = loop {
        match gate.reserve(&shares, None, Patience::Long) {
            Ok((Decision::Admitted(ticket), _)) => break ticket,
            // Many processes wait for the lock.
            Err(Unavailable::Busy) => {}
            other => panic!("{other:?}"),
        }
    };
    let charge = Charge { amount: 1, calls: 1, ..Charge::default() };
    let _ = gate.settle(Some(&ticket), &shares, &[charge], Patience::Long);
    while gate.waiting() > 0 {
        let _ = gate.settle_waiting(Patience::Long);
    }
}

/// Stops itself within an operation.
#[test]
#[ignore = "a part of another test, run as a process"]
fn stopper() {
    let Some(dir) = std::env::var_os(WORK_IN).map(PathBuf::from) else { return };
    let _ = gate(&dir).define(|number| {
        let stopped = Command::new("kill").args(["-STOP", &std::process::id().to_string()]).status();
        assert!(stopped.unwrap().success());
        // The signal stops this thread only a moment later.
        while !dir.join("go on").exists() {
            std::thread::yield_now();
        }
        Ok::<_, Unavailable>((number, ()))
    });
}

fn start(dir: &Path) -> Child {
    start_test(dir, "holder")
}

fn start_test(dir: &Path, name: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &format!("budget::tests::processes::{name}"), "--ignored"])
        .env(WORK_IN, dir)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// The amounts that the holders have certainly and possibly settled.
fn settled(dir: &Path) -> (i128, i128) {
    let (mut least, mut most) = (0, 0);
    for entry in std::fs::read_dir(dir).unwrap().map(Result::unwrap) {
        if !entry.file_name().to_string_lossy().starts_with("log-") {
            continue;
        }
        let log = std::fs::read(entry.path()).unwrap();
        for (index, byte) in log.iter().enumerate().filter(|(_, byte)| **byte != b'.') {
            let amount = i128::from(byte - b'0');
            most += amount;
            least += if log.get(index + 1) == Some(&b'.') { amount } else { 0 };
        }
    }
    (least, most)
}

/// Processes with four threads each are killed at random: the limit holds at every look, the sums are those of the settled calls, and
/// nothing stays held.
#[test]
fn killed_holders_neither_exceed_a_limit_nor_keep_anything() {
    let rounds: u32 = std::env::var("TAXIMETER_KILL_ROUNDS").map_or(20, |rounds| rounds.parse().unwrap());
    let dir = tempfile::tempdir().unwrap();
    let gate = gate(dir.path());
    let mut holders: Vec<Child> = (0..4).map(|_| start(dir.path())).collect();
    let mut looks = 0;
    for round in 0..rounds {
        let until = Instant::now() + Duration::from_millis(fastrand::u64(1..120));
        while Instant::now() < until {
            if let Ok(few) = gate.counts(b"few", ALWAYS) {
                assert!(few.used + few.held <= 1_000, "{few:?}");
                looks += 1;
            }
        }
        let victim = &mut holders[round as usize % 4];
        victim.kill().unwrap();
        victim.wait().unwrap();
        holders[round as usize % 4] = start(dir.path());
    }
    for holder in &mut holders {
        holder.kill().unwrap();
        holder.wait().unwrap();
    }
    // The first look only suspects an owner.
    while gate.tick().is_err() {}
    assert!(owners(dir.path()) > 1);
    while gate.tick().is_err() {}
    let (all, few) = (gate.counts(b"all", ALWAYS).unwrap(), gate.counts(b"few", ALWAYS).unwrap());
    let (least, most) = settled(dir.path());
    assert!(looks > 0 && (least..=most).contains(&all.used), "{least} <= {} <= {most}", all.used);
    assert_eq!((all.held, few.held), (0, 0));
    assert!(few.used <= 1_000 && few.used + ESTIMATE > 990, "{few:?}");
    assert_eq!(owners(dir.path()), 1, "only this process's");
}

/// The owner files of a state.
fn owners(dir: &Path) -> usize {
    let names = std::fs::read_dir(dir.join("budgets")).unwrap().map(|entry| entry.unwrap().file_name());
    names.filter(|name| name.to_string_lossy().ends_with(".owner")).count()
}

/// Processes that start at once on an empty directory share one state.
#[test]
fn processes_that_start_at_once_share_a_state() {
    let count = std::env::var("TAXIMETER_START_AT_ONCE").map_or(16, |count| count.parse().unwrap());
    let dir = tempfile::tempdir().unwrap();
    let processes: Vec<Child> = (0..count).map(|_| start_test(dir.path(), "one_call")).collect();
    for mut process in processes {
        assert!(process.wait().unwrap().success());
    }
    let all = gate(dir.path()).counts(b"all", ALWAYS).unwrap();
    assert_eq!((all.used, all.held, all.calls), (count.into(), 0, count as u64));
}

/// A process that is stopped while it has the lock makes the others' calls fail, but not wait for it. A settlement is not lost.
#[test]
#[cfg(target_os = "linux")]
fn a_stopped_holder_of_the_lock_stops_no_other_process() {
    let dir = tempfile::tempdir().unwrap();
    let (gate, shares) = (gate(dir.path()), [share(b"all", 1 << 40)]);
    let Ok((Decision::Admitted(ticket), _)) = gate.reserve(&shares, None, Patience::Long) else { panic!() };
    let mut stopper = start_test(dir.path(), "stopper");
    let stat = format!("/proc/{}/stat", stopper.id());
    while !std::fs::read_to_string(&stat).unwrap().contains(") T ") {
        std::thread::yield_now();
    }
    for _ in 0..2 {
        let answer = gate.reserve(&shares, None, Patience::Long);
        assert!(matches!(answer, Err(Unavailable::Busy)), "{answer:?}");
    }
    let charge = Charge { amount: 7, calls: 1, ..Charge::default() };
    assert!(gate.settle(Some(&ticket), &shares, &[charge], Patience::Long).is_waiting);
    assert_eq!(gate.waiting(), 1);
    std::fs::write(dir.path().join("go on"), "").unwrap();
    assert!(Command::new("kill").args(["-CONT", &stopper.id().to_string()]).status().unwrap().success());
    assert!(stopper.wait().unwrap().success());
    while gate.tick().is_err() {}
    let all = gate.counts(b"all", ALWAYS).unwrap();
    assert_eq!((all.used, all.held, gate.waiting()), (7, 0, 0));
}

/// Many threads that start at once on an empty directory share one state, which grows as keys come.
#[test]
fn threads_share_a_state_that_grows() {
    let dir = tempfile::tempdir().unwrap();
    let gates: Vec<Gate> = (0..4).map(|_| gate(dir.path())).collect();
    std::thread::scope(|scope| {
        for (index, gate) in gates.iter().enumerate() {
            scope.spawn(move || {
                for key in 0..3_000_u32 {
                    let key = (key * 4 + index as u32).to_le_bytes();
                    let shares = [share(&key, 100)];
                    let ticket = loop {
                        match gate.reserve(&shares, None, Patience::Long) {
                            Ok((Decision::Admitted(ticket), _)) => break ticket,
                            // Another thread has the lock for longer than an operation waits.
                            Err(Unavailable::Busy) => {}
                            other => panic!("{other:?}"),
                        }
                    };
                    let _ = gate.settle(
                        Some(&ticket),
                        &shares,
                        &[Charge { amount: 3, calls: 1, ..Charge::default() }],
                        Patience::Long,
                    );
                }
            });
        }
    });
    for gate in &gates {
        while gate.tick().is_err() {}
    }
    let all = gates[0].all().unwrap();
    assert_eq!(all.len(), 12_000);
    assert!(all.iter().all(|(_, counts, _)| (counts.used, counts.held, counts.calls) == (3, 0, 1)));
}

/// A state of another boot, or a damaged one, is replaced; what was used before is restored.
#[test]
fn a_state_that_cannot_be_kept_is_restored() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("budgets").join("state");
    let expected = Counts { used: 70, held: 0, calls: 7, unpriced: 1 };
    let restored = || {
        let used = Used { key: b"all".as_slice().into(), period: ALWAYS, counts: expected, unrecorded: 0, at: 0 };
        Gate::new(&dir.path().join("budgets"), 256 << 20, Box::new(move || vec![used.clone()]))
    };
    assert_eq!(restored().counts(b"all", ALWAYS).unwrap(), expected);
    // The state is there now, so nothing is restored a second time.
    assert_eq!(restored().counts(b"all", ALWAYS).unwrap(), expected);
    for (offset, bytes) in [(16, [1; 8]), (0, [0; 8]), (40, [0xFF; 8])] {
        let gate = restored();
        let _ = gate.settle(
            None,
            &[share(b"all", 100)],
            &[Charge { amount: 5, calls: 1, ..Charge::default() }],
            Patience::Long,
        );
        assert_eq!(gate.counts(b"all", ALWAYS).unwrap().used, 75);
        drop(gate);
        let mut content = std::fs::read(&state).unwrap();
        content[offset..offset + 8].copy_from_slice(&bytes);
        std::fs::write(&state, content).unwrap();
        assert_eq!(restored().counts(b"all", ALWAYS).unwrap(), expected, "{offset}");
    }
    let mut content = std::fs::read(&state).unwrap();
    content[8] = 9;
    std::fs::write(&state, content).unwrap();
    let error = restored().counts(b"all", ALWAYS).unwrap_err().to_string();
    assert!(error.contains("version 9"), "{error}");
}
