//! Requests for access that wait for a person, and what people decided.

use std::fmt;

use eidetica_kernel::auth::Permission;
use eidetica_kernel::{Id, KeyId, PublicKey, Result, SyncError, Timestamp, ToKey};
use serde::{Deserialize, Serialize};

use super::messages::{Admit, AdmitAnswer};
use super::records::Rows;
use super::{Sync, admission};
use crate::instance::Inner;

/// Requests of one peer that wait at once.
const PENDING_PER_PEER_MAX: usize = 16;
/// Requests that are kept: those that wait, and the last that were decided.
const REQUESTS_MAX: usize = 1_024;
/// Characters of a key's name that are kept.
const KEY_NAME_CHARS_MAX: usize = 80;

/// A peer's request for access to a database.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BootstrapRequest {
    /// Names the request.
    pub request_id: String,
    /// The database.
    pub tree_id: Id,
    /// The key that wants in; proven.
    pub requesting_key: KeyId,
    /// What the peer calls that key; its own word.
    pub key_name: String,
    /// The peer's device key.
    pub peer_pubkey: String,
    /// What is asked for.
    pub permission: Permission,
    /// When it was asked for last.
    pub requested_at: Timestamp,
    /// What became of it.
    pub status: RequestStatus,
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum RequestStatus {
    /// It waits.
    Pending,
    /// It was granted.
    Approved {
        /// Whose key signed the grant.
        by: KeyId,
        /// When.
        at: Timestamp,
        /// What was granted.
        permission: Permission,
    },
    /// It was refused.
    Rejected {
        /// With whose key.
        by: KeyId,
        /// When.
        at: Timestamp,
    },
}

impl fmt::Display for RequestStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pending => "pending",
            Self::Approved { .. } => "approved",
            Self::Rejected { .. } => "rejected",
        })
    }
}

/// A request's row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RequestRecord {
    tree: Id,
    key: PublicKey,
    key_name: String,
    peer: PublicKey,
    permission: Permission,
    requested: Timestamp,
    status: RequestStatus,
}

/// Names the one request of a key for a tree.
pub(crate) type RequestId = [u8; 8];

fn request_id(tree: &Id, key: &PublicKey) -> RequestId {
    let mut hasher = blake3::Hasher::new_derive_key("eidetica 1 bootstrap request");
    let mut id = RequestId::default();
    hasher.update(tree.as_bytes()).update(key.as_bytes()).finalize_xof().fill(&mut id);
    id
}

fn text(id: &RequestId) -> String {
    data_encoding::HEXLOWER.encode(id)
}

fn not_found(id: &str) -> eidetica_kernel::Error {
    SyncError::RequestNotFound(id.chars().take(80).collect()).into()
}

/// Puts a peer's request among those that wait for a person.
pub(super) fn queue(
    inner: &Inner,
    peer: &PublicKey,
    admit: &Admit,
    wanted: Permission,
    held: Option<Permission>,
) -> Result<AdmitAnswer> {
    let rows = Rows(&*inner.backend);
    let key = admit.proof.key;
    let id = request_id(&admit.tree, &key);
    if rows.request(&id)?.is_none() && !make_room(&rows, peer)? {
        return Ok(AdmitAnswer::Busy);
    }
    let fresh = RequestRecord {
        tree: admit.tree,
        key,
        key_name: admit.key_name.chars().take(KEY_NAME_CHARS_MAX).collect(),
        peer: *peer,
        permission: wanted,
        requested: inner.runtime.context.clock.wall(),
        status: RequestStatus::Pending,
    };
    let answer = rows.change_request(&id, |record| match record {
        Some(record) if matches!(record.status, RequestStatus::Rejected { .. }) => {
            Ok((Some(record), AdmitAnswer::Denied))
        }
        // What was asked for was decided on, and a part of it granted. Where nothing is, the approval broke off: it waits again.
        Some(record)
            if matches!(record.status, RequestStatus::Approved { .. })
                && wanted <= record.permission
                && let Some(held) = held =>
        {
            Ok((Some(record), AdmitAnswer::Granted(held)))
        }
        _ => {
            let message = "an admin of the database decides; ask again later".to_owned();
            Ok((Some(fresh.clone()), AdmitAnswer::Pending { request_id: text(&id), message }))
        }
    })?;
    inner.backend.flush()?;
    Ok(answer)
}

/// `true` if one more request of `peer`'s can be kept; the oldest decided ones make way.
fn make_room(rows: &Rows<'_>, peer: &PublicKey) -> Result<bool> {
    let requests = rows.requests()?;
    let pending = |record: &RequestRecord| record.status == RequestStatus::Pending;
    if requests.iter().filter(|(_, record)| record.peer == *peer && pending(record)).count()
        >= PENDING_PER_PEER_MAX
    {
        return Ok(false);
    }
    if requests.len() < REQUESTS_MAX {
        return Ok(true);
    }
    let decided = requests.iter().filter(|(_, record)| !pending(record));
    let Some((oldest, _)) = decided.min_by_key(|(_, record)| record.requested) else { return Ok(false) };
    rows.change_request(oldest, |_| Ok((None, ())))?;
    Ok(true)
}

impl Sync {
    /// Requests for access that wait, oldest first.
    ///
    /// # Errors
    /// Those of the backend.
    pub fn pending_bootstrap_requests(&self) -> Result<Vec<BootstrapRequest>> {
        self.requests(|status| *status == RequestStatus::Pending)
    }

