use std::collections::{BTreeSet, HashSet, VecDeque};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use flate2::read::GzDecoder;
use proptest::prelude::*;
use tempfile::TempDir;

use super::EventJournal as Journal;
use super::in_flight::Source;
use super::network_loop::{Network, RemoteState};
use super::orphans::OrphanPool;
use super::remote::{Feed, Step, Urgency};
use super::shared::Shared;
use super::{DestinationStats, Remote};
use crate::event::UsageEvent;
use crate::event::binary::encode;
use crate::event::id::id_text;
use crate::http::Address;
use crate::journal::{Backend, Batch, Settings};
use crate::protocol::{Answer, CloudEvents, HttpRequest, Protocol, Verdict};
use crate::sys::mutex::lock;

mod cutting;
mod files;
mod left;
mod lingering;
pub(super) mod threads;

/// What the collector does with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Unavailable,
    TooManyRequests,
    /// It stores the events, then breaks the connection.
    LostResponse,
    /// It breaks the connection before it stores anything.
    LostRequest,
    /// It accepts at most this many events.
    TooLarge(usize),
}

/// How a collector rejects poison events.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Refusal {
    #[default]
    BadRequest,
    /// With a server error, which could have any cause.
    ServerError,
}

#[derive(Default)]
struct Kept {
    ids: BTreeSet<String>,
    script: VecDeque<Fault>,
    poison: HashSet<String>,
    refusal: Refusal,
    received: usize,
}

/// A real server on loopback that follows a script, then accepts everything except poison events.
struct Collector {
    port: u16,
    kept: Arc<Mutex<Kept>>,
}

impl Collector {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let kept: Arc<Mutex<Kept>> = Arc::default();
        let shared = Arc::clone(&kept);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let kept = Arc::clone(&shared);
                std::thread::spawn(move || while serve(&stream, &kept).is_some() {});
            }
        });
        Self { port, kept }
    }
}

/// Answers one request; `None` when the connection ends.
fn serve(mut stream: &TcpStream, kept: &Mutex<Kept>) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let (mut length, mut is_gzip) = (0, false);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
        let line = line.trim_end().to_ascii_lowercase();
        if let Some(value) = line.strip_prefix("content-length: ") {
            length = value.parse().unwrap();
        }
        is_gzip |= line == "content-encoding: gzip";
        if line.is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let mut text = String::new();
    if is_gzip {
        GzDecoder::new(&*body).read_to_string(&mut text).unwrap();
    } else {
        text = String::from_utf8(body).unwrap();
    }
    let events: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
    let ids: Vec<_> = events.iter().map(|event| event["id"].as_str().unwrap().to_owned()).collect();
    let mut kept = kept.lock().unwrap();
    let fault = kept.script.pop_front();
    let status = match fault {
        Some(Fault::Unavailable) => "503 Unavailable",
        Some(Fault::TooManyRequests) => "429 Too Many Requests\r\nRetry-After: 0",
        Some(Fault::TooLarge(most)) if ids.len() > most => "413 Too Large",
        Some(Fault::LostRequest) => return None,
        _ if ids.iter().any(|id| kept.poison.contains(id)) => match kept.refusal {
            Refusal::BadRequest => "400 Bad",
            Refusal::ServerError => "500 Failed",
        },
        _ => {
            kept.received += ids.len();
            kept.ids.extend(ids);
            if fault == Some(Fault::LostResponse) {
                return None;
            }
            "200 OK"
        }
    };
    drop(kept);
    stream.write_all(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n").as_bytes()).ok()
}

/// A series of processes, each of which dies in the middle of something.
struct World {
    collector: Collector,
    _dir: TempDir,
    state: PathBuf,
    tracked: BTreeSet<String>,
    process: Option<Process>,
    protocol: fn() -> Box<dyn Protocol>,
}

struct Process {
    shared: Shared,
    state: RemoteState,
    network: Network,
}

