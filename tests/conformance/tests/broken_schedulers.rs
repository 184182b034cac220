//! Deliberately broken schedulers: the suite catches each by the case meant for it.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use eidetica_conformance::scheduler::{Reference, Suite, SyncScheduler};
use eidetica_kernel::scheduler::{Action, Event, Failure, Moment, Promises};
use eidetica_kernel::{Id, PublicKey};

/// What is wrong with a scheduler. Each method does what the sound one does unless replaced.
trait Break: Send + 'static {
    fn promises(&self, sound: &Reference) -> Promises {
        sound.promises()
    }

    fn handle(&mut self, sound: &mut Reference, now: Moment, event: Event, actions: &mut Vec<Action>) {
        sound.handle(now, event, actions);
    }

    fn next_wakeup(&self, sound: &Reference) -> Option<Moment> {
        sound.next_wakeup()
    }

    fn next_attempt(&self, sound: &Reference, peer: &PublicKey, tree: &Id) -> Option<Moment> {
        sound.next_attempt(peer, tree)
    }

    fn pushes(&self, sound: &Reference, peer: &PublicKey, tree: &Id) -> bool {
        sound.pushes(peer, tree)
    }
}

struct Broken<B> {
    sound: Reference,
    how: B,
}

impl<B: Break> SyncScheduler for Broken<B> {
    fn promises(&self) -> Promises {
        self.how.promises(&self.sound)
    }

    fn handle(&mut self, now: Moment, event: Event, actions: &mut Vec<Action>) {
        self.how.handle(&mut self.sound, now, event, actions);
    }

    fn next_wakeup(&self) -> Option<Moment> {
        self.how.next_wakeup(&self.sound)
    }

    fn next_attempt(&self, peer: &PublicKey, tree: &Id) -> Option<Moment> {
        self.how.next_attempt(&self.sound, peer, tree)
    }

    fn pushes(&self, peer: &PublicKey, tree: &Id) -> bool {
        self.how.pushes(&self.sound, peer, tree)
    }
}

/// Whether the suite's case of that name fails for a scheduler broken so.
fn catches<B: Break + Default>(name: &str) -> bool {
    let suite =
        Suite::new("broken", |seed| Box::new(Broken { sound: Reference::new(seed), how: B::default() }));
    let case = Suite::cases().into_iter().find(|case| case.name == name).expect("a case of that name");
    suite.failure(case).is_some()
}

#[derive(Default)]
struct Sound;
impl Break for Sound {}

#[test]
fn sound_schedulers_pass() {
    let suite = Suite::new("sound", |seed| Box::new(Broken { sound: Reference::new(seed), how: Sound }));
    assert_eq!(suite.failures(), []);
}

#[test]
fn a_scheduler_that_gives_up_is_caught() {
    /// Never tries again what couldn't be reached.
    #[derive(Default)]
    struct GivesUp;
    impl Break for GivesUp {
        fn handle(&mut self, sound: &mut Reference, now: Moment, event: Event, actions: &mut Vec<Action>) {
            let event = match event {
                Event::SyncFailed { peer, tree, failure: Failure::Unreachable } => {
                    Event::SyncFailed { peer, tree, failure: Failure::Refused }
                }
                other => other,
            };
            sound.handle(now, event, actions);
        }
    }
    assert!(catches::<GivesUp>("an_unreachable_peer_is_tried_again_and_again"));
}

