//! Which trees are kept in sync with whom, and syncing them now.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use eidetica_kernel::scheduler::{Event, Preferences};
use eidetica_kernel::{Error, ErrorKind, Id, PublicKey, Result};

use super::{Live, SyncEngine};
use crate::engine::tree::Tree;
use crate::sync::Address;
use crate::sync::link::{Command, LinkHandle};
use crate::sync::records::Rows;

impl SyncEngine {
    /// Tells the scheduler something; never waits. What there is no room for it learns with [`SyncEngine::state`].
    pub(crate) fn tell(&self, event: Event) {
        if let Event::PeerReset { peer } = &event {
            // What it refused before says nothing of what it does now.
            for (_, live) in self.live.lock().iter_mut().filter(|((of, _), _)| of == peer) {
                live.refused = None;
                live.resets += 1;
            }
        }
        if let Err(lost) = self.events.try_send(event) {
            if let Event::Unrelated { peer, tree } = lost.into_inner() {
                self.endings_lost.lock().insert((peer, tree));
            }
            self.events_lost.store(true, Ordering::Release);
        }
    }

    /// `tree` is to be synced with `peer` from now on; remembered.
    pub(crate) fn relate(&self, peer: &PublicKey, tree: &Id) -> Result<()> {
        let inner = self.inner()?;
        let new = Rows(&*inner.backend).change_relation(peer, tree, |record| {
            let new = record.is_none();
            Ok((Some(record.unwrap_or_default()), new))
        })?;
        if new {
            self.related(peer, tree);
        }
        Ok(())
    }

    fn related(&self, peer: &PublicKey, tree: &Id) {
        self.live.lock().entry((*peer, *tree)).or_default();
        if let Some(preferences) = self.preferences(tree) {
            self.tell(Event::Related { peer: *peer, tree: *tree, preferences });
        }
        self.watch_tree(tree);
    }

    /// What the users of a tree want; `None` if its sync is turned off.
    pub(crate) fn preferences(&self, tree: &Id) -> Option<Preferences> {
        self.inner().ok()?.preferences(tree)
    }

    /// The users of a tree want something else now.
    pub(crate) fn preferences_changed(&self, tree: &Id) -> Result<()> {
        let wanted = self.preferences(tree);
        for (peer, of, _) in Rows(&*self.inner()?.backend).relations(None)? {
            if of != *tree {
                continue;
            }
            match wanted {
                Some(preferences) => self.tell(Event::Related { peer, tree: *tree, preferences }),
                None => {
                    self.tell(Event::Unrelated { peer, tree: *tree });
                    self.forget_on_links(&peer, tree);
                }
            }
        }
        Ok(())
    }

    /// Whether commits to the tree are sent down open links to the peer at once: its users and the scheduler decide.
    pub(crate) fn pushes(&self, peer: &PublicKey, tree: &Id) -> bool {
        let wanted = self.preferences(tree).is_some_and(|preferences| preferences.on_commit);
        wanted && self.live.lock().get(&(*peer, *tree)).is_some_and(|live| live.pushed)
    }

    /// Sends what was committed while commits weren't pushed.
    pub(super) fn push_on_links(&self, peer: &PublicKey, tree: &Id) {
        for (link, _, _) in self.links.lock().get(peer).into_iter().flatten() {
            let _ = link.commands.try_send(Command::Push { tree: *tree });
        }
    }

    fn forget_on_links(&self, peer: &PublicKey, tree: &Id) {
        if let Some(link) = self.open_link(peer) {
            let _ = link.commands.try_send(Command::Forget { tree: *tree });
        }
    }

    pub(crate) fn unrelate(&self, peer: &PublicKey, tree: &Id) -> Result<bool> {
        let inner = self.inner()?;
        let was = Rows(&*inner.backend).change_relation(peer, tree, |record| Ok((None, record.is_some())))?;
        self.tell(Event::Unrelated { peer: *peer, tree: *tree });
        self.live.lock().remove(&(*peer, *tree));
        self.forget_on_links(peer, tree);
        Ok(was)
    }

