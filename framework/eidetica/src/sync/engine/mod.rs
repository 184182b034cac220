//! What keeps an instance in sync: transports, links, the scheduler's actions.

mod driver;
mod links;
pub(super) mod reports;
mod server;
mod trees;

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Weak};
use std::time::Duration;

use eidetica_kernel::runtime::{Context, TaskGuard};
use eidetica_kernel::scheduler::{Event, Moment};
use eidetica_kernel::{Error, Id, PublicKey, Result, SyncError, Transport};
use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};

use self::driver::run_scheduler;
use self::links::OpenLink;
use self::server::Server;
use crate::channel::{ChannelConfig, Identity, Reason};
use crate::engine::layout::TreeNo;
use crate::engine::tree::{Core, Tree};
use crate::instance::Inner;
use crate::runtime::Runtime;
use crate::sync::Admission;
use crate::sync::link::Command;
use crate::sync::records::Rows;

/// Events that may wait for the scheduler.
const EVENTS_MAX: usize = 1_024;
/// Addresses kept per peer.
pub(crate) const ADDRESSES_MAX: usize = 32;

/// What is going on with one tree and one peer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Live {
    /// Commits flow over an open link.
    pub(crate) live: bool,
    pub(crate) in_sync_at: Option<Duration>,
    pub(crate) last_error: Option<String>,
    pub(crate) attempts: u64,
    /// The scheduler lets commits flow over open links.
    pub(crate) pushed: bool,
    /// Bytes of messages about the tree that the scheduler hasn't been told of.
    pub(crate) bytes: u64,
    /// When the scheduler tries it again.
    pub(crate) next_attempt: Option<Moment>,
    /// The peer's refusal, if that was the last answer: nothing is tried again by itself.
    pub(crate) refused: Option<Arc<Error>>,
    /// How often the peer was reset: a refusal from before that says nothing any more.
    pub(crate) resets: u64,
}

/// How dialling a peer went since the start.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tries {
    pub(crate) attempts: u64,
    pub(crate) last_error: Option<String>,
}

/// The sync of one instance.
pub(crate) struct SyncEngine {
    inner: Weak<Inner>,
    runtime: Runtime,
    identity: Identity,
    config: ChannelConfig,
    transports: Mutex<Vec<Arc<dyn Transport>>>,
    server: Mutex<Option<Server>>,
    starting: AtomicBool,
    links: Mutex<HashMap<PublicKey, Vec<OpenLink>>>,
    next_link: AtomicU64,
    events: mpsc::Sender<Event>,
    /// There was no room for an event: the scheduler is told anew how things stand.
    events_lost: AtomicBool,
    /// Relations that ended, for the saying of which there was no room.
    endings_lost: Mutex<BTreeSet<(PublicKey, Id)>>,
    live: Mutex<HashMap<(PublicKey, Id), Live>>,
    /// Of peers that are registered.
    tries: Mutex<HashMap<PublicKey, Tries>>,
    /// Something that a status shows may have changed.
    changes: watch::Sender<u64>,
    watches: Mutex<HashMap<Id, TaskGuard>>,
    tasks: Mutex<Vec<TaskGuard>>,
    admission: Mutex<Admission>,
    /// Stands for the sync state; holds no entry.
    state_tree: Arc<Tree>,
    me: Weak<SyncEngine>,
}

impl SyncEngine {
    pub(crate) fn start(inner: &Arc<Inner>, transports: &[Arc<dyn Transport>]) -> Result<Arc<Self>> {
        let runtime = inner.runtime.clone();
        let rng = runtime.context.rng.clone();
        let identity = Identity::new((*inner.identity).clone(), &*rng)?;
        let (events, received) = mpsc::channel(EVENTS_MAX);
        let engine = Arc::new_cyclic(|me| Self {
            inner: Arc::downgrade(inner),
            runtime: runtime.clone(),
            identity,
            config: ChannelConfig::default(),
            transports: Mutex::default(),
            server: Mutex::default(),
            starting: AtomicBool::new(false),
            links: Mutex::default(),
            next_link: AtomicU64::new(0),
            events,
            events_lost: AtomicBool::new(false),
            endings_lost: Mutex::default(),
            live: Mutex::default(),
            tries: Mutex::default(),
            changes: watch::Sender::new(0),
            watches: Mutex::default(),
            tasks: Mutex::default(),
            admission: Mutex::default(),
            state_tree: Arc::new(state_tree(inner)),
            me: me.clone(),
        });
        // Before the scheduler acts: without a transport its first attempts would be refused.
        for transport in transports {
            engine.add_transport(transport.clone());
        }
        let scheduler = (inner.make_scheduler)(u64::from_le_bytes(rng.array()));
        let task = runtime.context.spawner.spawn(
            "scheduler",
            Box::pin(run_scheduler(Arc::downgrade(&engine), runtime.context.clone(), scheduler, received)),
        );
        engine.tasks.lock().push(task);
        let relations = Rows(&*inner.backend).relations(None)?;
        for (peer, tree, _) in &relations {
            engine.live.lock().entry((*peer, *tree)).or_default();
            engine.watch_tree(tree);
        }
        let events = engine.events.clone();
        let wanted = |(peer, tree, _): (_, Id, _)| Some((peer, tree, inner.preferences(&tree)?));
        let relations: Vec<_> = relations.into_iter().filter_map(wanted).collect();
        runtime.detach(async move {
            for (peer, tree, preferences) in relations {
                let related = Event::Related { peer, tree, preferences };
                if events.send(related).await.is_err() {
                    return;
                }
            }
        });
        Ok(engine)
    }

    pub(crate) fn shut_down(&self) {
        self.announce();
        *self.server.lock() = None;
        self.tasks.lock().clear();
        self.watches.lock().clear();
        let links = std::mem::take(&mut *self.links.lock());
        for (handle, task, _) in links.into_values().flatten() {
            // The driver says goodbye and ends by itself; without it the peer sees the link break.
            let told = handle.commands.try_send(Command::Close { reason: Reason::GoingAway }).is_ok();
            if told {
                self.runtime.detach(async move {
                    handle.commands.closed().await;
                    drop(task);
                });
            }
        }
    }

    pub(crate) fn inner(&self) -> Result<Arc<Inner>> {
        let inner = self.inner.upgrade().ok_or(SyncError::InstanceDropped)?;
        inner.check_open()?;
        Ok(inner)
    }

    pub(crate) fn context(&self) -> &Context {
        &self.runtime.context
    }
    /// Tells those who wait for a status to change.
    pub(super) fn announce(&self) {
        self.changes.send_modify(|changes| *changes = changes.wrapping_add(1));
    }

    /// Changes whenever something that a status shows may have changed.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    pub(crate) fn set_admission(&self, admission: Admission) {
        *self.admission.lock() = admission;
    }

    pub(crate) fn state_tree(&self) -> Arc<Tree> {
        self.state_tree.clone()
    }

    pub(crate) fn admission(&self) -> Admission {
        *self.admission.lock()
    }
}

/// A tree without entries, whose id no entry can have but by a broken hash.
fn state_tree(inner: &Inner) -> Tree {
    let mut hasher = blake3::Hasher::new_derive_key("eidetica 1 sync state");
    let id = Id::from_bytes(*hasher.update(inner.identity.public_key().as_bytes()).finalize().as_bytes());
    Tree::new(inner.trees.shared.clone(), id, TreeNo::MAX, Core::empty(inner.policy.clone()))
}
