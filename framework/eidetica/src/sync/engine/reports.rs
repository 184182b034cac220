//! What links report of the trees that are exchanged over them.

use std::collections::BTreeMap;

use eidetica_kernel::{Error, Id, PublicKey};

use super::SyncEngine;
use crate::sync::records::{Change, HistoryRecord, Rows};

/// Characters of an error that history keeps.
const ERROR_CHARS_MAX: usize = 300;

impl SyncEngine {
    pub(crate) fn proven(&self, peer: &PublicKey, tree: &Id) {
        if let Err(error) = self.relate(peer, tree) {
            tracing::warn!(%peer, %error, "a relation couldn't be recorded");
        }
    }

    /// Both sides hold the same entries; `diverged` if not the same state.
    pub(crate) fn in_sync(&self, peer: &PublicKey, tree: &Id, diverged: Option<&Error>) {
        let now = self.context().clock.monotonic();
        let mut live = self.live.lock();
        let live = live.entry((*peer, *tree)).or_default();
        live.live = true;
        live.in_sync_at = Some(now);
        live.last_error = diverged.map(ToString::to_string);
        live.refused = None;
    }

    pub(crate) fn tree_ended(&self, peer: &PublicKey, tree: &Id, error: &Error) {
        if let Some(live) = self.live.lock().get_mut(&(*peer, *tree)) {
            live.live = false;
            live.last_error = Some(error.to_string());
        }
    }

    /// Writes down what has happened with a peer. Blocks.
    pub(crate) fn record(&self, peer: &PublicKey, changes: &BTreeMap<Id, Change>) {
        {
            let mut live = self.live.lock();
            for (tree, change) in changes {
                if let Some(live) = live.get_mut(&(*peer, *tree)) {
                    live.bytes = live.bytes.saturating_add(change.bytes);
                }
            }
        }
        let recorded = self.inner().and_then(|inner| Rows(&*inner.backend).record(peer, changes));
        if let Err(error) = recorded {
            tracing::warn!(%peer, %error, "what was exchanged with a peer couldn't be recorded");
        }
        self.announce();
    }

    /// Writes down that an exchange failed before there was a link for it. It is written when this ends.
    pub(super) async fn record_unreached(&self, peer: &PublicKey, tree: &Id, error: &Error) {
        let now = self.context().clock.wall();
        let failed = HistoryRecord {
            tree: *tree,
            started: now,
            completed: now,
            duration_us: 0,
            entries: 0,
            bytes: 0,
            error: Some(kept(error)),
        };
        let changes = BTreeMap::from([(*tree, Change { ended: vec![failed], ..Change::default() })]);
        let (peer, engine) = (*peer, self.me.clone());
        let written = self.runtime.blocking("recording a failed sync", move || {
            if let Some(engine) = engine.upgrade() {
                engine.record(&peer, &changes);
            }
            Ok(())
        });
        // Fails only while the engine ends; what it records is told by `record` itself.
        let _ = written.await;
    }
}

/// What history keeps of an error.
pub(crate) fn kept(error: &Error) -> String {
    error.to_string().chars().take(ERROR_CHARS_MAX).collect()
}
