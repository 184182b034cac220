//! How the node, its databases and their peers stand.

use serde_json::{Value, json};

use super::Job;
use crate::failure::Failure;
use crate::request::Reply;

impl Job {
    pub(super) fn status(&self) -> Result<Reply, Failure> {
        let node = &self.node;
        let key = node.instance.device_key().to_string();
        // It listens only while it serves.
        let addresses = node.sync.get_server_addresses().unwrap_or_default();
        let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        let data = node.data.display().to_string();
        let mut lines = vec![
            format!("running  {}", if node.serving { "yes" } else { "no" }),
            format!("key      {key}"),
            format!("data     {data}"),
        ];
        lines.extend(addresses.iter().map(|address| format!("address  {address}")));
        let keys = node.keys()?;
        let mut databases: Vec<Value> = Vec::new();
        for database in self.databases(None)? {
            let (id, name, entries) = (database.root_id(), database.name()?, database.entry_count());
            let mut locked = true;
            for key in &keys {
                locked &= database.permission_of(key)?.is_none();
            }
            let lock = if locked { ", locked: no key at hand may read it" } else { "" };
            lines.push(format!("database {id}  {}  {entries} entries{lock}", name.as_deref().unwrap_or("")));
            let mut peers: Vec<Value> = Vec::new();
            for peer in node.sync.get_tree_peers(id)? {
                let Some(state) = node.sync.tree_sync_state(&peer, id)? else { continue };
                let last_sync = state.last_sync.map(|at| at.to_string());
                let how = match (&state.last_error, &last_sync) {
                    _ if state.live => "live".to_owned(),
                    (Some(error), _) => format!("failing: {error}"),
                    (None, Some(at)) => format!("in sync at {at}"),
                    (None, None) => "not synced yet".to_owned(),
                };
                lines.push(format!(
                    "  peer   {peer}  {how}, {} received, {} acknowledged",
                    state.received, state.acknowledged
                ));
                peers.push(json!({
                    "key": peer,
                    "live": state.live,
                    "last_sync": last_sync,
                    "last_error": state.last_error,
                    "received": state.received,
                    "acknowledged": state.acknowledged,
                    "attempts": state.attempts,
                }));
            }
            databases.push(json!({
                "id": id.to_string(), "name": name, "entries": entries, "locked": locked, "peers": peers,
            }));
        }
        let value = json!({
            "running": node.serving,
            "key": key,
            "addresses": addresses,
            "data": data,
            "databases": databases,
        });
        Ok(Reply::new(value, lines.join("\n")))
    }
}
