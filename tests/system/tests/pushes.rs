//! The scheduler decides whether open links carry commits; and what the engine tells it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, OnceLock};

use eidetica::auth::Permission;
use eidetica::backend::InMemory;
use eidetica::sync::transports::memory::{MemoryNetwork, MemoryTransport};
use eidetica::user::{DatabasePreferences, SyncSettings};
use eidetica::{Database, Id, Instance, Result};
use eidetica_kernel::scheduler::{Action, Event, Moment, Promises};
use eidetica_kernel::{PublicKey, SyncScheduler, Timestamp};
use eidetica_scheduler_adaptive::{Adaptive, AdaptiveOptions};
use eidetica_scheduler_manual::Manual;
use eidetica_scheduler_on_commit::{OnCommit, OnCommitOptions};
use eidetica_scheduler_periodic::{Periodic, PeriodicOptions};
use eidetica_scheduler_standard::{Standard, StandardOptions};
use eidetica_system_tests::node::{Node, get, set, until, within};

type Make = Box<dyn Fn(u64) -> Box<dyn SyncScheduler> + Send + Sync>;

/// A node in memory with a scheduler of its own.
fn node(network: &MemoryNetwork, make: Make) -> Result<Node> {
    let instance = Instance::builder().backend(Box::new(InMemory::new())).scheduler(make).open()?;
    let instance = instance.enable_sync()?;
    instance.create_user("user", None)?;
    let user = instance.login_user("user", None)?;
    instance.sync()?.add_transport(Box::new(MemoryTransport::on(network)))?;
    instance.sync()?.start_server("")?;
    Ok(Node { instance, user })
}

/// One that does nothing by itself.
fn passive(network: &MemoryNetwork) -> Result<Node> {
    node(network, Box::new(|_| Box::new(Manual)))
}

fn shared(node: &Node) -> Result<Database> {
    let database = node.create()?;
    database.grant("*", Permission::Write, 100)?;
    Ok(database)
}

/// A scheduler that is stuck with its first event until it is let go, and writes down what it is told.
struct Stuck {
    go: Arc<Mutex<()>>,
    told: Told,
}

impl SyncScheduler for Stuck {
    fn promises(&self) -> Promises {
        Promises::default()
    }

    fn handle(&mut self, _now: Moment, event: Event, _actions: &mut Vec<Action>) {
        drop(self.go.lock().unwrap());
        self.told.lock().unwrap().push(event);
    }

    fn next_wakeup(&self) -> Option<Moment> {
        None
    }

    fn next_attempt(&self, _peer: &PublicKey, _tree: &Id) -> Option<Moment> {
        None
    }

    fn pushes(&self, _peer: &PublicKey, _tree: &Id) -> bool {
        false
    }
}

/// The queue of events is bounded; a scheduler that is slower than what happens learns of everything all the same.
#[test]
fn what_there_was_no_room_for_is_told_later() -> Result<()> {
    let (go, told) = (Arc::new(Mutex::new(())), Told::default());
    let make: Make = {
        let (go, told) = (go.clone(), told.clone());
        Box::new(move |_| Box::new(Stuck { go: go.clone(), told: told.clone() }))
    };
    let a = node(&MemoryNetwork::new(), make)?;
    let sync = a.instance.sync()?;
    let peer = PublicKey::from_bytes([7; 32]);
    sync.register_peer(peer, None)?;
    let tree = |n: u16| {
        let mut bytes = [0; 32];
        bytes[..2].copy_from_slice(&n.to_be_bytes());
        Id::from_bytes(bytes)
    };
    let many = 3_000;
    {
        let _stuck = go.lock().unwrap();
        (0..many).try_for_each(|n| sync.add_tree_sync(peer, tree(n)))?;
    }
    sync.remove_tree_sync(peer, tree(many - 1))?;
    let relations = |told: &[Event]| {
        let mut related = BTreeSet::new();
        for event in told {
            match event {
                Event::Related { tree, .. } => drop(related.insert(*tree)),
                Event::Unrelated { tree, .. } => drop(related.remove(tree)),
                _ => {}
            }
        }
        related
    };
    let start = std::time::Instant::now();
    loop {
        let told = told.lock().unwrap().clone();
        let known = relations(&told);
        let missing = (0..many - 1).find(|n| !known.contains(&tree(*n)));
        if missing.is_none() && !known.contains(&tree(many - 1)) {
            return Ok(());
        }
        assert!(start.elapsed().as_secs() < 30, "tree {missing:?} of {many} was never told of");
        std::thread::yield_now();
    }
}

/// What a scheduler was told.
type Told = Arc<Mutex<Vec<Event>>>;