#[test]
fn a_lost_commit_is_caught() {
    /// Doesn't look at commits while a sync is under way.
    #[derive(Default)]
    struct LosesCommits {
        unanswered: BTreeSet<(Id, PublicKey)>,
    }
    impl Break for LosesCommits {
        fn handle(&mut self, sound: &mut Reference, now: Moment, event: Event, actions: &mut Vec<Action>) {
            match &event {
                Event::Committed { tree } if self.unanswered.iter().any(|(of, _)| of == tree) => return,
                Event::Acknowledged { peer, tree, .. } | Event::SyncFailed { peer, tree, .. } => {
                    self.unanswered.remove(&(*tree, *peer));
                }
                _ => {}
            }
            sound.handle(now, event, actions);
            for action in actions {
                if let Action::Sync { peer, tree } = action {
                    self.unanswered.insert((*tree, *peer));
                }
            }
        }

        fn pushes(&self, _sound: &Reference, _peer: &PublicKey, _tree: &Id) -> bool {
            false
        }
    }
    assert!(catches::<LosesCommits>("what_is_committed_during_a_sync_goes_out_after_it"));
}

#[test]
fn a_busy_loop_is_caught() {
    /// Wants to be woken at once when something is due.
    #[derive(Default)]
    struct Busy(Moment);
    impl Break for Busy {
        fn handle(&mut self, sound: &mut Reference, now: Moment, event: Event, actions: &mut Vec<Action>) {
            self.0 = now;
            sound.handle(now, event, actions);
        }

        fn next_wakeup(&self, sound: &Reference) -> Option<Moment> {
            sound.next_wakeup().map(|_| self.0)
        }
    }
    assert!(catches::<Busy>("wake_ups_lie_ahead"));
}

#[test]
fn polling_is_caught() {
    /// Looks every second whether something is due.
    #[derive(Default)]
    struct Polls(Moment);
    impl Break for Polls {
        fn handle(&mut self, sound: &mut Reference, now: Moment, event: Event, actions: &mut Vec<Action>) {
            self.0 = now;
            sound.handle(now, event, actions);
        }

        fn next_wakeup(&self, sound: &Reference) -> Option<Moment> {
            sound.next_wakeup().map(|at| at.min(self.0 + Duration::from_secs(1)))
        }
    }
    assert!(catches::<Polls>("waiting_costs_a_bounded_number_of_wake_ups"));
    assert!(!catches::<Polls>("wake_ups_lie_ahead"), "they do");
}

#[test]
fn one_sync_at_a_time_is_caught() {
    /// Holds everything back until the sync under way is answered.
    #[derive(Default)]
    struct OneAtATime {
        under_way: Option<(PublicKey, Id)>,
        waiting: Vec<Event>,
    }
    impl Break for OneAtATime {
        fn handle(&mut self, sound: &mut Reference, now: Moment, event: Event, actions: &mut Vec<Action>) {
            match &event {
                Event::Acknowledged { peer, tree, .. } | Event::SyncFailed { peer, tree, .. } => {
                    self.under_way.take_if(|of| *of == (*peer, *tree));
                }
                Event::Committed { .. } if self.under_way.is_some() => return self.waiting.push(event),
                _ => {}
            }
            let first = actions.len();
            sound.handle(now, event, actions);
            for event in std::mem::take(&mut self.waiting) {
                sound.handle(now, event, actions);
            }
            if let Some(Action::Sync { peer, tree }) = actions.get(first) {
                self.under_way.get_or_insert((*peer, *tree));
            }
        }

        fn pushes(&self, _sound: &Reference, _peer: &PublicKey, _tree: &Id) -> bool {
            false
        }
    }
    assert!(catches::<OneAtATime>("a_stalled_peer_delays_no_other"));
}

#[test]
fn hidden_state_is_caught() {
    /// What all schedulers of a process share.
    static SHARED: AtomicU64 = AtomicU64::new(0);
    #[derive(Default)]
    struct Shares;
    impl Break for Shares {
        fn handle(&mut self, sound: &mut Reference, now: Moment, event: Event, actions: &mut Vec<Action>) {
            let late = Duration::from_micros(SHARED.fetch_add(1, Ordering::Relaxed) % 1_000);
            sound.handle(now + late, event, actions);
        }
    }
    assert!(catches::<Shares>("the_same_events_give_the_same_actions"));
}

