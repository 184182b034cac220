//! What changes in a database, told to whoever asks, from the arrival log.

use std::fmt;
use std::pin::Pin;
use std::str::FromStr;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};

use eidetica_kernel::entry::RIGHTS_STORE;
use eidetica_kernel::error::excerpt;
use eidetica_kernel::runtime::BoxFuture;
use eidetica_kernel::store::{Applied, RowChanges, Stamp};
use eidetica_kernel::{Error, ErrorKind, Id, KeyId, Result, SignedEntry};
use futures_util::Stream;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::database::Database;
use crate::engine::layout::Arrival;
use crate::engine::read;
use crate::engine::records::{Flags, TreeHead, corrupt};
use crate::engine::rows::NoRows;
use crate::engine::stage::fold_into;
use crate::engine::tree::Tree;
use crate::history::Origin;
use crate::runtime::Runtime;

/// Entries that a subscriber from [`Database::subscribe`] may leave unread before it is told that it lags.
const LAG_ENTRIES_MAX: u64 = 1_024;

/// What a [`Subscription`] tells.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// An entry wrote to a store.
    Change(Change),
    /// What was told before may not hold any longer: read again what you keep.
    ///
    /// Rights that were taken or given made earlier entries void, or count again, in whichever stores; or a store was derived
    /// again, as where its kind wasn't linked when they came; or the position to go on from isn't of this copy of the database.
    Reset {
        /// Where it goes on.
        position: Position,
    },
    /// More than 1,024 entries came since the last one was asked for: they are skipped.
    ///
    /// Read again what you keep, and go on here; or have each one from [`Database::subscribe_from`] with `resume`.
    Lagged {
        /// Where the skipped ones begin.
        resume: Position,
    },
}

/// One entry's effect on one store.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Change {
    /// The store's name.
    pub store: String,
    /// Where it wrote, in the kind's own text form; at most 1,024, of more their common ancestors. An older write that loses
    /// against what is there is told too. Empty for `_rights`.
    pub paths: Vec<String>,
    /// The entry.
    pub entry: Id,
    /// Who signed it.
    pub author: KeyId,
    /// Whether it was committed here or brought by a peer.
    pub origin: Origin,
    /// Where to go on after it, with [`Database::subscribe_from`].
    pub position: Position,
}

/// A place in the order in which entries came to this copy of a database; it may be kept, as text, across restarts.
///
/// It means nothing in another copy: [`Database::subscribe_from`] answers one from elsewhere with [`Event::Reset`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Position {
    /// The beginning of the database's id.
    database: u32,
    /// The local number: another one after it was removed and joined again.
    tree: u32,
    epoch: u64,
    /// The entry to read next, and the first of its stores to tell of.
    next: Arrival,
    part: u8,
}

impl Position {
    fn start(tree: &Tree, head: &TreeHead) -> Self {
        let id = tree.id.as_bytes();
        Self {
            database: u32::from_be_bytes([id[0], id[1], id[2], id[3]]),
            tree: tree.keys.0,
            epoch: head.epoch,
            next: head.next_arrival,
            part: 0,
        }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { database, tree, epoch, next, part } = self;
        write!(f, "{database:08x}-{tree:x}-{epoch:x}-{next:x}-{part:x}")
    }
}

impl FromStr for Position {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let invalid = || {
            Error::new(
                ErrorKind::InvalidInput,
                "reading the position",
                excerpt(text, 80),
                "it isn't one that a subscription gave",
            )
        };
        let parts: Vec<u64> = text
            .split('-')
            .map(|part| {
                let plain = part.bytes().all(|byte| byte.is_ascii_hexdigit());
                u64::from_str_radix(part, 16).ok().filter(|_| plain)
            })
            .collect::<Option<_>>()
            .ok_or_else(invalid)?;
        let [database, tree, epoch, next, part] = parts[..] else { return Err(invalid()) };
        Ok(Self {
            database: u32::try_from(database).map_err(|_| invalid())?,
            tree: u32::try_from(tree).map_err(|_| invalid())?,
            epoch,
            next,
            part: u8::try_from(part).map_err(|_| invalid())?,
        })
    }
}

