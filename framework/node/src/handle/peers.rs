//! Peers, and syncing with them when asked.

use eidetica::sync::state::SyncStateManager;
use eidetica::sync::{PeerInfo, PeerStatus, SyncError, ToAddress};
use eidetica::{Error, Id, KeyId};
use eidetica_kernel::error::excerpt;
use serde_json::{Value, json};

use super::Job;
use crate::failure::{Exit, Failure};
use crate::node::find_database;
use crate::request::Reply;

impl Job {
    pub(super) fn list_peers(&self) -> Result<Reply, Failure> {
        let (mut values, mut lines): (Vec<Value>, Vec<String>) = Default::default();
        for peer in self.node.sync.list_peers()? {
            let addresses: Vec<String> = peer.addresses.iter().map(ToString::to_string).collect();
            lines.push(format!(
                "{}  {}, {}  {}  {}",
                peer.pubkey,
                peer.status,
                peer.connection_state,
                addresses.join(" "),
                peer.display_name.as_deref().unwrap_or("")
            ));
            values.push(json!({
                "key": peer.pubkey,
                "name": peer.display_name,
                "status": peer.status.to_string(),
                "connection": peer.connection_state.to_string(),
                "addresses": addresses,
                "first_seen": peer.first_seen.to_string(),
                "last_seen": peer.last_seen.map(|at| at.to_string()),
                "last_successful_sync": peer.last_successful_sync.map(|at| at.to_string()),
            }));
        }
        Ok(Reply::new(values.into(), lines.join("\n")))
    }

    pub(super) fn add_peer(
        &self,
        key: &KeyId,
        addresses: &[String],
        name: Option<&str>,
    ) -> Result<Reply, Failure> {
        let addresses = addresses.iter().map(ToAddress::to_address).collect::<Result<Vec<_>, Error>>()?;
        self.register(key, name)?;
        for address in addresses {
            self.node.sync.add_peer_address(key, address)?;
        }
        Ok(Reply::new(json!({ "key": key.to_string() }), ""))
    }

    /// Registers a peer; one that is known already stays as it is.
    pub(super) fn register(&self, key: &KeyId, name: Option<&str>) -> Result<(), Failure> {
        match self.node.sync.register_peer(key, name) {
            Err(error) if matches!(error.sync_error(), Some(SyncError::PeerAlreadyExists { .. })) => Ok(()),
            registered => Ok(registered?),
        }
    }

    pub(super) fn block_peer(&self, peer: &str) -> Result<Reply, Failure> {
        // One that never came near can be kept out too.
        if let Ok(key) = peer.parse::<KeyId>() {
            self.register(&key, None)?;
        }
        let key = self.find_peer(peer)?;
        self.node.sync.update_peer_status(&key, PeerStatus::Blocked)?;
        Ok(Reply::new(json!({ "key": key }), ""))
    }

    pub(super) fn remove_peer(&self, peer: &str) -> Result<Reply, Failure> {
        let key = self.find_peer(peer)?;
        self.node.sync.remove_peer(&key)?;
        Ok(Reply::new(json!({ "key": key }), ""))
    }

    pub(super) fn reset_peer(&self, peer: &str) -> Result<Reply, Failure> {
        let key = self.find_peer(peer)?;
        self.node.sync.update_peer_status(&key, PeerStatus::Active)?;
        self.node.sync.reset_peer(&key)?;
        Ok(Reply::new(json!({ "key": key }), ""))
    }

    pub(super) fn peer_history(&self, peer: &str, last: usize) -> Result<Reply, Failure> {
        let key = self.find_peer(peer)?;
        let records = self.node.sync.sync_tree().new_operation()?;
        let history = SyncStateManager::new(&records).get_sync_history(&key, Some(last))?;
        let (mut values, mut lines): (Vec<Value>, Vec<String>) = Default::default();
        for past in history {
            lines.push(format!(
                "{}  {}  {} entries, {} bytes, {:.1} ms, {}",
                past.started_at,
                past.tree_id.short(),
                past.entries_count,
                past.bytes_transferred,
                past.duration_ms,
                past.error_message.as_deref().unwrap_or("in sync")
            ));
            values.push(json!({
                "id": past.sync_id,
                "database": past.tree_id.to_string(),
                "started_at": past.started_at.to_string(),
                "completed_at": past.completed_at.to_string(),
                "success": past.success,
                "entries": past.entries_count,
                "bytes": past.bytes_transferred,
                "duration_ms": past.duration_ms,
                "error": past.error_message,
            }));
        }
        Ok(Reply::new(values.into(), lines.join("\n")))
    }

