//! Which databases are kept in sync with whom.

use eidetica_kernel::{Id, Result, Timestamp, ToId, ToKey};

use super::Sync;

/// Where the exchange of one database with one peer stands.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TreeSyncState {
    /// Commits flow over an open link.
    pub live: bool,
    /// When both sides were found equal last.
    pub last_sync: Option<Timestamp>,
    /// Why the last attempt failed, if it did.
    pub last_error: Option<String>,
    /// Entries received from the peer, in all.
    pub received: u64,
    /// Entries that the peer has acknowledged, in all.
    pub acknowledged: u64,
    /// Attempts since the start.
    pub attempts: u64,
}

impl Sync {
    /// Keeps a database in sync with a peer from now on; it need not be here yet.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`](eidetica_kernel::ErrorKind::InvalidInput) for text that is no key or id; those of the backend.
    pub fn add_tree_sync(&self, key: impl ToKey, tree: impl ToId) -> Result<()> {
        self.engine.relate(&key.to_key()?, &tree.to_id()?)
    }

    /// Keeps a database in sync with a peer no longer.
    ///
    /// # Errors
    /// As [`Sync::add_tree_sync`].
    pub fn remove_tree_sync(&self, key: impl ToKey, tree: impl ToId) -> Result<()> {
        self.engine.unrelate(&key.to_key()?, &tree.to_id()?).map(drop)
    }

    /// The databases that are synced with a peer, sorted.
    ///
    /// # Errors
    /// Those of the backend.
    pub fn get_peer_trees(&self, key: impl ToKey) -> Result<Vec<Id>> {
        let relations = self.rows().relations(Some(&key.to_key()?))?;
        Ok(relations.into_iter().map(|(_, tree, _)| tree).collect())
    }

    /// The peers that a database is synced with, sorted.
    ///
    /// # Errors
    /// Those of the backend.
    pub fn get_tree_peers(&self, tree: impl ToId) -> Result<Vec<String>> {
        let tree = tree.to_id()?;
        let relations = self.rows().relations(None)?;
        Ok(relations
            .into_iter()
            .filter(|(_, of, _)| *of == tree)
            .map(|(peer, _, _)| peer.to_string())
            .collect())
    }

    /// Whether a database is kept in sync with a peer.
    ///
    /// # Errors
    /// Those of the backend.
    pub fn is_tree_synced_with_peer(&self, key: impl ToKey, tree: impl ToId) -> Result<bool> {
        Ok(self.rows().relation(&key.to_key()?, &tree.to_id()?)?.is_some())
    }

    /// Where the exchange of a database with a peer stands; `None` if they aren't related.
    ///
    /// # Errors
    /// Those of the backend.
    pub fn tree_sync_state(&self, key: impl ToKey, tree: impl ToId) -> Result<Option<TreeSyncState>> {
        let (peer, tree) = (key.to_key()?, tree.to_id()?);
        let Some(record) = self.rows().relation(&peer, &tree)? else { return Ok(None) };
        let live = self.engine.live(&peer, &tree);
        Ok(Some(TreeSyncState {
            live: live.live,
            last_sync: record.last_sync,
            last_error: live.last_error,
            received: record.received,
            acknowledged: record.acknowledged,
            attempts: live.attempts,
        }))
    }
}