impl TryFrom<String> for Position {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Position> for String {
    fn from(position: Position) -> Self {
        position.to_string()
    }
}

impl Database {
    /// Tells what changes from now on, whoever changes it.
    ///
    /// Nothing is queued: what is told is read from the database when it is asked for. Who leaves more than 1,024 entries
    /// unread is told [`Event::Lagged`] in their place. A change is told once it can be read, which for those of other threads may
    /// be a moment before it is durable.
    ///
    /// ```
    /// # use eidetica::{Event, Instance, backend::InMemory, crdt::Doc, store::DocStore};
    /// # let instance = Instance::open(Box::new(InMemory::new()))?;
    /// # instance.create_user("alice", None)?;
    /// # let user = instance.login_user("alice", None)?;
    /// # let database = user.create_database(Doc::new(), &user.get_default_key()?)?;
    /// let mut changes = database.subscribe()?;
    /// let transaction = database.new_transaction()?;
    /// transaction.get_store::<DocStore>("notes")?.set("title", "Groceries")?;
    /// let entry = transaction.commit()?;
    ///
    /// // In async code: `changes.next().await`, as of any `Stream`.
    /// match changes.next_blocking() {
    ///     Some(Ok(Event::Change(change))) => {
    ///         assert_eq!((&change.store[..], change.entry), ("notes", entry));
    ///         assert_eq!(change.paths, ["title"]);
    ///     }
    ///     other => panic!("{other:?}"),
    /// }
    /// instance.close()?;
    /// assert!(changes.next_blocking().is_none());
    /// # Ok::<(), eidetica::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`SyncError::InstanceDropped`](eidetica_kernel::SyncError::InstanceDropped) after
    /// [`Instance::close`](crate::Instance::close).
    pub fn subscribe(&self) -> Result<Subscription> {
        self.inner.check_open()?;
        Ok(Subscription::new(self, Position::start(&self.tree, &self.tree.head()), false))
    }

    /// Tells everything that came after `position`, and then what changes. It never skips anything, however slow its reader.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if the position is of another database; as [`Database::subscribe`].
    pub fn subscribe_from(&self, position: Position) -> Result<Subscription> {
        self.inner.check_open()?;
        if position.database != Position::start(&self.tree, &TreeHead::default()).database {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                "subscribing to",
                format_args!("the database {}", self.tree.id.short()),
                "the position is of another database",
            ));
        }
        Ok(Subscription::new(self, position, true))
    }
}

/// What [`Database::subscribe`] gives: a `Stream` of [`Event`]s, in the order in which entries came here.
///
/// It ends when the instance closes, the database is removed, or the last handle on the instance is dropped; it keeps none of
/// them alive. While nothing happens it does nothing. After an error of the backend it may be asked again.
pub struct Subscription {
    tree: Weak<Tree>,
    runtime: Runtime,
    position: Position,
    every: bool,
    ended: watch::Receiver<bool>,
    /// Marked just before the log was last read; `None` before that and after the end.
    changes: Option<watch::Receiver<Arrival>>,
    /// Says whether it goes on.
    waiting: Option<BoxFuture<'static, bool>>,
}

impl Subscription {
    fn new(database: &Database, position: Position, every: bool) -> Self {
        Self {
            tree: Arc::downgrade(&database.tree),
            runtime: database.inner.runtime.clone(),
            position,
            every,
            ended: database.tree.watch_end(),
            changes: None,
            waiting: None,
        }
    }

    /// Where [`Database::subscribe_from`] would go on with what hasn't been told yet.
    pub fn position(&self) -> Position {
        self.position
    }

    /// The next event, if there is one already. `None` says nothing about the end.
    ///
    /// # Errors
    /// Those of the backend.
    pub fn try_next(&mut self) -> Result<Option<Event>> {
        (self.changes, self.waiting) = (None, None);
        match self.tree.upgrade().filter(|_| !*self.ended.borrow()) {
            Some(tree) => self.read(&tree),
            None => Ok(None),
        }
    }

    /// Waits for the next event; `None` at the end.
    ///
    /// Works inside and outside any async runtime; it blocks the calling thread.
    pub fn next_blocking(&mut self) -> Option<Result<Event>> {
        loop {
            match self.try_next() {
                Ok(Some(event)) => return Some(Ok(event)),
                Ok(None) => {}
                Err(error) => return self.fail(error),
            }
            let waiting = self.take_waiting()?;
            match self.runtime.wait("waiting for changes", async move { Ok(waiting.await) }) {
                Ok(true) => {}
                Ok(false) => return None,
                Err(error) => return Some(Err(error)),
            }
        }
    }

