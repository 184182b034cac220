//! Feeds the scheduler with what happens, and does what it says.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use eidetica_kernel::runtime::Context;
use eidetica_kernel::scheduler::{Action, Event, Failure, Moment, Scope};
use eidetica_kernel::{Error, ErrorKind, Id, PublicKey, Result, SyncError, SyncScheduler, Timestamp};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::mpsc;

use super::SyncEngine;
use super::links::only_dials_in;
use crate::sync::link::Command;
use crate::sync::records::Rows;
use crate::sync::{PeerStatus, access};

/// A live relation that was found in sync this recently isn't reconciled again.
const FRESH: Duration = Duration::from_secs(60);
/// The scheduler is told the time of day again when it has jumped by more than this.
const WALL_DRIFT_MAX: Duration = Duration::from_secs(1);

/// Feeds the scheduler and does what it says.
pub(super) async fn run_scheduler(
    engine: Weak<SyncEngine>,
    context: Context,
    mut scheduler: Box<dyn SyncScheduler>,
    mut events: mpsc::Receiver<Event>,
) {
    let mut actions = Vec::new();
    let mut wall = WallTold::default();
    let mut running: FuturesUnordered<eidetica_kernel::runtime::BoxFuture<'static, Option<Event>>> =
        FuturesUnordered::new();
    let mut wakeup: Option<Moment> = None;
    loop {
        let event = tokio::select! {
            event = events.recv() => match event {
                Some(event) => event,
                None => return,
            },
            Some(event) = running.next() => match event {
                Some(event) => event,
                None => continue,
            },
            () = context.sleep_until(wakeup) => Event::Tick,
        };
        let mut concerned = event.scope();
        let now = context.clock.monotonic();
        if let Some(wall) = wall.jumped(context.clock.wall(), now) {
            scheduler.handle(now, Event::WallClock { wall }, &mut actions);
            concerned = Scope::ALL;
        }
        // One that is due isn't put off because something else came first, however much comes.
        let due = wakeup.filter(|at| event != Event::Tick && *at <= now);
        scheduler.handle(now, event, &mut actions);
        wakeup = due.or(scheduler.next_wakeup());
        let Some(strong) = engine.upgrade() else { return };
        if strong.events_lost.swap(false, Ordering::AcqRel) {
            tracing::debug!("the scheduler's queue was full; it is told anew how things stand");
            strong.state().into_iter().for_each(|event| scheduler.handle(now, event, &mut actions));
            wakeup = due.or(scheduler.next_wakeup());
            concerned = Scope::ALL;
        }
        strong.plan(concerned, &*scheduler);
        strong.announce();
        drop(strong);
        for action in actions.drain(..) {
            running.push(Box::pin(perform(engine.clone(), action)));
        }
    }
}

/// The time of day that the scheduler was told, and when.
#[derive(Default)]
struct WallTold(Option<(Timestamp, Moment)>);

impl WallTold {
    /// The time of day, if the scheduler doesn't know it.
    fn jumped(&mut self, wall: Timestamp, now: Moment) -> Option<Timestamp> {
        if let Some((told, at)) = self.0 {
            let expected = told.plus(now.saturating_sub(at));
            if wall.since(expected).max(expected.since(wall)) <= WALL_DRIFT_MAX {
                return None;
            }
        }
        self.0 = Some((wall, now));
        Some(wall)
    }
}

impl SyncEngine {
    /// A sync was acknowledged: the event, with the bytes that the scheduler hasn't been told of.
    fn acknowledged(&self, peer: PublicKey, tree: Id) -> Event {
        let mut live = self.live.lock();
        let bytes = live.get_mut(&(peer, tree)).map_or(0, |live| std::mem::take(&mut live.bytes));
        Event::Acknowledged { peer, tree, bytes }
    }

    /// How things stand, as events: what is related and linked, and that anything may have been committed.
    fn state(&self) -> Vec<Event> {
        let pairs: Vec<(PublicKey, Id)> = self.live.lock().keys().copied().collect();
        let connected = self.connected_peers();
        let ended = std::mem::take(&mut *self.endings_lost.lock());
        let mut events: Vec<Event> =
            ended.into_iter().map(|(peer, tree)| Event::Unrelated { peer, tree }).collect();
        let (mut peers, mut trees) = (BTreeSet::new(), BTreeSet::new());
        for (peer, tree) in pairs {
            let related = self.is_related(&peer, &tree);
            events.push(match self.preferences(&tree).filter(|_| related) {
                Some(preferences) => Event::Related { peer, tree, preferences },
                None => Event::Unrelated { peer, tree },
            });
            peers.insert(peer);
            trees.insert(tree);
        }
        let linked = |peer| match connected.contains(&peer) {
            true => Event::Connected { peer },
            false => Event::Disconnected { peer },
        };
        events.extend(peers.into_iter().map(linked));
        events.extend(trees.into_iter().map(|tree| Event::Committed { tree }));
        events
    }

    /// `false` if the two are known not to be kept in sync.
    fn is_related(&self, peer: &PublicKey, tree: &Id) -> bool {
        let relation = self.inner().and_then(|inner| Rows(&*inner.backend).relation(peer, tree));
        relation.map_or(true, |relation| relation.is_some())
    }