    pub(crate) fn tree_appeared(&self, tree: &Arc<Tree>) {
        let related = self.inner().and_then(|inner| Rows(&*inner.backend).relations(None));
        if related.is_ok_and(|related| related.iter().any(|(_, of, _)| *of == tree.id)) {
            self.watch_tree(&tree.id);
        }
    }

    /// Tells the scheduler of every commit to a tree that is held.
    pub(crate) fn watch_tree(&self, tree: &Id) {
        let mut watches = self.watches.lock();
        if watches.contains_key(tree) {
            return;
        }
        let Some(watched) = self.inner().ok().and_then(|inner| inner.trees.get(tree).ok().flatten()) else {
            return;
        };
        let (engine, tree, mut changes) = (self.me.clone(), *tree, watched.watch());
        let watching = async move {
            while changes.changed().await.is_ok() {
                let Some(engine) = engine.upgrade() else { return };
                if !engine.all_live(&tree) {
                    engine.tell(Event::Committed { tree });
                }
            }
        };
        watches.insert(tree, self.context().spawner.spawn("tree watch", Box::pin(watching)));
    }

    /// `true` if commits to the tree flow to every related peer already.
    fn all_live(&self, tree: &Id) -> bool {
        let live = self.live.lock();
        let mut related = live.iter().filter(|((_, of), _)| of == tree).peekable();
        related.peek().is_some() && related.all(|(_, live)| live.live && live.pushed)
    }

    /// Reconciles a tree with a peer now.
    pub(crate) async fn sync_tree(self: &Arc<Self>, peer: &PublicKey, tree: &Id) -> Result<()> {
        let link = match self.link_to(peer).await {
            Ok(link) => link,
            Err(error) => {
                self.live.lock().entry((*peer, *tree)).or_default().attempts += 1;
                self.record_unreached(peer, tree, &error).await;
                return Err(error);
            }
        };
        self.sync_over(&link, tree).await
    }

    /// Reconciles a tree with whoever is at an address, and keeps it in sync with them from then on.
    pub(crate) async fn sync_at(self: &Arc<Self>, address: &Address, tree: &Id) -> Result<()> {
        let newest = self.next_link.load(Ordering::Relaxed);
        let link = self.reach(address).await?;
        self.relate(&link.peer(), tree)?;
        let done = self.sync_over(&link, tree).await;
        if !gone_meanwhile(&link, newest, &done) {
            return done;
        }
        let link = self.reach(address).await?;
        self.relate(&link.peer(), tree)?;
        self.sync_over(&link, tree).await
    }

    pub(crate) async fn sync_over(self: &Arc<Self>, link: &LinkHandle, tree: &Id) -> Result<()> {
        let peer = link.peer();
        if self.preferences(tree).is_none() {
            let reason = "its users have turned its sync off";
            let off = Error::new(ErrorKind::InvalidInput, "syncing the database", tree, reason);
            return Err(off.hint("turn it on in a user's preferences for the database"));
        }
        self.live.lock().entry((peer, *tree)).or_default().attempts += 1;
        let done = link.ask(|done| Command::Sync { tree: *tree, done }).await.and_then(|done| done);
        if let Err(error) = &done {
            self.live.lock().entry((peer, *tree)).or_default().last_error = Some(error.to_string());
        }
        done
    }

    /// How many entries of a tree are held here.
    pub(crate) fn entries_held(&self, tree: &Id) -> Option<u64> {
        let tree = self.inner().ok()?.trees.get(tree).ok().flatten()?;
        Some(tree.head().entries())
    }

    pub(crate) fn live(&self, peer: &PublicKey, tree: &Id) -> Live {
        self.live.lock().get(&(*peer, *tree)).cloned().unwrap_or_default()
    }
}

/// `true` if it failed because a link that was open before turned out to have ended: that says nothing of the peer, and a new
/// link is worth a try.
fn gone_meanwhile(link: &LinkHandle, newest: u64, done: &Result<()>) -> bool {
    let unreachable = done.as_ref().is_err_and(|error| error.kind() == ErrorKind::Unreachable);
    unreachable && link.number < newest && link.commands.is_closed()
}
