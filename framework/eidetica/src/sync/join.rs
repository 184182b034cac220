//! Tickets and invites: letting others in, and joining.

use std::sync::Arc;
use std::time::Duration;

use eidetica_kernel::auth::Permission;
use eidetica_kernel::{Error, Result, SecretKey, SyncError};

use super::access::{self, Wish};
use super::engine::ADDRESSES_MAX;
use super::records::Rows;
use super::{Sync, Ticket, admission};
use crate::database::Database;

/// For how long and how often an invite is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InviteOptions {
    /// Time until it expires; `None` for never.
    pub expires_in: Option<Duration>,
    /// How many keys it admits; `None` for any number.
    pub uses: Option<u32>,
}

impl Default for InviteOptions {
    /// One use within 24 hours.
    fn default() -> Self {
        Self { expires_in: Some(Duration::from_secs(24 * 60 * 60)), uses: Some(1) }
    }
}

impl Sync {
    /// Joins a database by a ticket with the last logged-in user's first key: connects, redeems the invite if there is one,
    /// downloads, and keeps in sync from then on.
    ///
    /// # Errors
    /// As [`Sync::sync_with_peer`]; [`SyncError::InviteSpent`], [`SyncError::InviteExpired`],
    /// [`SyncError::AuthenticationRequired`] with no user logged in.
    pub fn join(&self, ticket: &Ticket) -> impl Future<Output = Result<Database>> + Send + use<> {
        let key = self.inner.sessions().iter().rev().find_map(|session| session.key(|_| true));
        let key = key.ok_or_else(|| {
            Error::from(SyncError::AuthenticationRequired { operation: "joining a database".to_owned() })
        });
        self.join_as(ticket, key)
    }

    pub(crate) fn join_as(
        &self,
        ticket: &Ticket,
        key: Result<Arc<SecretKey>>,
    ) -> impl Future<Output = Result<Database>> + Send + use<> {
        let (engine, inner, ticket) = (self.engine.clone(), self.inner.clone(), ticket.clone());
        self.run("joining", async move {
            let key = key?;
            inner.trees.allow_again(&ticket.database)?;
            let link = match engine.open_link(&ticket.peer) {
                Some(link) => link,
                None => engine.dial_any(&ticket.addresses, Some(ticket.peer)).await?,
            };
            for address in &ticket.addresses {
                let known = Rows(&*inner.backend);
                known.change_peer(&ticket.peer, |record| {
                    let record = record.map(|mut record| {
                        if !record.addresses.contains(address) && record.addresses.len() < ADDRESSES_MAX {
                            record.addresses.push(address.clone());
                        }
                        record
                    });
                    Ok((record, ()))
                })?;
            }
            if let Some(invite) = ticket.invite {
                access::ask(&link, &ticket.database, &key, Wish::Invite(invite)).await?;
            }
            engine.relate(&ticket.peer, &ticket.database)?;
            engine.sync_over(&link, &ticket.database).await?;
            let tree = inner.tree(&ticket.database)?;
            let signer = crate::database::Signer::Key(key);
            Ok(Database::new(inner, tree, signer))
        })
    }
}

impl Database {
    /// Makes a ticket by which others can join, good as often and as long as `options` say. Needs Admin.
    ///
    /// The node's own key is let admit up to `permission`, if it isn't yet. The ticket names the addresses at which the
    /// node accepts links now.
    ///
    /// # Errors
    /// `is_permission_denied()`; [`SyncError::SyncNotEnabled`]; those of the backend.
    pub fn invite(&self, permission: Permission, options: InviteOptions) -> Result<Ticket> {
        let admin = self.key(true)?;
        let held = self.tree.table().grant(&admin.public_key()).map(|grant| grant.right.permission());
        if held != Some(Permission::Admin) {
            let reason = format!("{} isn't an admin there", admin.public_key());
            return Err(crate::engine::tree::denied("inviting to", &self.tree.id, reason));
        }
        admission::enable(&self.inner, &self.tree, &admin, permission)?;
        let expires = options.expires_in.map(|after| self.inner.runtime.context.clock.wall().plus(after));
        let secret = admission::invite(&self.inner, &self.tree, permission, expires, options.uses)?;
        let mut ticket = self.ticket()?;
        ticket.invite = Some(secret);
        Ok(ticket)
    }

    /// A ticket without an invite: where the database is to be had by those who may read it.
    ///
    /// # Errors
    /// [`SyncError::SyncNotEnabled`].
    pub fn ticket(&self) -> Result<Ticket> {
        let addresses = self.inner.advertised_addresses()?;
        let peer = self.inner.identity.public_key();
        Ok(Ticket { database: self.tree.id, peer, addresses, invite: None })
    }
}

impl crate::User {
    /// Joins a database by a ticket, with this user's first key; see [`Sync::join`].
    ///
    /// # Errors
    /// As [`Sync::join`]; [`SyncError::SyncNotEnabled`].
    pub fn join(&self, ticket: &Ticket) -> impl Future<Output = Result<Database>> + Send + use<> {
        let joining = crate::Instance { inner: self.inner.clone() }.sync().map(|sync| {
            let key = self.get_default_key().and_then(|key| self.secret(key));
            sync.join_as(ticket, key)
        });
        async move { joining?.await }
    }
}
