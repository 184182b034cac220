//! A link, as the rest of the engine sees it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use eidetica_kernel::{Error, Id, PublicKey, Result, SyncError};
use tokio::sync::{mpsc, oneshot};

use crate::channel::Reason;
use crate::sync::messages::{Admit, Admitted, Listed, Proof};
use crate::sync::storage::ChannelFacts;

/// Commands that may wait for a link.
pub(crate) const COMMANDS_MAX: usize = 256;

/// What others ask of a link.
pub(crate) enum Command {
    /// Exchange a tree; answered when both sides have what the other had.
    Sync { tree: Id, done: oneshot::Sender<Result<()>> },
    /// Commits to a tree are pushed from now on.
    Push { tree: Id },
    /// Stop exchanging a tree.
    Forget { tree: Id },
    /// Answered with the round-trip time.
    Ping { done: oneshot::Sender<Duration> },
    /// Ask for rights.
    Admit { admit: Box<Admit>, done: oneshot::Sender<Admitted> },
    /// Ask which trees there are.
    List { proofs: Vec<Proof>, done: oneshot::Sender<Listed> },
    /// End the link.
    Close { reason: Reason },
}

/// A link, as the rest of the engine sees it.
#[derive(Clone)]
pub(crate) struct LinkHandle {
    pub(crate) number: u64,
    pub(crate) facts: ChannelFacts,
    pub(crate) commands: mpsc::Sender<Command>,
    pub(crate) refused: Refused,
}

/// Set once the peer has said that it doesn't talk to this node.
pub(crate) type Refused = Arc<AtomicBool>;

/// What ended talking to a peer: its refusal, or something on the way.
pub(super) fn gone(peer: PublicKey, refused: &Refused, reason: String) -> Error {
    let peer = peer.to_string();
    match refused.load(Ordering::Acquire) {
        true => SyncError::BlockedByPeer { peer }.into(),
        false => SyncError::Network { peer, reason }.into(),
    }
}

impl LinkHandle {
    /// Whom it leads to.
    pub(crate) fn peer(&self) -> PublicKey {
        self.facts.peer
    }

    /// Sends a command and waits for its answer.
    pub(crate) async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Result<T> {
        let gone = || gone(self.peer(), &self.refused, "the link ended".to_owned());
        let (done, answer) = oneshot::channel();
        self.commands.send(command(done)).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())
    }
}
