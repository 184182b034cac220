//! Asking a peer for rights in a database: by an invite, or for a permission that the peer's admission may grant.

use std::sync::Arc;

use eidetica_kernel::auth::Permission;
use eidetica_kernel::{Id, Result, SecretKey, SyncError, ToId};
use serde::{Deserialize, Serialize};

use super::link::{Command, LinkHandle};
use super::messages::{Admit, AdmitAnswer, Proof};
use super::{Sync, ToAddress};
use crate::channel::session_proof;
use crate::instance::Inner;

/// The name under which the node's own key is asked for, unless a user's key is named so.
const DEVICE_KEY: &str = "device_key";

/// With which key, and for which permission, access is asked for where it is needed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuthParams {
    /// The name of a logged-in user's key; `device_key` is the node's own unless a user's key is named so.
    pub key_name: String,
    /// What is asked for.
    pub permission: Permission,
}

/// What rights are asked by.
pub(super) enum Wish {
    Invite([u8; 16]),
    Permission(AuthParams),
}

impl Sync {
    /// Asks the peer at an address for rights in a database, for a key of this node's, and syncs it once they are granted.
    ///
    /// The key is the latest logged-in user's of that name; `device_key` is the node's own unless a user's key is named so.
    /// Call it again after an approval.
    ///
    /// # Errors
    /// As [`Sync::sync_with_peer`]; [`SyncError::InvalidKeyName`]; [`SyncError::BootstrapPending`] while a person there has
    /// to decide; [`SyncError::PermissionDenied`]; [`SyncError::GrantedLess`] once it is synced, if an admin there granted less.
    pub fn sync_with_peer_for_bootstrap(
        &self,
        address: impl ToAddress,
        tree: impl ToId,
        key_name: impl AsRef<str>,
        permission: Permission,
    ) -> impl Future<Output = Result<()>> + Send + 'static {
        let (engine, inner) = (self.engine.clone(), self.inner.clone());
        let (address, tree) = (address.to_address(), tree.to_id());
        let auth = AuthParams { key_name: key_name.as_ref().to_owned(), permission };
        self.run("asking for access", async move {
            let (address, tree) = (address?, tree?);
            let key = named_key(&inner, &auth.key_name)?;
            inner.trees.allow_again(&tree)?;
            let link = engine.reach(&address).await?;
            let asked = auth.permission;
            let granted = ask(&link, &tree, &key, Wish::Permission(auth)).await?;
            engine.relate(&link.peer(), &tree)?;
            engine.sync_over(&link, &tree).await?;
            if granted < asked {
                return Err(SyncError::GrantedLess { tree, asked, granted }.into());
            }
            Ok(())
        })
    }
}

/// The key of that name: the latest logged-in user's, or the node's own.
pub(super) fn named_key(inner: &Inner, name: &str) -> Result<Arc<SecretKey>> {
    let named = |session: &Arc<crate::user::Session>| {
        let keys = session.keys.lock();
        keys.iter()
            .find(|(id, named, _)| named.as_deref() == Some(name) || id.to_string() == name)
            .map(|(.., key)| key.clone())
    };
    let of_user = inner.sessions().iter().rev().find_map(named);
    of_user
        .or_else(|| (name == DEVICE_KEY).then(|| inner.identity.clone()))
        .ok_or_else(|| SyncError::InvalidKeyName { key_name: name.chars().take(80).collect() }.into())
}

/// Asks the peer to admit `key`; gives what that key holds now.
pub(super) async fn ask(link: &LinkHandle, tree: &Id, key: &SecretKey, wish: Wish) -> Result<Permission> {
    let (facts, peer) = (&link.facts, link.peer().to_string());
    let signature = session_proof(key, facts.role, &facts.session_id, tree);
    let (key_name, permission, invite) = match wish {
        Wish::Invite(secret) => (String::new(), None, Some(secret)),
        Wish::Permission(auth) => (auth.key_name, Some(auth.permission), None),
    };
    let proof = Proof { key: key.public_key(), signature };
    let admit = Box::new(Admit { request: 0, tree: *tree, proof, key_name, permission, invite });
    let admitted = link.ask(|done| Command::Admit { admit, done }).await?;
    match admitted.answer {
        AdmitAnswer::Granted(permission) => Ok(permission),
        AdmitAnswer::Pending { request_id, message } => {
            Err(SyncError::BootstrapPending { request_id, message }.into())
        }
        AdmitAnswer::InviteSpent => Err(SyncError::InviteSpent.into()),
        AdmitAnswer::InviteExpired => Err(SyncError::InviteExpired { since: None }.into()),
        AdmitAnswer::Denied => {
            let operation = format!("asking for access to the database {}", tree.short());
            Err(SyncError::PermissionDenied { peer, operation }.into())
        }
        AdmitAnswer::Busy => Err(SyncError::Network { peer, reason: "it is busy".to_owned() }.into()),
    }
}