    pub(super) fn ping_peer(&self, peer: &str) -> Result<Reply, Failure> {
        let key = self.find_peer(peer)?;
        let took = self.wait(self.node.sync.ping_peer(&key))?;
        let millis = took.as_secs_f64() * 1_000.0;
        Ok(Reply::new(json!({ "key": key, "round_trip_ms": millis }), format!("{millis:.1} ms")))
    }

    pub(super) fn sync(&self, db: Option<&str>, peer: Option<&str>) -> Result<Reply, Failure> {
        let _user = self.acting()?;
        let sync = &self.node.sync;
        // A whole id of a database that isn't here yet can be fetched from a peer that is named.
        let wanted = |db: &str| {
            let found = find_database(&self.node, db);
            if peer.is_some() {
                found.or_else(|failure| db.parse::<Id>().map_err(|_| failure))
            } else {
                found
            }
        };
        let database = db.map(wanted).transpose()?;
        let mut pairs: Vec<(String, Id)> = Vec::new();
        match (database, peer) {
            (None, None) => {
                for PeerInfo { pubkey, .. } in sync.list_peers()? {
                    pairs
                        .extend(sync.get_peer_trees(&pubkey)?.into_iter().map(|tree| (pubkey.clone(), tree)));
                }
            }
            (Some(id), None) => {
                pairs.extend(sync.get_tree_peers(id)?.into_iter().map(|peer| (peer, id)));
                if pairs.is_empty() {
                    return Err(Failure::failed(
                        "no peer has this database yet; name one: eidetica sync DB PEER",
                    ));
                }
            }
            (database, Some(peer)) => {
                let key = match self.find_peer(peer) {
                    Err(failure)
                        if failure.exit == Exit::Failed
                            && peer.contains(':')
                            && peer.parse::<KeyId>().is_err() =>
                    {
                        self.wait(sync.connect_to_peer(&peer.to_address()?))?
                    }
                    found => found?,
                };
                let trees = database.map_or_else(|| sync.get_peer_trees(&key), |id| Ok(vec![id]))?;
                pairs.extend(trees.into_iter().map(|tree| (key.clone(), tree)));
            }
        }
        // All at once: one that doesn't answer doesn't hold up the others.
        let under_way: Vec<_> = pairs
            .into_iter()
            .map(|(peer, tree)| {
                let work = sync.sync_tree_with_peer(&peer, tree);
                (peer, tree, self.runtime.spawn(work))
            })
            .collect();
        let (mut values, mut lines, mut first) = (Vec::new(), Vec::new(), None);
        let total = under_way.len() as u64;
        for (at, (peer, tree, work)) in under_way.into_iter().enumerate() {
            self.progress("syncing", at as u64, Some(total), "databases");
            let done = self.wait(async { Ok(work.await) })?;
            let done = done
                .unwrap_or_else(|error| Err(Error::new(eidetica::ErrorKind::Bug, "syncing", tree, error)));
            let error = done.err().map(Failure::from);
            let said = error.as_ref().map_or("in sync", |failure| &failure.message[..]);
            lines.push(format!("{tree}  {peer}  {said}"));
            values.push(json!({
                "database": tree.to_string(),
                "peer": peer,
                "ok": error.is_none(),
                "error": error.as_ref().map(|failure| &failure.message),
            }));
            first = first.or(error);
        }
        match first {
            // All that went wrong, under the code of what went wrong first.
            Some(Failure { exit, .. }) if total > 1 => Err(Failure::new(exit, lines.join("\n"))),
            Some(failure) => Err(failure),
            None => Ok(Reply::new(values.into(), lines.join("\n"))),
        }
    }

    /// The key that a key, a unique beginning of it, or a display name stands for.
    pub(super) fn find_peer(&self, wanted: &str) -> Result<String, Failure> {
        let peers = self.node.sync.list_peers()?;
        let named = peers.iter().filter(|peer| peer.display_name.as_deref() == Some(wanted));
        let begins = |peer: &&PeerInfo| {
            let digits = peer.pubkey.strip_prefix("ed25519:").unwrap_or(&peer.pubkey);
            !wanted.is_empty()
                && (digits.starts_with(wanted) || wanted.len() > 8 && peer.pubkey.starts_with(wanted))
        };
        let mut found: Vec<&PeerInfo> = named.collect();
        if found.is_empty() {
            found = peers.iter().filter(begins).collect();
        }
        match found[..] {
            [only] => Ok(only.pubkey.clone()),
            [] => Err(Failure::failed(format_args!(
                "no peer {} is registered; `eidetica peer list` names those that are",
                excerpt(wanted, 140)
            ))),
            _ => {
                let keys: Vec<&str> = found.iter().map(|peer| &peer.pubkey[..]).collect();
                let message =
                    format!("{} stands for several peers:\n  {}", excerpt(wanted, 140), keys.join("\n  "));
                Err(Failure::usage(message))
            }
        }
    }
}