#[test]
fn a_second_sync_before_the_answer_is_caught() {
    /// Asks again for what was asked for already.
    #[derive(Default)]
    struct AsksTwice;
    impl Break for AsksTwice {
        fn handle(&mut self, sound: &mut Reference, now: Moment, event: Event, actions: &mut Vec<Action>) {
            sound.handle(now, event.clone(), actions);
            if let Event::PeerReset { peer } = event {
                let tree = eidetica_conformance::scheduler::tree(1);
                if sound.pushes(&peer, &tree) && !actions.contains(&Action::Sync { peer, tree }) {
                    actions.push(Action::Sync { peer, tree });
                }
            }
        }
    }
    assert!(catches::<AsksTwice>("at_most_one_sync_is_unanswered"));
}

#[test]
fn what_is_never_forgotten_is_caught() {
    /// Keeps every relation.
    #[derive(Default)]
    struct Remembers;
    impl Break for Remembers {
        fn handle(&mut self, sound: &mut Reference, now: Moment, event: Event, actions: &mut Vec<Action>) {
            if !matches!(event, Event::Unrelated { .. }) {
                sound.handle(now, event, actions);
            }
        }
    }
    assert!(catches::<Remembers>("what_has_ended_is_forgotten"));
}

#[test]
fn pushes_against_the_will_of_users_are_caught() {
    #[derive(Default)]
    struct PushesAll;
    impl Break for PushesAll {
        fn pushes(&self, _sound: &Reference, _peer: &PublicKey, _tree: &Id) -> bool {
            true
        }
    }
    assert!(catches::<PushesAll>("commits_are_pushed_only_where_users_want_it"));
}

#[test]
fn taking_any_tick_for_one_that_is_due_is_caught() {
    /// Syncs whatever is planned when a tick comes, due or not.
    #[derive(Default)]
    struct AnyTick;
    impl Break for AnyTick {
        fn handle(&mut self, sound: &mut Reference, now: Moment, event: Event, actions: &mut Vec<Action>) {
            let ahead = if event == Event::Tick { Duration::from_secs(30) } else { Duration::ZERO };
            sound.handle(now + ahead, event, actions);
        }
    }
    assert!(catches::<AnyTick>("ticks_that_nobody_asked_for_change_nothing"));
}

#[test]
fn a_tick_that_must_be_punctual_is_caught() {
    /// Drops what wasn't due exactly now.
    #[derive(Default)]
    struct Punctual(Option<Moment>);
    impl Break for Punctual {
        fn handle(&mut self, sound: &mut Reference, now: Moment, event: Event, actions: &mut Vec<Action>) {
            let late = event == Event::Tick && self.0.is_some_and(|at| at < now);
            let before = actions.len();
            sound.handle(now, event, actions);
            if late {
                actions.truncate(before);
            }
            self.0 = sound.next_wakeup();
        }
    }
    assert!(catches::<Punctual>("late_ticks_lose_nothing"));
}

#[test]
fn wake_ups_that_come_too_late_are_caught() {
    #[derive(Default)]
    struct Oversleeps;
    impl Break for Oversleeps {
        fn next_wakeup(&self, sound: &Reference) -> Option<Moment> {
            sound.next_wakeup().map(|at| at + Duration::from_secs(60))
        }

        fn next_attempt(&self, _sound: &Reference, _peer: &PublicKey, _tree: &Id) -> Option<Moment> {
            None
        }
    }
    assert!(catches::<Oversleeps>("every_relation_is_synced_again_and_again"));
}

#[test]
fn plans_that_are_not_kept_are_caught() {
    /// Tells people something, planned or not.
    #[derive(Default)]
    struct Tells;
    impl Break for Tells {
        fn next_attempt(&self, _sound: &Reference, _peer: &PublicKey, _tree: &Id) -> Option<Moment> {
            Some(Moment::ZERO)
        }
    }
    assert!(catches::<Tells>("what_is_planned_is_told"));
}