impl World {
    fn new(protocol: fn() -> Box<dyn Protocol>) -> Self {
        let dir = TempDir::new().unwrap();
        let state = dir.path().join("state");
        let mut world =
            Self { collector: Collector::start(), state, _dir: dir, tracked: BTreeSet::new(), process: None, protocol };
        world.restart();
        world
    }

    /// Dies as with `kill -9`: files stay, locks and connections end. Then another process starts.
    fn restart(&mut self) {
        if let Some(process) = self.process.take() {
            process.network.runtime.shutdown_background();
        }
        let url = format!("http://127.0.0.1:{}/", self.collector.port);
        let remote = Remote::new(Address::new(&url, &[], false).unwrap(), (self.protocol)(), Some(&self.state), None);
        let root = self.state.join("journal");
        let name = remote.name().to_owned();
        let journal = Arc::new(Journal::open(Settings {
            root: Some(root.clone()),
            backend: Backend::Written,
            budget: Some(64 << 20),
            destinations: vec![name.clone()],
        }));
        let orphans = OrphanPool::new(Some(root), vec![vec![name]]);
        let counts = DestinationStats { name: remote.name().to_owned(), ..DestinationStats::default() };
        let shared = Shared::new(journal, vec![counts], orphans);
        let state = RemoteState::new(0, Box::new(remote));
        self.process = Some(Process { shared, state, network: Network::new().unwrap() });
        self.adopt();
    }

    fn adopt(&mut self) {
        let process = self.process.as_mut().unwrap();
        process.state.release(&process.shared);
        process.shared.orphans.search_now();
        process.shared.orphans.refill();
    }

    fn track(&mut self, count: usize, is_poison: bool) {
        let process = self.process.as_ref().unwrap();
        for _ in 0..count {
            let mut event = UsageEvent { provider: "openai", model: "gpt-4o", started_at: 1, ..UsageEvent::default() };
            process
                .shared
                .journal
                .append(1, |out, ids| {
                    event.id = ids.next(1);
                    encode(&event, &[], out);
                })
                .unwrap();
            let id = id_text(event.id);
            if is_poison {
                self.collector.kept.lock().unwrap().poison.insert(id.clone());
            }
            self.tracked.insert(id);
        }
    }

    /// One pass of the network loop, and the steps after it.
    fn pass(&mut self) -> bool {
        self.pass_with(Urgency::New)
    }

    fn pass_with(&mut self, urgency: Urgency) -> bool {
        let Process { shared, state, network } = self.process.as_mut().unwrap();
        network.wait(Duration::from_millis(2));
        shared.orphans.refill();
        let outcome = state.pass(shared, network, urgency);
        shared.reclaim();
        outcome.is_drained && shared.orphans.is_finished()
    }

    /// A pass whose result does not matter.
    fn pass_by(&mut self) {
        let _ = self.pass();
    }

    /// Continues until a batch is done, and dies before its cursor moves.
    fn die_before_the_cursor_moves(&mut self) {
        struct Own<'a>(&'a Journal, &'a crate::journal::Reader);
        impl Feed for Own<'_> {
            fn oldest(&mut self) -> Batch {
                self.1.read(self.0, 1 << 20)
            }
            fn newest(&mut self) -> Option<Batch> {
                None
            }
            fn next_orphan(&mut self) -> Option<Batch> {
                None
            }
        }
        let Process { shared, state: RemoteState { remote, reader, .. }, network } = self.process.as_mut().unwrap();
        for _ in 0..200 {
            network.wait(Duration::from_millis(1));
            let mut stats = lock(&shared.stats)[0].clone();
            let mut own = Own(&shared.journal, reader);
            let step = remote.step(&network.runtime, &network.done, &mut stats, Urgency::New, &mut own);
            if matches!(step, Step::Done(_, Source::Own) | Step::Idle(_)) {
                break;
            }
        }
        self.restart();
    }

    /// Delivers everything, and checks the result.
    fn settle(mut self) -> Result<(), TestCaseError> {
        self.collector.kept.lock().unwrap().script.clear();
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            if self.pass() {
                self.adopt();
                if self.pass() {
                    break;
                }
            }
            prop_assert!(Instant::now() < deadline, "{:?}", lock(&self.process.as_ref().unwrap().shared.stats));
        }
        let process = self.process.take().unwrap();
        process.shared.journal.close();
        process.shared.journal.finish(true);
        let letters = std::fs::read_dir(self.state.join("dead")).into_iter().flatten().flatten();
        let dead: BTreeSet<String> = letters
            .flat_map(|file| {
                let text = std::fs::read_to_string(file.path()).unwrap();
                text.lines().map(str::to_owned).collect::<Vec<_>>()
            })
            .map(|line| {
                let letter: serde_json::Value = serde_json::from_str(&line).unwrap();
                letter["event"]["id"].as_str().unwrap().to_owned()
            })
            .collect();
        let kept = self.collector.kept.lock().unwrap();
        prop_assert_eq!(&dead, &kept.poison.iter().cloned().collect(), "the dead letters are the poison");
        prop_assert!(kept.ids.is_disjoint(&dead));
        prop_assert_eq!(kept.ids.union(&dead).cloned().collect::<BTreeSet<_>>(), self.tracked);
        let left: Vec<_> = std::fs::read_dir(self.state.join("journal")).unwrap().flatten().collect();
        prop_assert!(left.is_empty(), "{:?}", left);
        Ok(())
    }
}

