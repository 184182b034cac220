//! Exchanging databases with peers at once, and finding out what they have.

use std::sync::Arc;

use eidetica_kernel::{Id, Result, Timestamp, ToId, ToKey};

use super::link::{Command, LinkHandle};
use super::records::Rows;
use super::{Sync, SyncEngine, ToAddress, admission, messages, storage};

/// A database that a peer lets us read.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TreeInfo {
    /// The database's id.
    pub tree_id: Id,
    /// The name in its settings.
    pub name: Option<String>,
    /// How many entries the peer holds.
    pub entry_count: u64,
    /// When it was written to last, by its writers' clocks.
    pub last_modified: Timestamp,
}

impl Sync {
    /// Exchanges a database with the peer at an address, both ways, and keeps it in sync with that peer from then on. Without a
    /// database: all that are related to the peer.
    ///
    /// `address` is `host:port` or a URL (HTTP), or `type:rest`.
    ///
    /// # Errors
    /// As [`Sync::connect_to_peer`]; [`SyncError::PermissionDenied`]; [`SyncError::Network`]; [`SyncError::ProtocolMismatch`].
    ///
    /// [`SyncError::PermissionDenied`]: eidetica_kernel::SyncError::PermissionDenied
    /// [`SyncError::Network`]: eidetica_kernel::SyncError::Network
    /// [`SyncError::ProtocolMismatch`]: eidetica_kernel::SyncError::ProtocolMismatch
    pub fn sync_with_peer<T: ToId + ?Sized>(
        &self,
        address: impl ToAddress,
        tree: Option<&T>,
    ) -> impl Future<Output = Result<()>> + Send + 'static {
        let engine = self.engine.clone();
        let address = address.to_address();
        let tree = tree.map(ToId::to_id).transpose();
        self.run("syncing", async move {
            let (address, tree) = (address?, tree?);
            match tree {
                Some(tree) => engine.sync_at(&address, &tree).await,
                None => sync_all(&engine, &engine.reach(&address).await?).await,
            }
        })
    }

    /// As [`Sync::sync_with_peer`], for all databases that are related to the peer.
    ///
    /// # Errors
    /// As [`Sync::sync_with_peer`].
    pub fn sync_all_with_peer(
        &self,
        address: impl ToAddress,
    ) -> impl Future<Output = Result<()>> + Send + 'static {
        self.sync_with_peer::<Id>(address, None)
    }

    /// Exchanges a database with a registered peer, at whichever of its addresses answers.
    ///
    /// # Errors
    /// As [`Sync::sync_with_peer`]; [`SyncError::PeerNotFound`](eidetica_kernel::SyncError::PeerNotFound).
    pub fn sync_tree_with_peer(
        &self,
        key: impl ToKey,
        tree: impl ToId,
    ) -> impl Future<Output = Result<()>> + Send + 'static {
        let (engine, key, tree) = (self.engine.clone(), key.to_key(), tree.to_id());
        self.run("syncing", async move {
            let (key, tree) = (key?, tree?);
            engine.relate(&key, &tree)?;
            engine.sync_tree(&key, &tree).await
        })
    }

    /// The databases at an address that this node's keys may read.
    ///
    /// # Errors
    /// As [`Sync::connect_to_peer`].
    pub fn discover_peer_trees(
        &self,
        address: impl ToAddress,
    ) -> impl Future<Output = Result<Vec<TreeInfo>>> + Send + 'static {
        let (engine, inner, address) = (self.engine.clone(), self.inner.clone(), address.to_address());
        self.run("asking which databases there are", async move {
            let link = engine.reach(&address?).await?;
            let proofs = storage::proofs(&inner, &link.facts, &admission::LIST_TREE, None);
            let listed = link.ask(|done| Command::List { proofs, done }).await?;
            let info = |tree: messages::ListedTree| TreeInfo {
                tree_id: tree.tree,
                name: tree.name,
                entry_count: tree.entries,
                last_modified: tree.last_modified,
            };
            Ok(listed.trees.into_iter().map(info).collect())
        })
    }
}

async fn sync_all(engine: &Arc<SyncEngine>, link: &LinkHandle) -> Result<()> {
    let relations = Rows(&*engine.inner()?.backend).relations(Some(&link.peer()))?;
    for (_, tree, _) in relations {
        engine.sync_over(link, &tree).await?;
    }
    Ok(())
}
