//! What is asked of a node and what it answers: lines of JSON over the control socket, or values in this process.

use std::time::Duration;

use eidetica::KeyId;
use eidetica::auth::{Grantee, Permission};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::failure::Failure;

/// Longest line, in bytes.
pub(crate) const LINE_BYTES_MAX: usize = 16 * 1_024 * 1_024;
/// Longest piece of an import or export, in bytes.
pub(crate) const PIECE_BYTES_MAX: usize = 256 * 1_024;

/// One command.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Request {
    /// Who acts; the node's own user without.
    pub(crate) user: Option<String>,
    /// Their password.
    pub(crate) password: Option<String>,
    /// What to do.
    pub(crate) what: What,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum What {
    DbCreate {
        name: String,
        allow_duplicate: bool,
    },
    DbList,
    DbShow {
        db: String,
    },
    DbDrop {
        db: String,
    },
    Set {
        db: String,
        store: String,
        path: String,
        json: String,
    },
    Get {
        db: String,
        store: String,
        path: Option<String>,
    },
    Delete {
        db: String,
        store: String,
        path: String,
    },
    Append {
        db: String,
        store: String,
        path: String,
        json: String,
    },
    /// The document follows, in pieces.
    Import {
        db: String,
        store: String,
        ndjson: bool,
    },
    Export {
        db: String,
        store: Option<String>,
        pretty: bool,
    },
    Share {
        db: String,
        permission: Permission,
        uses: u32,
        expires: Duration,
    },
    Join {
        ticket: String,
    },
    PeerList,
    PeerAdd {
        key: KeyId,
        addresses: Vec<String>,
        name: Option<String>,
    },
    PeerBlock {
        peer: String,
    },
    PeerRemove {
        peer: String,
    },
    PeerReset {
        peer: String,
    },
    PeerPing {
        peer: String,
    },
    PeerHistory {
        peer: String,
        last: usize,
    },
    InviteList {
        db: String,
    },
    InviteRevoke {
        db: String,
        id: String,
    },
    RequestAccess {
        db: String,
        peer: String,
        permission: Permission,
    },
    RequestList {
        all: bool,
    },
    RequestApprove {
        id: String,
        permission: Option<Permission>,
    },
    RequestReject {
        id: String,
    },
    Sync {
        db: Option<String>,
        peer: Option<String>,
    },
    Grant {
        db: String,
        key: Grantee,
        permission: Permission,
        seniority: u32,
        stores: Vec<String>,
    },
    Revoke {
        db: String,
        key: Grantee,
        since: Option<String>,
    },
    Why {
        db: String,
        entry: String,
    },
    Status,
    Verify {
        db: Option<String>,
    },
    Rebuild {
        db: Option<String>,
    },
    KeyShow,
    KeyExport {
        key: Option<KeyId>,
    },
    KeyImport {
        secret: String,
        name: Option<String>,
    },
    UserAdd {
        name: String,
        new: Option<String>,
    },
    UserList,
    UserPasswd {
        name: String,
        new: Option<String>,
    },
}

impl What {
    /// The store whose document it is about.
    pub(crate) fn store(&self) -> Option<&str> {
        match self {
            Self::Set { store, .. }
            | Self::Get { store, .. }
            | Self::Delete { store, .. }
            | Self::Append { store, .. }
            | Self::Import { store, .. } => Some(store),
            Self::Export { store, .. } => store.as_deref(),
            _ => None,
        }
    }
}

/// What comes back: any number of the first three, then one of the last two.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Event {
    /// The document of an import may be sent now.
    Send,
    /// How far it has come.
    Progress(Progress),
    /// A piece of the output.
    Piece(String),
    /// It is done.
    Ok(Reply),
    /// It failed.
    Error(Failure),
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Progress {
    /// What is being done: "reading", "receiving".
    pub(crate) what: String,
    /// How much of it.
    pub(crate) done: u64,
    /// Of how much, where known.
    pub(crate) total: Option<u64>,
    /// Of what: "bytes", "entries".
    pub(crate) unit: String,
}

/// The answer.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Reply {
    /// For programs; null where the pieces were the answer.
    pub(crate) value: Value,
    /// The same for people, lines without the last line break.
    pub(crate) text: String,
}

impl Reply {
    pub(crate) fn new(value: Value, text: impl Into<String>) -> Self {
        Self { value, text: text.into() }
    }
}
