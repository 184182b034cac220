//! Virtual time, peers with manners, and the engine's part.

use std::collections::BTreeMap;
use std::time::Duration;

use eidetica_kernel::scheduler::{Action, Event, Failure, Moment, Preferences};
use eidetica_kernel::{Id, PublicKey, SyncScheduler, Timestamp};

use super::monitor::{Monitor, PUNCTUAL};
use crate::check::{Outcome, fail};

/// Ticks without an end to them: far beyond what any case needs.
const TICKS_MAX: u64 = 200_000;
/// Noon of some day, UTC.
const START: Timestamp =
    Timestamp::from_millis(1_750_000_000_000 - 1_750_000_000_000 % 86_400_000 + 43_200_000);

/// A peer that stands for number `n`.
pub const fn peer(n: u16) -> PublicKey {
    PublicKey::from_bytes(spread(n))
}

/// A tree that stands for number `n`.
pub const fn tree(n: u16) -> Id {
    Id::from_bytes(spread(n))
}

const fn spread(n: u16) -> [u8; 32] {
    let mut bytes = [0x5a; 32];
    [bytes[0], bytes[1]] = n.to_be_bytes();
    bytes
}

/// How a peer behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manners {
    /// Answers after so long; a link opens when there is none.
    Answers(Duration),
    /// Refuses after so long, over a link.
    Refuses(Duration),
    /// Can't be reached, which shows after so long.
    Unreachable(Duration),
    /// Has a link, and never says anything: neither answers nor fails.
    Stalls,
    /// Is connected and loses its link with every sync.
    Flaps(Duration),
}

/// A policy, the time its world has reached, and what its monitor says.
pub struct World {
    scheduler: Box<dyn SyncScheduler>,
    monitor: Monitor,
    now: Moment,
    manners: BTreeMap<PublicKey, Manners>,
    /// What happens later, by time and number.
    later: BTreeMap<(Moment, u64), Event>,
    numbers: u64,
    /// The wake-up that was asked for last.
    asked: Option<Moment>,
    /// How late ticks come.
    ticks_late: Duration,
    /// The bytes of one exchange.
    exchange_bytes: u64,
    log: Vec<(Moment, Action)>,
    ticks: u64,
}

impl World {
    /// A world without peers, at noon.
    pub fn new(scheduler: Box<dyn SyncScheduler>) -> Self {
        let monitor = Monitor::new(scheduler.promises());
        let mut world = Self {
            scheduler,
            monitor,
            now: Moment::ZERO,
            manners: BTreeMap::new(),
            later: BTreeMap::new(),
            numbers: 0,
            asked: None,
            ticks_late: Duration::ZERO,
            exchange_bytes: 300,
            log: Vec::new(),
            ticks: 0,
        };
        world.scheduler.handle(Moment::ZERO, Event::WallClock { wall: START }, &mut Vec::new());
        world
    }

    /// Gives a peer its manners; one that has none never answers.
    #[must_use]
    pub fn with(mut self, peer: PublicKey, manners: Manners) -> Self {
        self.behaves(peer, manners);
        self
    }

    /// A peer behaves so from now on.
    pub fn behaves(&mut self, peer: PublicKey, manners: Manners) {
        self.manners.insert(peer, manners);
    }

    /// Every tick comes so much later than it was asked for.
    #[must_use]
    pub fn with_late_ticks(mut self, late: Duration) -> Self {
        self.ticks_late = late;
        self.monitor.slack = late + PUNCTUAL;
        self
    }

    /// Every exchange moves so many bytes.
    #[must_use]
    pub fn with_exchanges_of(mut self, bytes: u64) -> Self {
        self.exchange_bytes = bytes;
        self
    }

    /// The time it has reached.
    pub fn now(&self) -> Moment {
        self.now
    }

    /// The policy.
    pub fn scheduler(&self) -> &dyn SyncScheduler {
        &*self.scheduler
    }

    pub(super) fn monitor(&self) -> &Monitor {
        &self.monitor
    }

    /// Every action so far, and when.
    pub fn log(&self) -> &[(Moment, Action)] {
        &self.log
    }

    /// Wake-ups that came true so far.
    pub fn wakeups(&self) -> u64 {
        self.ticks
    }

    /// When a relation was synced.
    pub fn syncs(&self, peer: PublicKey, tree: Id) -> Vec<Moment> {
        let sync = Action::Sync { peer, tree };
        self.log.iter().filter(|(_, action)| *action == sync).map(|(at, _)| *at).collect()
    }

    /// Relates them with the default preferences.
    ///
    /// # Errors
    /// What the policy did wrong.
    pub fn relate(&mut self, peer: PublicKey, tree: Id) -> Outcome<Vec<Action>> {
        self.event(Event::Related { peer, tree, preferences: Preferences::default() })
    }