#[derive(Clone, Debug)]
enum Action {
    Track(usize),
    TrackPoison,
    Fault(Fault),
    Pass,
    Adopt,
    Crash,
    CrashBeforeTheCursorMoves,
}

fn action() -> impl Strategy<Value = Action> {
    let fault = prop_oneof![
        Just(Fault::Unavailable),
        Just(Fault::TooManyRequests),
        Just(Fault::LostResponse),
        Just(Fault::LostRequest),
        (1_usize..50).prop_map(Fault::TooLarge),
    ];
    prop_oneof![
        3 => (1_usize..120).prop_map(Action::Track),
        1 => Just(Action::TrackPoison),
        4 => fault.prop_map(Action::Fault),
        8 => Just(Action::Pass),
        1 => Just(Action::Adopt),
        2 => Just(Action::Crash),
        1 => Just(Action::CrashBeforeTheCursorMoves),
    ]
}

/// The number of cases: few enough for a commit, unless the soak test sets another one.
fn cases() -> ProptestConfig {
    let asked = std::env::var("PROPTEST_CASES").ok().map(|count| count.parse().unwrap());
    ProptestConfig::with_cases(asked.unwrap_or(48))
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 200, ..cases() })]

    /// The model is a set. However the network fails and wherever processes die, each tracked event is at the collector or, if the
    /// collector rejects it, in the dead letters.
    #[test]
    fn no_event_is_lost_between_any_two_steps(actions in prop::collection::vec(action(), 1..40)) {
        let mut world = World::new(|| Box::new(CloudEvents));
        for action in actions {
            match action {
                Action::Track(count) => world.track(count, false),
                Action::TrackPoison => world.track(1, true),
                Action::Fault(fault) => world.collector.kept.lock().unwrap().script.push_back(fault),
                Action::Pass => { world.pass(); }
                Action::Adopt => world.adopt(),
                Action::Crash => world.restart(),
                Action::CrashBeforeTheCursorMoves => world.die_before_the_cursor_moves(),
            }
        }
        world.settle()?;
    }
}

/// A format whose responses say that one event of each request was rejected.
struct Partial;

