//! Why a command failed, and the exit code that says so: one place for both.

use std::fmt;

use eidetica::sync::SyncError;
use eidetica::{Error, ErrorKind};
use serde::{Deserialize, Serialize};

/// Exit codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Exit {
    /// Data or environment: JSON, folder, port, lock, disk.
    Failed = 1,
    /// Arguments, configuration, profile, ticket.
    Usage = 2,
    /// No permission.
    Refused = 3,
    /// Nobody answers.
    Unreachable = 4,
}

/// Why a command failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Failure {
    /// With what the program ends.
    pub(crate) exit: Exit,
    /// For people.
    pub(crate) message: String,
    /// The same command with the user's password may succeed.
    #[serde(default)]
    pub(crate) wants_password: bool,
    /// It lies in what was read as JSON; who knows where that came from says so.
    #[serde(default)]
    pub(crate) in_json: bool,
    /// Nobody reads the answer any more, as behind `| head`.
    #[serde(skip)]
    pub(crate) unread: bool,
}

impl Failure {
    pub(crate) fn new(exit: Exit, message: impl fmt::Display) -> Self {
        Self { exit, message: message.to_string(), wants_password: false, in_json: false, unread: false }
    }

    pub(crate) fn failed(message: impl fmt::Display) -> Self {
        Self::new(Exit::Failed, message)
    }

    pub(crate) fn usage(message: impl fmt::Display) -> Self {
        Self::new(Exit::Usage, message)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self { in_json: error.operation() == "reading JSON", ..Self::new(exit(&error), &error) }
    }
}

fn exit(error: &Error) -> Exit {
    match error.sync_error() {
        Some(
            SyncError::InvalidTicket { .. }
            | SyncError::InvalidAddress { .. }
            | SyncError::InvalidPublicKey { .. }
            | SyncError::InvalidKeyName { .. }
            | SyncError::NoTransportForAddress { .. },
        ) => return Exit::Usage,
        Some(SyncError::InviteSpent | SyncError::InviteExpired { .. }) => return Exit::Refused,
        // Somebody answers, but not the peer that was meant.
        Some(SyncError::HandshakeFailed(_)) => return Exit::Unreachable,
        _ => {}
    }
    match error.kind() {
        // A folder that the system won't let us into is the environment's doing, not a peer's or an admin's.
        ErrorKind::PermissionDenied if error.fault() != eidetica_kernel::Fault::Environment => Exit::Refused,
        ErrorKind::Unreachable | ErrorKind::Timeout => Exit::Unreachable,
        _ => Exit::Failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(error: impl Into<Error>) -> Exit {
        Failure::from(error.into()).exit
    }

    #[test]
    fn exit_codes_say_what_kind_of_failure_it_was() {
        let error = |kind| Error::new(kind, "doing", "it", "reasons");
        assert_eq!(of(error(ErrorKind::InvalidInput)), Exit::Failed, "malformed JSON, say");
        assert_eq!(of(error(ErrorKind::InUse)), Exit::Failed);
        assert_eq!(of(error(ErrorKind::NotFound)), Exit::Failed);
        assert_eq!(of(error(ErrorKind::Corrupt)), Exit::Failed);
        assert_eq!(of(error(ErrorKind::PermissionDenied)), Exit::Refused);
        assert_eq!(of(error(ErrorKind::Unreachable)), Exit::Unreachable);
        assert_eq!(of(error(ErrorKind::Timeout)), Exit::Unreachable);
        let text = String::new;
        assert_eq!(of(SyncError::InvalidTicket { reason: text() }), Exit::Usage);
        assert_eq!(of(SyncError::InvalidAddress { address: text(), reason: text() }), Exit::Usage);
        assert_eq!(of(SyncError::ServerBind { address: text(), reason: text() }), Exit::Failed);
        assert_eq!(of(SyncError::ConnectionFailed { address: text(), reason: text() }), Exit::Unreachable);
        assert_eq!(of(SyncError::PermissionDenied { peer: text(), operation: text() }), Exit::Refused);
        assert_eq!(of(SyncError::PeerBlocked { peer: text() }), Exit::Refused);
        assert_eq!(of(SyncError::HandshakeFailed(text())), Exit::Unreachable);
        assert_eq!(of(SyncError::InviteSpent), Exit::Refused);
        assert_eq!(of(SyncError::InviteExpired { since: None }), Exit::Refused);
    }

    #[test]
    fn a_folder_that_cant_be_entered_is_no_refusal() {
        let denied = std::io::Error::from(std::io::ErrorKind::PermissionDenied);
        assert_eq!(of(Error::io("opening", "/srv", denied)), Exit::Failed);
    }
}