/// Another scheduler that writes down what it is told, and pushes one database whatever the other says.
struct But {
    inner: Box<dyn SyncScheduler>,
    pushed: Arc<OnceLock<Id>>,
    told: Told,
}

impl SyncScheduler for But {
    fn promises(&self) -> Promises {
        self.inner.promises()
    }

    fn handle(&mut self, now: Moment, event: Event, actions: &mut Vec<Action>) {
        self.told.lock().unwrap().push(event.clone());
        self.inner.handle(now, event, actions);
    }

    fn next_wakeup(&self) -> Option<Moment> {
        self.inner.next_wakeup()
    }

    fn next_attempt(&self, peer: &PublicKey, tree: &Id) -> Option<Moment> {
        self.inner.next_attempt(peer, tree)
    }

    fn pushes(&self, peer: &PublicKey, tree: &Id) -> bool {
        self.pushed.get() == Some(tree) || self.inner.pushes(peer, tree)
    }
}

/// The scheduler, one database of the node that it pushes nevertheless, and what it is told.
fn but(make: Make) -> (Make, Arc<OnceLock<Id>>, Told) {
    let (pushed, told) = (Arc::new(OnceLock::new()), Told::default());
    let but = {
        let (pushed, told) = (pushed.clone(), told.clone());
        Box::new(move |seed| -> Box<dyn SyncScheduler> {
            Box::new(But { inner: make(seed), pushed: pushed.clone(), told: told.clone() })
        })
    };
    (but, pushed, told)
}