impl Protocol for Partial {
    fn encode(&self, events: &[UsageEvent<'_>]) -> Vec<HttpRequest> {
        CloudEvents.encode(events)
    }

    fn verdict(&self, answer: &Answer<'_>, sent: u64) -> Verdict {
        match CloudEvents.verdict(answer, sent) {
            Verdict::Accepted { .. } => Verdict::Accepted { rejected: 1 },
            other => other,
        }
    }

    fn message(&self, _answer: &Answer<'_>) -> Option<String> {
        Some("one is too old\n".to_owned())
    }
}

#[test]
fn partially_rejected_events_are_counted_and_not_resent() {
    let mut world = World::new(|| Box::new(Partial));
    world.track(50, false);
    while !world.pass() {}
    let process = world.process.as_ref().unwrap();
    let stats = lock(&process.shared.stats)[0].clone();
    assert_eq!((stats.delivered, stats.rejected, stats.own), (49, 1, 50));
    assert!(stats.last_error.is_some_and(|error| error.ends_with("accepted a request and said: one is too old")));
    assert_eq!(world.collector.kept.lock().unwrap().ids.len(), 50);
}

#[test]
fn poison_events_that_cause_server_errors_do_not_block_others() {
    let mut world = World::new(|| Box::new(CloudEvents));
    world.collector.kept.lock().unwrap().refusal = Refusal::ServerError;
    // Nothing has been accepted yet, so it is not known whether the server works.
    for passes in [30, 60] {
        world.track(1, true);
        (0..passes).for_each(|_| world.pass_by());
    }
    world.track(300, false);
    world.track(2, true);
    world.settle().unwrap();
}

/// A format whose refusals may be caused by how the destination is set up.
struct Doubtful;

impl Protocol for Doubtful {
    fn encode(&self, events: &[UsageEvent<'_>]) -> Vec<HttpRequest> {
        CloudEvents.encode(events)
    }

    fn verdict(&self, answer: &Answer<'_>, sent: u64) -> Verdict {
        match CloudEvents.verdict(answer, sent) {
            Verdict::Bisect => Verdict::BisectOrPause,
            other => other,
        }
    }
}

#[test]
fn a_destination_that_refuses_every_event_is_paused_and_gets_all_of_them_when_it_is_mended() {
    let mut world = World::new(|| Box::new(Doubtful));
    world.track(3_000, true);
    let stats = |world: &World| lock(&world.process.as_ref().unwrap().shared.stats)[0].clone();
    // A flush would try again at once.
    while stats(&world).state != Some("paused") {
        let _ = world.pass_with(Urgency::None);
    }
    // Not every single event was tried to find out.
    assert!(stats(&world).failures < 100, "{:?}", stats(&world));
    (0..100).for_each(|_| world.pass_by());
    assert_eq!((stats(&world).dead, stats(&world).delivered), (0, 0));
    world.collector.kept.lock().unwrap().poison.clear();
    // The next process does not wait for the end of the pause.
    world.restart();
    world.settle().unwrap();
}

#[test]
fn an_event_that_is_refused_alone_is_given_up_when_others_are_accepted() {
    let mut world = World::new(|| Box::new(Doubtful));
    for count in [1, 1, 40] {
        world.track(count, true);
        (0..50).for_each(|_| world.pass_by());
        assert_eq!(lock(&world.process.as_ref().unwrap().shared.stats)[0].dead, 0);
    }
    world.restart();
    world.track(300, false);
    world.track(2, true);
    // Events that are tracked in the meantime show that the destination works.
    for _ in 0..200 {
        world.track(1, false);
        (0..10).for_each(|_| world.pass_by());
    }
    world.settle().unwrap();
}

#[test]
fn orphan_journals_with_one_poison_event_do_not_block_others() {
    let mut world = World::new(|| Box::new(CloudEvents));
    world.collector.kept.lock().unwrap().refusal = Refusal::ServerError;
    for count in [0, 5, 0, 0, 7] {
        world.track(count.max(1), count == 0);
        world.restart();
    }
    // Events that are tracked in the meantime show that the server works.
    for _ in 0..200 {
        world.track(1, false);
        (0..10).for_each(|_| world.pass_by());
    }
    world.settle().unwrap();
}

#[test]
fn orphan_events_are_sent_once_however_often_a_flush_runs() {
    let mut world = World::new(|| Box::new(CloudEvents));
    world.track(3000, false);
    world.restart();
    for _ in 0..300 {
        world.track(1, false);
        world.pass_by();
    }
    let kept = Arc::clone(&world.collector.kept);
    world.settle().unwrap();
    let kept = kept.lock().unwrap();
    assert_eq!((kept.received, kept.ids.len()), (3300, 3300));
}
