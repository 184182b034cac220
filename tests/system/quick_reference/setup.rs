//! "Setup and Initialization": snippets 1 and 2.

use std::time::Duration;

use eidetica::Result;
use eidetica_kernel::scheduler::{Action, Event, Failure, Moment, Preferences};
use eidetica_kernel::{Id, SecretKey, SyncScheduler as _};
use eidetica_scheduler_standard::{Standard, StandardOptions};
use eidetica_system_tests::node::{Node, get, set, until, within};

use crate::{block_on, shared};

#[tokio::test]
#[expect(unused_mut, reason = "the seed's lines")]
#[rustfmt::skip]
async fn basic_sync_setup() -> Result<()> {
    // [snippet 1]
    use eidetica::{Instance, backend::InMemory};

    // Create database with sync enabled
    let backend = Box::new(InMemory::new());
    let instance = Instance::open(backend)?.enable_sync()?;

    // Create and login user (generates authentication key)
    instance.create_user("alice", None)?;
    let mut user = instance.login_user("alice", None)?;
    // [end]
    let db = instance.clone();
    // [snippet 1]

    // Enable transport
    let sync = db.sync().unwrap();
    sync.enable_http_transport()?;
    sync.start_server_async("127.0.0.1:0").await?;
    // [end]

    let keys = user.list_keys()?;
    assert_eq!(keys.len(), 1, "one key was made");
    assert!(sync.is_server_running());
    let alice = Node { instance, user };
    assert_eq!(keys[0].0, alice.key()?);
    let here = shared(&alice)?;
    let last = set(&here, "from", "alice")?;
    assert_eq!(here.entry(last)?.author, alice.key()?, "it signs");
    let guest = Node::http()?;
    let there = within("a sync", guest.fetch(&alice.address()?, here.root_id())).await?;
    assert_eq!(get(&there, "from")?, "alice");
    Ok(())
}

#[test]
#[expect(unused_extern_crates, unused_qualifications, reason = "the seed's lines")]
#[rustfmt::skip]
fn understanding_background_sync() {
    // [snippet 2]
    extern crate eidetica;
    use eidetica::{Instance, backend::database::InMemory};

    fn main() -> eidetica::Result<()> {
    // Setup database instance with sync capability
    let backend = Box::new(InMemory::new());
    let db = Instance::open(backend)?;
    db.enable_sync()?;
    // [end]
    let host = Node::http()?;
    let there = shared(&host)?;
    set(&there, "first", 1)?;
    let handle = db.sync()?.register_sync_peer(eidetica::sync::SyncPeerInfo {
        peer_pubkey: host.peer().to_string(),
        tree_id: *there.root_id(),
        addresses: vec![eidetica::sync::Address::http(host.address()?)?],
        auth: None,
        display_name: None,
    })?;
    // [snippet 2]

    // The BackgroundSync engine starts automatically with transport
    let sync = db.sync().unwrap();
    sync.enable_http_transport()?; // Starts background thread

    // Background thread configuration and behavior:
    // - Command processing (immediate response to commits)
    // - Periodic sync operations (5 minute intervals)
    // - Retry queue processing (30 second intervals)
    // - Connection health checks (60 second intervals)

    // All sync operations are automatic - no manual queue management needed
    println!("BackgroundSync configured with automatic operation timers");
    // [end]
    block_on(within("the first sync", handle.wait_for_initial_sync()))?;
    db.create_user("user", None)?;
    let _user = db.login_user("user", None)?;
    let here = db.load_database(there.root_id())?;
    set(&here, "mine", 1)?;
    block_on(until("a commit from here arrives there", || get(&there, "mine").is_ok()));
    set(&there, "theirs", 1)?;
    block_on(until("a commit from there arrives here", || get(&here, "theirs").is_ok()));
    // [snippet 2]
    Ok(())
    }
    // [end]

    main().unwrap();
    commits_are_answered_at_once();
    exchanges_are_periodic_and_links_are_checked();
    retries_back_off();
}

/// What the scheduler that instances have by default does with one relation.
struct Timeline {
    scheduler: Standard,
    now: Moment,
    peer: eidetica::KeyId,
    tree: Id,
}

impl Timeline {
    /// Related, and connected.
    fn new() -> Self {
        let (peer, tree) = (SecretKey::from_bytes([7; 32]).public_key(), Id::from_bytes([1; 32]));
        let scheduler = Standard::new(StandardOptions::default(), 1);
        let mut timeline = Self { scheduler, now: Moment::ZERO, peer, tree };
        timeline.tell(Event::Connected { peer });
        let sync = timeline.tell(Event::Related { peer, tree, preferences: Preferences::default() });
        assert_eq!(sync, [Action::Sync { peer, tree }]);
        timeline
    }

    fn tell(&mut self, event: Event) -> Vec<Action> {
        let mut actions = Vec::new();
        self.scheduler.handle(self.now, event, &mut actions);
        actions
    }

    fn succeed(&mut self) {
        let (peer, tree) = (self.peer, self.tree);
        assert!(self.tell(Event::Acknowledged { peer, tree, bytes: 0 }).is_empty());
    }

    /// The time of the next wake-up; what is to be done then.
    fn tick(&mut self) -> (Duration, Vec<Action>) {
        let waited = self.scheduler.next_wakeup().unwrap() - self.now;
        self.now += waited;
        (waited, self.tell(Event::Tick))
    }
}

fn commits_are_answered_at_once() {
    let mut timeline = Timeline::new();
    timeline.succeed();
    let (peer, tree) = (timeline.peer, timeline.tree);
    assert_eq!(timeline.tell(Event::Committed { tree }), [Action::Sync { peer, tree }]);
}

fn exchanges_are_periodic_and_links_are_checked() {
    let mut timeline = Timeline::new();
    timeline.succeed();
    let (peer, tree) = (timeline.peer, timeline.tree);
    let (mut syncs, mut probes) = (Vec::new(), Vec::new());
    while timeline.now < Duration::from_secs(900) {
        for action in timeline.tick().1 {
            if action == (Action::Sync { peer, tree }) {
                syncs.push(timeline.now.as_secs());
                timeline.succeed();
            } else if action == (Action::Probe { peer }) {
                probes.push(timeline.now.as_secs());
                timeline.tell(Event::Probed { peer, alive: true });
            }
        }
    }
    assert_eq!(syncs, [300, 600, 900]);
    assert_eq!(probes, (60..=900).step_by(60).collect::<Vec<_>>());
}

fn retries_back_off() {
    let mut timeline = Timeline::new();
    let (peer, tree) = (timeline.peer, timeline.tree);
    timeline.tell(Event::Disconnected { peer });
    timeline.tell(Event::SyncFailed { peer, tree, failure: Failure::Unreachable });
    let (mut last, mut delays) = (timeline.now, Vec::new());
    while delays.len() < 10 {
        let (waited, actions) = timeline.tick();
        assert!(waited <= Duration::from_secs(30), "{waited:?}");
        if actions.contains(&Action::Sync { peer, tree }) {
            delays.push((timeline.now - last).as_secs_f64());
            last = timeline.now;
            timeline.tell(Event::SyncFailed { peer, tree, failure: Failure::Unreachable });
        }
    }
    let backoff = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 64.0, 64.0, 64.0];
    for (delay, longest) in delays.iter().zip(backoff) {
        assert!((0.8 * longest..=longest).contains(delay), "{delays:?}");
    }
}
