//! One working day under each scheduler, on virtual time: bytes, exchanges, wake-ups, and how old what peers see is.
//!
//! `cargo test -p eidetica-system-tests --test schedulers -- --nocapture` shows the table.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::time::Duration;

use eidetica_kernel::scheduler::{Action, Event, Failure, Moment, Preferences};
use eidetica_kernel::{Id, PublicKey, SyncScheduler, Timestamp};
use eidetica_scheduler_adaptive::{Adaptive, AdaptiveOptions};
use eidetica_scheduler_manual::Manual;
use eidetica_scheduler_on_commit::{OnCommit, OnCommitOptions};
use eidetica_scheduler_periodic::{Periodic, PeriodicOptions};
use eidetica_scheduler_standard::{Standard, StandardOptions};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3_600);
/// Bytes of an entry on its way, with what goes around it.
const ENTRY_BYTES: u64 = 500;
/// Bytes of an exchange that finds nothing new.
const EXCHANGE_BYTES: u64 = 400;
/// Bytes of a probe and its answer.
const PROBE_BYTES: u64 = 60;
/// What `adaptive` may move in an hour.
const BUDGET_BYTES: u64 = 60_000;
/// A live relation found in sync so recently isn't reconciled again, as in the engine.
const FRESH: Duration = Duration::from_secs(60);

const PEERS: u8 = 3;
const TREES: u8 = 4;

#[derive(Debug)]
enum Happening {
    Commit(Id),
    Away(PublicKey),
    Back(PublicKey),
    /// What was asked for is done; with the bytes of an exchange.
    Done(Event, u64),
}

#[derive(Debug, Default)]
struct Relation {
    /// When what the peer lacks was committed.
    lacks: Vec<Moment>,
    live: bool,
    in_sync_at: Option<Moment>,
}

/// What a day cost.
#[derive(Debug, Default)]
struct Day {
    bytes: u64,
    exchanges: u64,
    wakeups: u64,
    /// How old each entry was when it arrived.
    ages: Vec<Duration>,
    /// Entries that never arrived.
    missing: usize,
    /// When an exchange was begun, and when bytes of exchanges were known.
    begun: Vec<Moment>,
    moved: Vec<(Moment, u64)>,
}

struct World {
    scheduler: Box<dyn SyncScheduler>,
    now: Moment,
    later: BTreeMap<(Moment, u64), Happening>,
    numbers: u64,
    relations: BTreeMap<(PublicKey, Id), Relation>,
    connected: BTreeSet<PublicKey>,
    away: BTreeSet<PublicKey>,
    wakeup: Option<Moment>,
    day: Day,
}

fn peers() -> impl Iterator<Item = PublicKey> {
    (1..=PEERS).map(|n| PublicKey::from_bytes([n; 32]))
}

fn trees() -> impl Iterator<Item = Id> {
    (1..=TREES).map(|n| Id::from_bytes([n; 32]))
}

impl World {
    fn later(&mut self, at: Moment, happening: Happening) {
        self.numbers += 1;
        self.later.insert((at, self.numbers), happening);
    }