    /// As an iterator that blocks.
    pub fn blocking_iter(&mut self) -> impl Iterator<Item = Result<Event>> + '_ {
        std::iter::from_fn(|| self.next_blocking())
    }

    /// Waits for the next event; `None` at the end. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<Result<Event>> {
        std::future::poll_fn(|context| Pin::new(&mut *self).poll_next(context)).await
    }

    /// What is told of an error: nothing if it comes from the end.
    fn fail(&mut self, error: Error) -> Option<Result<Event>> {
        if *self.ended.borrow() { None } else { Some(Err(error)) }
    }

    /// The wait for what comes after the log was read; `None` at the end.
    fn take_waiting(&mut self) -> Option<BoxFuture<'static, bool>> {
        if let Some(waiting) = self.waiting.take() {
            return Some(waiting);
        }
        let mut changes = self.changes.take()?;
        let mut ended = self.ended.clone();
        Some(Box::pin(async move {
            tokio::select! {
                biased;
                // Both are over when the tree is dropped, too.
                _ = ended.wait_for(|ended| *ended) => false,
                changed = changes.changed() => changed.is_ok(),
            }
        }))
    }

    /// What the log has beyond the position.
    fn read(&mut self, tree: &Tree) -> Result<Option<Event>> {
        let reader = &*tree.shared.live;
        // What is announced after this look wakes the wait that follows it.
        self.changes = Some(tree.watch());
        let Some((_, head)) = read::head(reader, tree.keys)? else { return Ok(None) };
        let now = Position::start(tree, &head);
        if self.position.tree != now.tree || self.position.next > now.next {
            self.position = now;
            return Ok(Some(Event::Reset { position: now }));
        }
        if self.position.epoch != now.epoch {
            // Whoever reads the stores after this is told shall find them derived: that goes on under the lock.
            drop(tree.look());
            self.position.epoch = now.epoch;
            return Ok(Some(Event::Reset { position: self.position }));
        }
        if !self.every && now.next - self.position.next > LAG_ENTRIES_MAX {
            let resume = std::mem::replace(&mut self.position, now);
            return Ok(Some(Event::Lagged { resume }));
        }
        while self.position.next < now.next {
            let (flags, entry) = read::entry_at(reader, tree.keys, self.position.next)?
                .ok_or_else(|| corrupt("the arrival log", "an entry is missing"))?;
            if flags.counts {
                while usize::from(self.position.part) < entry.header().stores.len() {
                    let at = self.position.part;
                    let paths = written_paths(tree, self.position.next, &entry, usize::from(at))?;
                    self.position.part += 1;
                    if let Some(paths) = paths {
                        return Ok(Some(Event::Change(self.change(flags, &entry, usize::from(at), paths))));
                    }
                }
            }
            self.position.next += 1;
            self.position.part = 0;
        }
        Ok(None)
    }

    fn change(&self, flags: Flags, entry: &SignedEntry, at: usize, paths: Vec<String>) -> Change {
        Change {
            store: entry.header().stores[at].name.clone(),
            paths,
            entry: entry.id(),
            author: entry.header().author,
            origin: Origin::of(flags),
            position: self.position,
        }
    }
}

/// Where an entry's payload wrote; `None` if it has no effect.
///
/// A payload is folded into whatever rows there are, none included, and says the same places: no replay is needed.
pub(crate) fn written_paths(
    tree: &Tree,
    arrival: Arrival,
    entry: &SignedEntry,
    at: usize,
) -> Result<Option<Vec<String>>> {
    let header = entry.header();
    let store = &header.stores[at];
    if store.name == RIGHTS_STORE {
        return Ok(Some(Vec::new()));
    }
    let Some(kind) = tree.shared.stores.get(&store.kind[..]) else { return Ok(None) };
    let Some(payload) = read::payload(&*tree.shared.live, tree.keys, arrival, entry, at)? else {
        return Ok(None);
    };
    let stamp = Stamp { clock: header.clock, entry: entry.id() };
    Ok(match fold_into(&**kind, &NoRows, &mut RowChanges::new(), stamp, arrival, &payload)? {
        Applied::Folded { paths } => Some(paths),
        Applied::NoEffect { .. } => None,
    })
}

impl Stream for Subscription {
    type Item = Result<Event>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if self.waiting.is_none() {
                match self.try_next() {
                    Ok(Some(event)) => return Poll::Ready(Some(Ok(event))),
                    Ok(None) => {}
                    Err(error) => return Poll::Ready(self.fail(error)),
                }
            }
            let Some(mut waiting) = self.take_waiting() else { return Poll::Ready(None) };
            match waiting.as_mut().poll(context) {
                Poll::Ready(true) => {}
                Poll::Ready(false) => return Poll::Ready(None),
                Poll::Pending => {
                    self.waiting = Some(waiting);
                    return Poll::Pending;
                }
            }
        }
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription").field("position", &self.position).finish_non_exhaustive()
    }
}