    /// Commits to a tree.
    ///
    /// # Errors
    /// What the policy did wrong.
    pub fn commit(&mut self, tree: Id) -> Outcome<Vec<Action>> {
        self.event(Event::Committed { tree })
    }

    /// Sends an event now, and sees to it that peers answer what follows.
    ///
    /// # Errors
    /// What the policy did wrong.
    pub fn event(&mut self, event: Event) -> Outcome<Vec<Action>> {
        self.monitor.event(self.now, &event, &*self.scheduler)?;
        let mut actions = Vec::new();
        self.scheduler.handle(self.now, event.clone(), &mut actions);
        self.monitor.actions(self.now, &event, &actions, &*self.scheduler)?;
        // One that is due isn't put off because something else came first.
        let due = self.asked.filter(|at| event != Event::Tick && *at <= self.now);
        self.asked = due.or(self.scheduler.next_wakeup());
        for action in &actions {
            self.log.push((self.now, action.clone()));
            self.perform(action);
        }
        Ok(actions)
    }

    fn later(&mut self, after: Duration, event: Event) {
        self.numbers += 1;
        self.later.insert((self.now + after, self.numbers), event);
    }

    /// What the engine and the peer do about an action.
    fn perform(&mut self, action: &Action) {
        match action {
            Action::Sync { peer, tree } => {
                let (peer, tree) = (*peer, *tree);
                let bytes = self.exchange_bytes;
                let connected = self.monitor.is_connected(&peer);
                let acknowledged = Event::Acknowledged { peer, tree, bytes };
                let failed = |failure| Event::SyncFailed { peer, tree, failure };
                let Some(manners) = self.manners.get(&peer).copied() else { return };
                match manners {
                    Manners::Answers(after) => {
                        self.connect(peer, connected, after);
                        self.later(after, acknowledged);
                    }
                    Manners::Refuses(after) => {
                        self.connect(peer, connected, after);
                        self.later(after, failed(Failure::Refused));
                    }
                    Manners::Unreachable(after) => self.later(after, failed(Failure::Unreachable)),
                    Manners::Stalls => self.connect(peer, connected, Duration::from_millis(1)),
                    Manners::Flaps(after) => {
                        self.connect(peer, connected, after);
                        self.later(after, Event::Disconnected { peer });
                        self.later(after, failed(Failure::Unreachable));
                    }
                }
            }
            Action::Probe { peer } => match self.manners.get(peer).copied() {
                Some(Manners::Answers(after) | Manners::Refuses(after) | Manners::Flaps(after)) => {
                    self.later(after, Event::Probed { peer: *peer, alive: true });
                }
                Some(Manners::Unreachable(_) | Manners::Stalls) => {
                    self.later(Duration::from_secs(10), Event::Probed { peer: *peer, alive: false });
                }
                None => {}
            },
            Action::Drop { peer } => self.later(Duration::ZERO, Event::Disconnected { peer: *peer }),
            _ => {}
        }
    }

    fn connect(&mut self, peer: PublicKey, connected: bool, after: Duration) {
        if !connected {
            self.later(after / 2, Event::Connected { peer });
        }
    }

    /// Lets time pass: peers answer, and the ticks that the policy asks for come.
    ///
    /// # Errors
    /// What the policy did wrong.
    pub fn run_for(&mut self, duration: Duration) -> Outcome {
        let until = self.now + duration;
        while self.step(until)? {}
        self.now = until;
        self.monitor.overdue(self.now)
    }

    /// Goes on to whatever comes next; `false` if nothing does before `until`.
    fn step(&mut self, until: Moment) -> Outcome<bool> {
        let event = self.later.first_key_value().map(|((at, _), _)| *at);
        let tick = self.asked.map(|at| at.saturating_add(self.ticks_late));
        let Some(at) = event.into_iter().chain(tick).min().filter(|at| *at <= until) else {
            return Ok(false);
        };
        self.now = self.now.max(at);
        let event = if event == Some(at) { self.later.pop_first().map(|(_, event)| event) } else { None };
        if event.is_none() {
            self.ticks += 1;
            if self.ticks > TICKS_MAX {
                return fail(format!("{TICKS_MAX} wake-ups by {:?} (H5)", self.now));
            }
        }
        self.event(event.unwrap_or(Event::Tick))?;
        Ok(true)
    }

    /// As [`World::run_for`], with a tick that nobody asked for before every step.
    ///
    /// # Errors
    /// What the policy did wrong.
    pub fn run_with_stray_ticks(&mut self, duration: Duration, every: Duration) -> Outcome {
        let until = self.now + duration;
        while self.now < until {
            let next = (self.now + every).min(until);
            while self.step(next)? {}
            self.now = next;
            self.event(Event::Tick)?;
        }
        Ok(())
    }
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("World").field("now", &self.now).field("log", &self.log.len()).finish_non_exhaustive()
    }
}
