//! What links report of the trees that are exchanged over them.

use eidetica_kernel::{Error, Id, PublicKey};

use super::SyncEngine;
use crate::sync::records::{PeerRecord, RelationRecord, Rows};

impl SyncEngine {
    pub(crate) fn proven(&self, peer: &PublicKey, tree: &Id) {
        if let Err(error) = self.relate(peer, tree) {
            tracing::warn!(%peer, %error, "a relation couldn't be recorded");
        }
    }

    pub(crate) fn received(&self, peer: &PublicKey, tree: &Id, entries: u64, last: Option<Id>) {
        self.watch_tree(tree);
        self.count(peer, tree, move |record| {
            record.received += entries;
            record.shared += entries;
            record.last_entry = last.or(record.last_entry);
        });
    }

    pub(crate) fn acknowledged(&self, peer: &PublicKey, tree: &Id, entries: u64, last: Id) {
        self.count(peer, tree, move |record| {
            record.acknowledged += entries;
            record.shared += entries;
            record.last_entry = Some(last);
        });
    }

    pub(crate) fn in_sync(&self, peer: &PublicKey, tree: &Id, _bytes: u64) {
        let now = self.context().clock.monotonic();
        {
            let mut live = self.live.lock();
            let live = live.entry((*peer, *tree)).or_default();
            live.live = true;
            live.in_sync_at = Some(now);
            live.last_error = None;
            live.refused = None;
        }
        let wall = self.context().clock.wall();
        let Ok(inner) = self.inner() else { return };
        let held = inner.trees.get(tree).ok().flatten().map(|tree| tree.head().entries());
        self.count(peer, tree, move |record| {
            record.last_sync = Some(wall);
            record.shared = held.unwrap_or(record.shared);
        });
        let (peer, runtime) = (*peer, self.runtime.clone());
        runtime.detach_blocking(move || {
            let seen = Rows(&*inner.backend).change_peer(&peer, |record| {
                let seen =
                    |record| PeerRecord { last_seen: Some(wall), last_successful_sync: Some(wall), ..record };
                Ok((record.map(seen), ()))
            });
            if let Err(error) = seen {
                tracing::warn!(%peer, %error, "a peer's row couldn't be written");
            }
        });
    }

    pub(crate) fn tree_ended(&self, peer: &PublicKey, tree: &Id, error: &Error) {
        if let Some(live) = self.live.lock().get_mut(&(*peer, *tree)) {
            live.live = false;
            live.last_error = Some(error.to_string());
        }
    }

    fn count(&self, peer: &PublicKey, tree: &Id, change: impl Fn(&mut RelationRecord) + Send + 'static) {
        let Ok(inner) = self.inner() else { return };
        let (peer, tree, engine) = (*peer, *tree, self.me.clone());
        self.runtime.detach_blocking(move || {
            let counted = Rows(&*inner.backend).change_relation(&peer, &tree, |record| {
                let changed = record.map(|mut record| {
                    change(&mut record);
                    record
                });
                Ok((changed, ()))
            });
            if let Err(error) = counted {
                tracing::warn!(%peer, %error, "a relation's row couldn't be written");
            }
            if let Some(engine) = engine.upgrade() {
                engine.announce();
            }
        });
    }
}