    /// Notes what the scheduler says of the concerned relations: when it tries them next, and whether commits are pushed.
    fn plan(&self, concerned: Scope, scheduler: &dyn SyncScheduler) {
        let pairs: Vec<(PublicKey, Id)> = {
            let live = self.live.lock();
            live.keys().filter(|(peer, tree)| concerned.includes(peer, tree)).copied().collect()
        };
        let says = |(peer, tree): &(PublicKey, Id)| {
            (scheduler.next_attempt(peer, tree), scheduler.pushes(peer, tree))
        };
        let planned: Vec<_> = pairs.into_iter().map(|pair| (pair, says(&pair))).collect();
        let mut pushed_now = Vec::new();
        {
            let mut live = self.live.lock();
            for (pair, (next_attempt, pushed)) in planned {
                if let Some(live) = live.get_mut(&pair) {
                    live.next_attempt = next_attempt;
                    if pushed && !live.pushed {
                        pushed_now.push(pair);
                    }
                    live.pushed = pushed;
                }
            }
        }
        for (peer, tree) in pushed_now {
            self.push_on_links(&peer, &tree);
        }
    }
}

/// Syncs a relation; where it was declared with which key and permission to ask for access, asks if it is refused.
async fn sync(engine: &Arc<SyncEngine>, peer: &PublicKey, tree: &Id) -> Result<()> {
    let done = engine.sync_tree(peer, tree).await;
    let refused = |error: &Error| matches!(error.sync_error(), Some(SyncError::PermissionDenied { .. }));
    if !done.as_ref().is_err_and(refused) {
        return done;
    }
    let inner = engine.inner()?;
    let relation = Rows(&*inner.backend).relation(peer, tree)?;
    let Some(auth) = relation.and_then(|relation| relation.auth) else { return done };
    let key = access::named_key(&inner, &auth.key_name)?;
    let link = engine.link_to(peer).await?;
    access::ask(&link, tree, &key, access::Wish::Permission(auth)).await?;
    engine.sync_over(&link, tree).await
}

async fn perform(engine: Weak<SyncEngine>, action: Action) -> Option<Event> {
    let engine = engine.upgrade()?;
    match action {
        Action::Sync { peer, tree } => {
            let live = engine.live(&peer, &tree);
            let (now, resets) = (engine.context().clock.monotonic(), live.resets);
            if engine.pushes(&peer, &tree)
                && live.live
                && live.in_sync_at.is_some_and(|at| now.saturating_sub(at) < FRESH)
            {
                return Some(engine.acknowledged(peer, tree));
            }
            let wanted = Rows(&*engine.inner().ok()?.backend).peer(&peer).ok().flatten();
            if engine.open_link(&peer).is_none() {
                let failure = match wanted {
                    Some(record) if record.status == PeerStatus::Active && only_dials_in(&record) => {
                        Some(Failure::Unreachable)
                    }
                    Some(record) if record.status == PeerStatus::Active => None,
                    _ => Some(Failure::Refused),
                };
                if let Some(failure) = failure {
                    return Some(Event::SyncFailed { peer, tree, failure });
                }
            }
            Some(match sync(&engine, &peer, &tree).await {
                Ok(()) => engine.acknowledged(peer, tree),
                Err(error) => {
                    let failure = match error.kind() {
                        // One may be enabled later.
                        _ if matches!(
                            error.sync_error(),
                            Some(SyncError::NoTransportEnabled | SyncError::NoTransportForAddress { .. })
                        ) =>
                        {
                            Failure::Unreachable
                        }
                        ErrorKind::Unreachable | ErrorKind::Timeout | ErrorKind::Closed => {
                            Failure::Unreachable
                        }
                        // Until a person there has decided.
                        _ if matches!(
                            error.sync_error(),
                            Some(SyncError::BootstrapPending { .. } | SyncError::BlockedByPeer { .. })
                        ) =>
                        {
                            Failure::Unreachable
                        }
                        _ => Failure::Refused,
                    };
                    {
                        let mut live = engine.live.lock();
                        let live = live.entry((peer, tree)).or_default();
                        live.last_error = Some(error.to_string());
                        let refused = failure == Failure::Refused && live.resets == resets;
                        live.refused = refused.then(|| Arc::new(error));
                    }
                    engine.announce();
                    Event::SyncFailed { peer, tree, failure }
                }
            })
        }
        Action::Probe { peer } => {
            let alive = match engine.open_link(&peer) {
                None => false,
                Some(link) => {
                    let answered = link.ask(|done| Command::Ping { done });
                    let timeout = engine.context().clock.sleep(Duration::from_secs(10));
                    tokio::select! { answer = answered => answer.is_ok(), () = timeout => false }
                }
            };
            Some(Event::Probed { peer, alive })
        }
        Action::Drop { peer } => {
            // The tasks end with their guards; a link that doesn't answer is not asked politely.
            let dropped = engine.links.lock().remove(&peer);
            if dropped.is_some() {
                drop(dropped);
                engine
                    .live
                    .lock()
                    .iter_mut()
                    .filter(|((of, _), _)| *of == peer)
                    .for_each(|(_, live)| live.live = false);
                return Some(Event::Disconnected { peer });
            }
            None
        }
        _ => None,
    }
}