    fn event(&mut self, event: Event) {
        let mut actions = Vec::new();
        let due = self.wakeup.filter(|at| event != Event::Tick && *at <= self.now);
        self.scheduler.handle(self.now, event, &mut actions);
        self.wakeup = due.or(self.scheduler.next_wakeup());
        for action in actions {
            self.perform(action);
        }
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::Sync { peer, tree } => {
                let pushes = self.scheduler.pushes(&peer, &tree);
                let relation = self.relations.get_mut(&(peer, tree)).unwrap();
                let fresh = relation.in_sync_at.is_some_and(|at| self.now - at < FRESH);
                if self.away.contains(&peer) {
                    let failed = Event::SyncFailed { peer, tree, failure: Failure::Unreachable };
                    return self.later(self.now + 5 * SECOND, Happening::Done(failed, 0));
                }
                if pushes && relation.live && fresh {
                    let acknowledged = Event::Acknowledged { peer, tree, bytes: 0 };
                    return self.later(self.now, Happening::Done(acknowledged, 0));
                }
                self.day.begun.push(self.now);
                self.day.exchanges += 1;
                if self.connected.insert(peer) {
                    self.event(Event::Connected { peer });
                }
                let bytes = EXCHANGE_BYTES + ENTRY_BYTES * self.relations[&(peer, tree)].lacks.len() as u64;
                let acknowledged = Event::Acknowledged { peer, tree, bytes };
                self.later(self.now + SECOND / 2, Happening::Done(acknowledged, bytes));
            }
            Action::Probe { peer } => {
                self.day.bytes += PROBE_BYTES;
                let probed = Event::Probed { peer, alive: self.connected.contains(&peer) };
                self.later(self.now + SECOND / 10, Happening::Done(probed, 0));
            }
            other => panic!("nobody here asks for {other:?}"),
        }
    }

    fn happens(&mut self, happening: Happening) {
        match happening {
            Happening::Commit(tree) => {
                let mut carried = true;
                for peer in peers() {
                    let pushes = self.scheduler.pushes(&peer, &tree);
                    let relation = self.relations.get_mut(&(peer, tree)).unwrap();
                    if relation.live && pushes {
                        self.day.bytes += ENTRY_BYTES;
                        self.day.ages.push(SECOND / 20);
                    } else {
                        carried = false;
                        relation.lacks.push(self.now);
                    }
                }
                if !carried {
                    self.event(Event::Committed { tree });
                }
            }
            Happening::Away(peer) => {
                self.away.insert(peer);
                if self.connected.remove(&peer) {
                    self.relations
                        .iter_mut()
                        .filter(|((of, _), _)| *of == peer)
                        .for_each(|(_, of)| of.live = false);
                    self.event(Event::Disconnected { peer });
                }
            }
            Happening::Back(peer) => drop(self.away.remove(&peer)),
            Happening::Done(event, bytes) => {
                self.day.bytes += bytes;
                if let Event::Acknowledged { peer, tree, .. } = &event {
                    self.acknowledged(*peer, *tree, bytes);
                }
                self.event(event);
            }
        }
    }

    fn acknowledged(&mut self, peer: PublicKey, tree: Id, bytes: u64) {
        let relation = self.relations.get_mut(&(peer, tree)).unwrap();
        (relation.live, relation.in_sync_at) = (self.connected.contains(&peer), Some(self.now));
        let arrived: Vec<Moment> = std::mem::take(&mut relation.lacks);
        self.day.ages.extend(arrived.into_iter().map(|at| self.now - at));
        self.day.moved.push((self.now, bytes));
    }

    fn run(mut self, until: Moment) -> Day {
        loop {
            let next = self.later.first_key_value().map(|((at, _), _)| *at);
            let Some(at) = next.into_iter().chain(self.wakeup).min().filter(|at| *at <= until) else { break };
            self.now = self.now.max(at);
            if next == Some(at) {
                let (_, happening) = self.later.pop_first().unwrap();
                self.happens(happening);
            } else {
                self.day.wakeups += 1;
                self.event(Event::Tick);
            }
        }
        self.day.missing = self.relations.values().map(|relation| relation.lacks.len()).sum();
        self.day
    }
}

/// From six in the morning on for 26 hours: bursts of 20 entries every quarter of an hour between nine and five, to each tree in turn;
/// one peer is away from noon until two. Everybody was in sync before.
fn day(scheduler: Box<dyn SyncScheduler>) -> Day {
    let mut world = World {
        scheduler,
        now: Moment::ZERO,
        later: BTreeMap::new(),
        numbers: 0,
        relations: BTreeMap::new(),
        connected: BTreeSet::new(),
        away: BTreeSet::new(),
        wakeup: None,
        day: Day::default(),
    };
    let six = 20_000 * 86_400_000 + 6 * 3_600_000;
    world.event(Event::WallClock { wall: Timestamp::from_millis(six) });
    for peer in peers() {
        for tree in trees() {
            world.relations.insert((peer, tree), Relation::default());
            world.event(Event::Related { peer, tree, preferences: Preferences::default() });
        }
    }
    for quarter in 0..32 {
        let tree = trees().nth(quarter % usize::from(TREES)).unwrap();
        let begin = 3 * HOUR + u32::try_from(quarter).unwrap() * (HOUR / 4);
        for n in 0..20 {
            world.later(begin + n * SECOND, Happening::Commit(tree));
        }
    }
    let absent = peers().next().unwrap();
    world.later(6 * HOUR + 5 * SECOND, Happening::Away(absent));
    world.later(8 * HOUR, Happening::Back(absent));
    world.run(26 * HOUR)
}