/// Commits to two databases over one open link, of which the scheduler pushes only the second.
async fn waits_for_an_exchange(make: Make) -> Result<()> {
    let network = MemoryNetwork::new();
    let begins = make(0).promises().retry_within.is_some();
    let (make, pushed, _) = but(make);
    let (a, b) = (node(&network, make)?, passive(&network)?);
    let (calm, eager) = (shared(&a)?, shared(&a)?);
    pushed.set(*eager.root_id()).unwrap();
    let (calm_there, eager_there) = (
        b.fetch(&a.at()?.to_string(), calm.root_id()).await?,
        b.fetch(&a.at()?.to_string(), eager.root_id()).await?,
    );
    let sync = a.instance.sync()?;
    // Its own first exchange comes by itself, and is over when one that began later is.
    let attempts =
        || sync.tree_sync_state(b.peer(), calm.root_id()).unwrap().map_or(0, |state| state.attempts);
    until("the scheduler's first exchange", || !begins || attempts() >= 1).await;
    within("an exchange", sync.sync_tree_with_peer(b.peer(), calm.root_id())).await?;
    set(&calm, "calm", 1)?;
    set(&eager, "eager", 1)?;
    until("the commit that is pushed", || get(&eager_there, "eager").is_ok()).await;
    assert!(get(&calm_there, "calm").unwrap_err().is_not_found());
    within("an exchange", sync.sync_tree_with_peer(b.peer(), calm.root_id())).await?;
    assert_eq!(get(&calm_there, "calm")?.as_i64(), Some(1));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn standard_without_on_commit_pushes_nothing_over_open_links() -> Result<()> {
    let options = StandardOptions { on_commit: false, ..StandardOptions::default() };
    waits_for_an_exchange(Box::new(move |seed| Box::new(Standard::new(options.clone(), seed)))).await
}

#[tokio::test(flavor = "multi_thread")]
async fn periodic_pushes_nothing_over_open_links() -> Result<()> {
    waits_for_an_exchange(Box::new(|seed| Box::new(Periodic::new(PeriodicOptions::default(), seed)))).await
}

#[tokio::test(flavor = "multi_thread")]
async fn manual_pushes_nothing_over_open_links() -> Result<()> {
    waits_for_an_exchange(Box::new(|_| Box::new(Manual))).await
}

#[tokio::test(flavor = "multi_thread")]
async fn adaptive_pushes_nothing_over_open_links() -> Result<()> {
    let options = AdaptiveOptions {
        debounce_ms: 3_600_000,
        debounce_max_ms: 3_600_000,
        interval_min_seconds: 3_600,
        ..AdaptiveOptions::default()
    };
    waits_for_an_exchange(Box::new(move |seed| Box::new(Adaptive::new(options.clone(), seed)))).await
}

/// Fetched by a node that does nothing by itself: what comes there was brought.
async fn followed(make: Make) -> Result<()> {
    let network = MemoryNetwork::new();
    let (a, b) = (node(&network, make)?, passive(&network)?);
    let here = shared(&a)?;
    let there = b.fetch(&a.at()?.to_string(), here.root_id()).await?;
    for n in 0..5 {
        let key = format!("commit {n}");
        set(&here, &key, n)?;
        until("a commit", || get(&there, &key).is_ok()).await;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn on_commit_brings_commits_over_open_links() -> Result<()> {
    followed(Box::new(|seed| Box::new(OnCommit::new(OnCommitOptions::default(), seed)))).await
}

#[tokio::test(flavor = "multi_thread")]
async fn adaptive_brings_commits_after_its_burst() -> Result<()> {
    let options = AdaptiveOptions { debounce_ms: 20, debounce_max_ms: 100, ..AdaptiveOptions::default() };
    followed(Box::new(move |seed| Box::new(Adaptive::new(options.clone(), seed)))).await
}

#[tokio::test(flavor = "multi_thread")]
async fn periodic_brings_commits_at_its_interval() -> Result<()> {
    let options = PeriodicOptions { interval_seconds: 1, ..PeriodicOptions::default() };
    followed(Box::new(move |seed| Box::new(Periodic::new(options.clone(), seed)))).await
}

#[tokio::test(flavor = "multi_thread")]
async fn standard_without_on_commit_brings_commits_at_its_interval() -> Result<()> {
    let options = StandardOptions { on_commit: false, interval_seconds: 1, ..StandardOptions::default() };
    followed(Box::new(move |seed| Box::new(Standard::new(options.clone(), seed)))).await
}

/// What was committed while nobody wanted it pushed goes out as soon as somebody does, with no exchange.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_held_back_is_pushed_once_users_want_it() -> Result<()> {
    let network = MemoryNetwork::new();
    let make: Make = Box::new(|seed| Box::new(OnCommit::new(OnCommitOptions::default(), seed)));
    let (a, b) = (node(&network, make)?, passive(&network)?);
    let here = shared(&a)?;
    let prefer = |sync_on_commit| {
        a.user.add_database(DatabasePreferences {
            database_id: *here.root_id(),
            key_id: a.key()?,
            sync_settings: SyncSettings { sync_on_commit, ..SyncSettings::default() },
        })
    };
    prefer(false)?;
    let there = b.fetch(&a.at()?.to_string(), here.root_id()).await?;
    let sync = a.instance.sync()?;
    let attempts =
        || sync.tree_sync_state(b.peer(), here.root_id()).unwrap().map_or(0, |state| state.attempts);
    until("the scheduler's first exchange", || attempts() >= 1).await;
    within("an exchange", sync.sync_tree_with_peer(b.peer(), here.root_id())).await?;
    set(&here, "held back", 1)?;
    let exchanges = attempts();
    assert!(get(&there, "held back").unwrap_err().is_not_found());
    prefer(true)?;
    until("what was held back", || get(&there, "held back").is_ok()).await;
    assert_eq!(attempts(), exchanges, "it was pushed");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scheduler_is_told_the_time_of_day_and_what_exchanges_cost() -> Result<()> {
    let network = MemoryNetwork::new();
    let options = StandardOptions { on_commit: false, interval_seconds: 1, ..StandardOptions::default() };
    let (make, _, told) = but(Box::new(move |seed| Box::new(Standard::new(options.clone(), seed))));
    let (a, b) = (node(&network, make)?, passive(&network)?);
    let here = shared(&a)?;
    let there = b.fetch(&a.at()?.to_string(), here.root_id()).await?;
    let text: String = (0..2_000).map(|n: u32| n.wrapping_mul(2_654_435_761).to_string()).collect();
    let least = 5_000;
    set(&here, "text", text)?;
    until("the text", || get(&there, "text").is_ok()).await;
    let bytes = || {
        let told = told.lock().unwrap();
        let acknowledged = told.iter().filter_map(|event| match event {
            Event::Acknowledged { bytes, .. } => Some(*bytes),
            _ => None,
        });
        acknowledged.sum::<u64>()
    };
    until("the exchange's bytes", || bytes() >= least).await;
    let after = bytes();
    // Those of exchanges that find nothing new are few.
    let acknowledged =
        || told.lock().unwrap().iter().filter(|event| matches!(event, Event::Acknowledged { .. })).count();
    let before = acknowledged();
    until("two more exchanges", || acknowledged() >= before + 2).await;
    assert!(bytes() - after < least, "{} more bytes", bytes() - after);

    let told = told.lock().unwrap();
    let Some(Event::WallClock { wall }) = told.first() else { panic!("first comes {:?}", told.first()) };
    assert!(*wall > Timestamp::from_millis(1_700_000_000_000), "{wall}");
    let times = told.iter().filter(|event| matches!(event, Event::WallClock { .. })).count();
    assert_eq!(times, 1, "the clock wasn't set");
    Ok(())
}