    /// Requests for access that were granted, oldest first; of decided ones the last are kept.
    ///
    /// # Errors
    /// Those of the backend.
    pub fn approved_bootstrap_requests(&self) -> Result<Vec<BootstrapRequest>> {
        self.requests(|status| matches!(status, RequestStatus::Approved { .. }))
    }

    /// Requests for access that were refused, oldest first; of decided ones the last are kept.
    ///
    /// # Errors
    /// Those of the backend.
    pub fn rejected_bootstrap_requests(&self) -> Result<Vec<BootstrapRequest>> {
        self.requests(|status| matches!(status, RequestStatus::Rejected { .. }))
    }

    fn requests(&self, wanted: impl Fn(&RequestStatus) -> bool) -> Result<Vec<BootstrapRequest>> {
        self.inner.check_open()?;
        let mut found = self.rows().requests()?;
        found.retain(|(_, record)| wanted(&record.status));
        found.sort_by_key(|(id, record)| (record.requested, *id));
        Ok(found.into_iter().map(|(id, record)| public(&id, record)).collect())
    }

    /// One request.
    ///
    /// # Errors
    /// [`SyncError::RequestNotFound`]; those of the backend.
    pub fn get_bootstrap_request(&self, id: impl AsRef<str>) -> Result<BootstrapRequest> {
        let (id, record) = self.request(id.as_ref())?;
        Ok(public(&id, record))
    }

    fn request(&self, id: &str) -> Result<(RequestId, RequestRecord)> {
        self.inner.check_open()?;
        let bytes = data_encoding::HEXLOWER.decode(id.as_bytes()).ok();
        let bytes: RequestId = bytes.and_then(|bytes| bytes.try_into().ok()).ok_or_else(|| not_found(id))?;
        let record = self.rows().request(&bytes)?.ok_or_else(|| not_found(id))?;
        Ok((bytes, record))
    }

    /// Grants what a request asks for, signed with a key of a logged-in user's that is an admin of the database. The peer gets it
    /// when it asks again, which declared peers do by themselves.
    ///
    /// # Errors
    /// [`SyncError::RequestNotFound`]; [`SyncError::InvalidRequestState`] if it was decided already;
    /// [`SyncError::InsufficientPermission`] if the key isn't an admin; [`SyncError::InvalidKeyName`] if no logged-in user has it.
    pub fn approve_bootstrap_request(&self, id: impl AsRef<str>, key: impl ToKey) -> Result<()> {
        let (_, record) = self.request(id.as_ref())?;
        self.approve_bootstrap_request_as(id, key, record.permission)
    }

    /// As [`Sync::approve_bootstrap_request`], granting another permission than was asked for.
    ///
    /// # Errors
    /// As [`Sync::approve_bootstrap_request`].
    pub fn approve_bootstrap_request_as(
        &self,
        id: impl AsRef<str>,
        key: impl ToKey,
        permission: Permission,
    ) -> Result<()> {
        let (by, at) = (key.to_key()?, self.now());
        self.decide(id.as_ref(), by, RequestStatus::Approved { by, at, permission })
    }

    /// Refuses a request: asking again is denied from then on. A grant lets the key in all the same.
    ///
    /// # Errors
    /// As [`Sync::approve_bootstrap_request`].
    pub fn reject_bootstrap_request(&self, id: impl AsRef<str>, key: impl ToKey) -> Result<()> {
        let (by, at) = (key.to_key()?, self.now());
        self.decide(id.as_ref(), by, RequestStatus::Rejected { by, at })
    }

    fn decide(&self, id: &str, by: PublicKey, decision: RequestStatus) -> Result<()> {
        let (bytes, record) = self.request(id)?;
        let decided = |status: &RequestStatus| SyncError::InvalidRequestState {
            request_id: id.to_owned(),
            state: status.to_string(),
        };
        if record.status != RequestStatus::Pending {
            return Err(decided(&record.status).into());
        }
        let sessions = self.inner.sessions();
        let signer = sessions.iter().rev().find_map(|session| session.key(|held| *held == by));
        let signer = signer.ok_or_else(|| SyncError::InvalidKeyName { key_name: by.to_string() })?;
        let tree = self.inner.tree(&record.tree)?;
        let held = tree.table().grant(&by).map(|grant| grant.right.permission());
        if held != Some(Permission::Admin) {
            let operation = "decide on requests for access".to_owned();
            let key = by.to_string();
            return Err(SyncError::InsufficientPermission { key, operation, tree: record.tree }.into());
        }
        // Whoever decides first decides; what fails then is taken back.
        self.rows().change_request(&bytes, |record| match record {
            Some(record) if record.status == RequestStatus::Pending => {
                Ok((Some(RequestRecord { status: decision.clone(), ..record }), ()))
            }
            Some(record) => Err(decided(&record.status).into()),
            None => Err(not_found(id)),
        })?;
        if let RequestStatus::Approved { permission, .. } = decision
            && let Err(error) = admission::admit(&tree, &signer, &record.key, permission)
        {
            self.rows().change_request(&bytes, |now| {
                Ok((now.map(|now| RequestRecord { status: RequestStatus::Pending, ..now }), ()))
            })?;
            return Err(error);
        }
        self.inner.backend.flush()
    }
}

fn public(id: &RequestId, record: RequestRecord) -> BootstrapRequest {
    BootstrapRequest {
        request_id: text(id),
        tree_id: record.tree,
        requesting_key: record.key,
        key_name: record.key_name,
        peer_pubkey: record.peer.to_string(),
        permission: record.permission,
        requested_at: record.requested,
        status: record.status,
    }
}
