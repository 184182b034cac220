//! Requests for access: looking at them, and deciding.

use eidetica::auth::Permission;
use eidetica::sync::{BootstrapRequest, SyncError, ToAddress};
use eidetica::{Error, Id, KeyId};
use serde_json::{Value, json};

use super::Job;
use crate::failure::Failure;
use crate::node::find_database;
use crate::request::Reply;

impl Job {
    /// Asks for access, and syncs once it is granted. What is held is an error that says so.
    pub(super) fn request_access(
        &self,
        db: &str,
        peer: &str,
        permission: Permission,
    ) -> Result<Reply, Failure> {
        let user = self.acting()?;
        let key = user.get_default_key()?;
        // It needn't be here yet; then its whole id is needed.
        let database =
            find_database(&self.node, db).or_else(|failure| db.parse::<Id>().map_err(|_| failure))?;
        let sync = &self.node.sync;
        let address = match self.find_peer(peer) {
            Ok(known) => {
                let addresses = sync.get_peer_addresses(&known)?;
                addresses.into_iter().next().ok_or_else(|| {
                    Failure::failed(format_args!("no address of {known} is known; give its address"))
                })?
            }
            Err(_) => peer.to_address()?,
        };
        self.wait(sync.sync_with_peer_for_bootstrap(&address, &database, &key.to_string(), permission))?;
        let held = self.node.instance.load_database(database)?.permission_of(key)?;
        let held = held.map(|permission| permission.to_string());
        let text = format!("{database}  {}", held.as_deref().unwrap_or("open to everybody"));
        Ok(Reply::new(json!({ "database": database.to_string(), "permission": held }), text))
    }

    pub(super) fn list_requests(&self, all: bool) -> Result<Reply, Failure> {
        let requests =
            if all { self.all_requests()? } else { self.node.sync.pending_bootstrap_requests()? };
        let (mut values, mut lines): (Vec<Value>, Vec<String>) = Default::default();
        for request in requests {
            lines.push(format!(
                "{}  {}  {} for {} ({:?}), database {}, peer {}, {}",
                request.request_id,
                request.status,
                request.permission,
                request.requesting_key,
                request.key_name,
                request.tree_id.short(),
                request.peer_pubkey,
                request.requested_at
            ));
            values.push(json!({
                "id": request.request_id,
                "status": request.status.to_string(),
                "permission": request.permission.to_string(),
                "key": request.requesting_key.to_string(),
                "key_name": request.key_name,
                "database": request.tree_id.to_string(),
                "peer": request.peer_pubkey,
                "requested_at": request.requested_at.to_string(),
            }));
        }
        Ok(Reply::new(values.into(), lines.join("\n")))
    }

    pub(super) fn approve_request(&self, id: &str, permission: Option<Permission>) -> Result<Reply, Failure> {
        let (request, key) = self.request_to_decide(id)?;
        let permission = permission.unwrap_or(request.permission);
        self.node.sync.approve_bootstrap_request_as(&request.request_id, key, permission)?;
        let value = json!({ "id": request.request_id, "permission": permission.to_string() });
        Ok(Reply::new(value, ""))
    }

    pub(super) fn reject_request(&self, id: &str) -> Result<Reply, Failure> {
        let (request, key) = self.request_to_decide(id)?;
        self.node.sync.reject_bootstrap_request(&request.request_id, key)?;
        Ok(Reply::new(json!({ "id": request.request_id }), ""))
    }

    fn all_requests(&self) -> Result<Vec<BootstrapRequest>, Error> {
        let sync = &self.node.sync;
        let mut all = sync.pending_bootstrap_requests()?;
        all.extend(sync.approved_bootstrap_requests()?);
        all.extend(sync.rejected_bootstrap_requests()?);
        Ok(all)
    }

    /// The request that `id` begins the name of, and the key to decide with: an admin's of whoever acts, if they have one.
    fn request_to_decide(&self, id: &str) -> Result<(BootstrapRequest, KeyId), Failure> {
        let user = self.acting()?;
        let mut found: Vec<_> =
            self.all_requests()?.into_iter().filter(|request| request.request_id.starts_with(id)).collect();
        let request = match (found.pop(), found.is_empty()) {
            (Some(request), true) => request,
            (Some(_), false) => {
                return Err(Failure::usage(format!("several requests begin with {id:?}; give more of it")));
            }
            (None, _) => return Err(Error::from(SyncError::RequestNotFound(id.to_owned())).into()),
        };
        let database = self.node.instance.load_database(request.tree_id)?;
        let keys = user.list_keys()?;
        for (key, _) in &keys {
            if database.permission_of(key)? == Some(Permission::Admin) {
                return Ok((request, *key));
            }
        }
        // Without one, the first says that it may not.
        Ok((request, user.get_default_key()?))
    }
}
