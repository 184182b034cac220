//! Tickets and invites: letting others in, and joining.

use std::sync::Arc;
use std::time::Duration;

use eidetica_kernel::auth::Permission;
use eidetica_kernel::error::excerpt;
use eidetica_kernel::{Error, ErrorKind, Result, SecretKey, SyncError, Timestamp};

use super::access::{self, Wish};
use super::engine::ADDRESSES_MAX;
use super::records::{InviteRecord, Rows};
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

/// An invite that this node made.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct InviteInfo {
    /// Names it, without being it: a hash of its secret.
    pub invite_id: String,
    /// What it admits to.
    pub permission: Permission,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it is over; `None` for never.
    pub expires_at: Option<Timestamp>,
    /// How many keys it still admits; `None` for any number.
    pub uses_left: Option<u32>,
    /// Whether it still admits anybody.
    pub good: bool,
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
        let admin = self.inviting_key("inviting to")?;
        admission::enable(&self.inner, &self.tree, &admin, permission)?;
        let expires = options.expires_in.map(|after| self.inner.runtime.context.clock.wall().plus(after));
        let secret = admission::invite(&self.inner, &self.tree, permission, expires, options.uses)?;
        let mut ticket = self.ticket()?;
        ticket.invite = Some(secret);
        Ok(ticket)
    }

    /// The invites that this node made for the database, the newest first: those that are good, and those that are over.
    ///
    /// # Errors
    /// Those of the backend.
    pub fn invites(&self) -> Result<Vec<InviteInfo>> {
        self.inner.check_open()?;
        let now = self.inner.runtime.context.clock.wall();
        let mut invites: Vec<_> = Rows(&*self.inner.backend).invites(&self.tree.id)?;
        invites.sort_by_key(|(id, record)| (std::cmp::Reverse(record.created), id.clone()));
        let info = |(invite_id, record): (String, InviteRecord)| InviteInfo {
            invite_id,
            permission: record.permission,
            created_at: record.created,
            expires_at: record.expires,
            uses_left: record.uses_left,
            good: record.uses_left != Some(0) && record.expires.is_none_or(|expires| expires > now),
        };
        Ok(invites.into_iter().map(info).collect())
    }

    /// Ends an invite that this node made, by the id that [`Database::invites`] and [`Ticket::invite_id`] give. Whom it has admitted
    /// stays. Needs Admin.
    ///
    /// # Errors
    /// `is_not_found()` if this node made no such invite for the database; `is_permission_denied()`; those of the backend.
    pub fn revoke_invite(&self, invite_id: impl AsRef<str>) -> Result<()> {
        let invite_id = invite_id.as_ref();
        self.inviting_key("ending an invite to")?;
        let now = self.inner.runtime.context.clock.wall();
        let rows = Rows(&*self.inner.backend);
        let ended = rows.change_invite_by_id(invite_id, |record| {
            let record = record.filter(|record| record.tree == self.tree.id);
            let expires = |record: &InviteRecord| record.expires.map_or(now, |expires| expires.min(now));
            let ended = record.map(|record| InviteRecord { expires: Some(expires(&record)), ..record });
            let found = ended.is_some();
            Ok((ended, found))
        })?;
        if !ended {
            let subject = excerpt(invite_id, 80);
            let reason = "this node made no such invite for the database";
            return Err(Error::new(ErrorKind::NotFound, "ending the invite", subject, reason)
                .hint("list the database's invites to see which there are"));
        }
        self.inner.backend.flush()
    }

    /// The key of an admin.
    fn inviting_key(&self, operation: &'static str) -> Result<Arc<SecretKey>> {
        let admin = self.key(true)?;
        let held = self.tree.table().grant(&admin.public_key()).map(|grant| grant.right.permission());
        if held != Some(Permission::Admin) {
            let reason = format!("{} isn't an admin there", admin.public_key());
            return Err(crate::engine::tree::denied(operation, &self.tree.id, reason));
        }
        Ok(admin)
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