fn row(name: &str, day: &Day) -> String {
    let mut ages = day.ages.clone();
    ages.sort_unstable();
    let shown = |age: Option<&Duration>| match age {
        Some(age) => format!("{:.1}", age.as_secs_f64()),
        None => "-".to_owned(),
    };
    let (median, worst) = (ages.get(ages.len() / 2), ages.last());
    format!(
        "{name:<10} {:>9} {:>9} {:>8} {:>9} {:>9} {:>8}",
        day.bytes,
        day.exchanges,
        day.wakeups,
        shown(median),
        shown(worst),
        day.missing
    )
}

#[test]
fn schedulers_differ_as_they_say() {
    let night = AdaptiveOptions {
        hourly_budget_bytes: Some(BUDGET_BYTES),
        quiet_hours: vec!["22:00-06:00".parse().unwrap()],
        ..AdaptiveOptions::default()
    };
    let quiet = 16 * HOUR..24 * HOUR;
    let days = [
        ("standard", day(Box::new(Standard::new(StandardOptions::default(), 1)))),
        ("on-commit", day(Box::new(OnCommit::new(OnCommitOptions::default(), 1)))),
        ("periodic", day(Box::new(Periodic::new(PeriodicOptions::default(), 1)))),
        ("adaptive", day(Box::new(Adaptive::new(AdaptiveOptions::default(), 1)))),
        ("  sparing", day(Box::new(Adaptive::new(night, 1)))),
        ("manual", day(Box::new(Manual))),
    ];
    let mut table = String::from("\nscheduler      bytes exchanges wake-ups median, s  worst, s  missing\n");
    for (name, day) in &days {
        table.push_str(&row(name, day));
        table.push('\n');
    }
    // As the test harness itself does: for people and for machines.
    write!(std::io::stderr(), "{table}").unwrap();
    let [(_, standard), (_, on_commit), (_, periodic), (_, adaptive), (_, sparing), (_, manual)] = &days;
    let worst = |day: &Day| day.ages.iter().max().copied().unwrap();

    assert_eq!((manual.bytes, manual.exchanges, manual.wakeups), (0, 0, 0));
    assert_eq!(manual.missing, 32 * 20 * 3, "nothing goes anywhere");
    for (name, day) in &days[..5] {
        assert_eq!((day.missing, day.ages.len()), (0, 32 * 20 * 3), "{name} brings everything");
    }
    // Without intervals and probes there is less to wake up for, and less to send.
    assert!(on_commit.wakeups < standard.wakeups && on_commit.bytes < standard.bytes);
    // What is pushed is younger than what waits; the absent peer's share aside, which all retry.
    let median = |day: &Day| {
        let mut ages = day.ages.clone();
        ages.sort_unstable();
        ages[ages.len() / 2]
    };
    assert!(median(standard) < SECOND && median(on_commit) < SECOND);
    assert!(median(standard) < median(adaptive) && median(standard) < median(periodic));
    assert!(worst(periodic) <= 2 * HOUR + 2 * Duration::from_secs(300) + 10 * SECOND);
    // Fewer exchanges than a fixed interval makes.
    assert!(adaptive.exchanges < periodic.exchanges && adaptive.exchanges < standard.exchanges);
    assert!(adaptive.wakeups < standard.wakeups);
    // The budget: none is begun once the hour before has spent it. Quiet hours: none is begun.
    for at in &sparing.begun {
        let hour = sparing.moved.iter().filter(|(moved, _)| *moved <= *at && *moved + HOUR > *at);
        let spent: u64 = hour.map(|(_, bytes)| bytes).sum();
        assert!(spent < BUDGET_BYTES, "an exchange is begun at {at:?}, after {spent} bytes in an hour");
        assert!(!quiet.contains(at), "an exchange is begun at {at:?}");
    }
    assert!(standard.begun.iter().any(|at| quiet.contains(at)), "others don't know of quiet hours");
}