#[test]
fn a_flood_is_caught() {
    /// Syncs every tree of a peer when one of them is committed to.
    #[derive(Default)]
    struct Floods;
    impl Break for Floods {
        fn handle(&mut self, sound: &mut Reference, now: Moment, event: Event, actions: &mut Vec<Action>) {
            let committed = matches!(event, Event::Committed { .. });
            sound.handle(now, event, actions);
            if committed && let Some(Action::Sync { peer, .. }) = actions.first().cloned() {
                sound.handle(now, Event::PeerReset { peer }, actions);
            }
        }
    }
    assert!(catches::<Floods>("an_event_acts_on_what_it_names_alone"));
}

#[test]
fn arithmetic_that_overflows_is_caught() {
    #[derive(Default)]
    struct Overflows(Moment);
    impl Break for Overflows {
        fn handle(&mut self, sound: &mut Reference, now: Moment, event: Event, actions: &mut Vec<Action>) {
            self.0 = now + Duration::from_secs(60);
            sound.handle(now, event, actions);
        }
    }
    assert!(catches::<Overflows>("odd_numbers_are_survived"));
}

#[test]
fn an_interval_taken_literally_is_caught() {
    /// Syncs again at once where users name an interval below a second.
    #[derive(Default)]
    struct Literal(BTreeSet<(PublicKey, Id)>, Moment);
    impl Break for Literal {
        fn handle(&mut self, sound: &mut Reference, now: Moment, event: Event, actions: &mut Vec<Action>) {
            self.1 = now;
            if let Event::Related { peer, tree, preferences } = &event
                && preferences.interval.is_some_and(|interval| interval < Duration::from_secs(1))
            {
                self.0.insert((*peer, *tree));
            }
            let acknowledged = match &event {
                Event::Acknowledged { peer, tree, .. } => Some((*peer, *tree)),
                _ => None,
            };
            sound.handle(now, event, actions);
            if let Some((peer, tree)) = acknowledged.filter(|pair| self.0.contains(pair)) {
                sound.handle(now, Event::PeerReset { peer }, actions);
                actions.retain(|action| *action == Action::Sync { peer, tree });
            }
        }

        fn next_wakeup(&self, sound: &Reference) -> Option<Moment> {
            let at = sound.next_wakeup();
            if self.0.is_empty() { at } else { at.map(|at| at.min(self.1 + Duration::from_millis(1))) }
        }
    }
    assert!(catches::<Literal>("an_interval_of_nothing_is_no_busy_loop"));
}

#[test]
fn promises_that_change_are_caught() {
    #[derive(Default)]
    struct Hedges(bool);
    impl Break for Hedges {
        fn promises(&self, sound: &Reference) -> Promises {
            if self.0 { Promises::default() } else { sound.promises() }
        }

        fn handle(&mut self, sound: &mut Reference, now: Moment, event: Event, actions: &mut Vec<Action>) {
            self.0 |= matches!(event, Event::SyncFailed { .. });
            sound.handle(now, event, actions);
        }
    }
    assert!(catches::<Hedges>("promises_never_change"));
}

#[test]
fn acting_on_answers_that_nobody_awaits_is_caught() {
    /// Takes every failure for one of its own, and tries again.
    #[derive(Default)]
    struct Gullible;
    impl Break for Gullible {
        fn handle(&mut self, sound: &mut Reference, now: Moment, event: Event, actions: &mut Vec<Action>) {
            let failed = match &event {
                Event::SyncFailed { peer, tree, .. } => Some((*peer, *tree)),
                _ => None,
            };
            let planned = failed.and_then(|(peer, tree)| sound.next_attempt(&peer, &tree));
            sound.handle(now, event, actions);
            if let Some((peer, _)) = failed.filter(|_| planned.is_some()) {
                sound.handle(now, Event::PeerReset { peer }, actions);
            }
        }
    }
    assert!(catches::<Gullible>("duplicates_and_answers_that_nobody_awaits_are_harmless"));
}
