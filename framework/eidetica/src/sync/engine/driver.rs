//! Feeds the scheduler with what happens, and does what it says.

use std::sync::{Arc, Weak};
use std::time::Duration;

use eidetica_kernel::runtime::Context;
use eidetica_kernel::scheduler::{Action, Event, Failure};
use eidetica_kernel::{Error, ErrorKind, Id, PublicKey, Result, SyncError, SyncScheduler};
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

/// Feeds the scheduler and does what it says.
pub(super) async fn run_scheduler(
    engine: Weak<SyncEngine>,
    context: Context,
    mut scheduler: Box<dyn SyncScheduler>,
    mut events: mpsc::Receiver<Event>,
) {
    let mut actions = Vec::new();
    let mut running: FuturesUnordered<eidetica_kernel::runtime::BoxFuture<'static, Option<Event>>> =
        FuturesUnordered::new();
    loop {
        let wait = scheduler.next_wakeup().map(|at| at.saturating_sub(context.clock.monotonic()));
        let event = tokio::select! {
            event = events.recv() => match event {
                Some(event) => event,
                None => return,
            },
            Some(event) = running.next() => match event {
                Some(event) => event,
                None => continue,
            },
            () = async { match wait {
                Some(wait) => context.clock.sleep(wait).await,
                None => std::future::pending().await,
            } } => Event::Tick,
        };
        let concerned = Concerned::by(&event);
        scheduler.handle(context.clock.monotonic(), event, &mut actions);
        let Some(strong) = engine.upgrade() else { return };
        strong.plan(&concerned, &*scheduler);
        strong.announce();
        drop(strong);
        for action in actions.drain(..) {
            running.push(Box::pin(perform(engine.clone(), action)));
        }
    }
}

impl SyncEngine {
    /// Notes for people to see when the scheduler tries the concerned relations next.
    fn plan(&self, concerned: &Concerned, scheduler: &dyn SyncScheduler) {
        let pairs: Vec<(PublicKey, Id)> = {
            let live = self.live.lock();
            live.keys().filter(|(peer, tree)| concerned.includes(peer, tree)).copied().collect()
        };
        let planned: Vec<_> =
            pairs.into_iter().map(|pair| (pair, scheduler.next_attempt(&pair.0, &pair.1))).collect();
        let mut live = self.live.lock();
        for (pair, next_attempt) in planned {
            if let Some(live) = live.get_mut(&pair) {
                live.next_attempt = next_attempt;
            }
        }
    }
}

/// Which relations an event may have changed the plan of.
enum Concerned {
    All,
    Peer(PublicKey),
    Tree(Id),
    One(PublicKey, Id),
}

impl Concerned {
    fn by(event: &Event) -> Self {
        match event {
            Event::Related { peer, tree, .. }
            | Event::Unrelated { peer, tree }
            | Event::Acknowledged { peer, tree, .. }
            | Event::SyncFailed { peer, tree, .. } => Self::One(*peer, *tree),
            Event::Committed { tree } => Self::Tree(*tree),
            Event::Connected { peer }
            | Event::Disconnected { peer }
            | Event::Probed { peer, .. }
            | Event::PeerReset { peer } => Self::Peer(*peer),
            _ => Self::All,
        }
    }

    fn includes(&self, peer: &PublicKey, tree: &Id) -> bool {
        match self {
            Self::All => true,
            Self::Peer(of) => of == peer,
            Self::Tree(of) => of == tree,
            Self::One(of_peer, of_tree) => of_peer == peer && of_tree == tree,
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
            let pushed = engine.preferences(&tree).is_some_and(|preferences| preferences.on_commit);
            if pushed && live.live && live.in_sync_at.is_some_and(|at| now.saturating_sub(at) < FRESH) {
                return Some(Event::Acknowledged { peer, tree, bytes: 0 });
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
                Ok(()) => Event::Acknowledged { peer, tree, bytes: 0 },
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
