//! The two halves of an open channel, which may live in different tasks.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use eidetica_kernel::transport::{LinkReceiver, LinkSender};
use eidetica_kernel::{Error, ErrorKind, Fault, PublicKey, Result, Retry};
use snow::StatelessTransportState;

use super::noise::{TAG_BYTES, broken};

/// Messages in one direction after which a channel must be made anew.
pub(crate) const MESSAGES_MAX: u64 = 1 << 48;

/// What seals the messages of a channel.
#[derive(Clone)]
pub(super) enum Seal {
    /// Noise.
    Noise(Arc<StatelessTransportState>),
    /// The transport below.
    Transport,
}

/// Seals and sends messages.
pub(crate) struct ChannelSender {
    link: Box<dyn LinkSender>,
    seal: Seal,
    peer: PublicKey,
    next: u64,
    plain_bytes_max: usize,
    ended: bool,
}

impl ChannelSender {
    pub(super) fn new(
        link: Box<dyn LinkSender>,
        seal: Seal,
        peer: PublicKey,
        message_bytes_max: u16,
    ) -> Self {
        let plain_bytes_max = usize::from(message_bytes_max) - TAG_BYTES;
        Self { link, seal, peer, next: 0, plain_bytes_max, ended: false }
    }

    /// The longest plaintext the peer takes, in bytes.
    pub(crate) fn plain_bytes_max(&self) -> usize {
        self.plain_bytes_max
    }

    /// Sends one message; waits while the link is full. Dropping the future before it is done ends the channel, since
    /// whether the message went out can't be known, and its number must not be used twice.
    ///
    /// # Errors
    /// [`ErrorKind::LimitExceeded`] over [`ChannelSender::plain_bytes_max`]; [`ErrorKind::Expired`] after
    /// [`MESSAGES_MAX`] messages; [`ErrorKind::Closed`] after an error; the link's own.
    pub(crate) async fn send(&mut self, plain: Bytes) -> Result<()> {
        if self.ended {
            return Err(ended("sending to", &self.peer));
        }
        if plain.len() > self.plain_bytes_max {
            let reason =
                format!("the message has {} bytes, {} are allowed", plain.len(), self.plain_bytes_max);
            return Err(Error::new(ErrorKind::LimitExceeded, "sending to", self.peer, reason));
        }
        if self.next >= MESSAGES_MAX {
            return Err(used_up("sending to", &self.peer));
        }
        let message = match &self.seal {
            Seal::Noise(state) => {
                let mut sealed = vec![0; plain.len() + TAG_BYTES];
                let written = state.write_message(self.next, &plain, &mut sealed).map_err(broken)?;
                sealed.truncate(written);
                Bytes::from(sealed)
            }
            Seal::Transport => plain,
        };
        self.next += 1;
        self.ended = true;
        self.link.send(message).await?;
        self.ended = false;
        Ok(())
    }

    /// Hands on what is buffered and tells the peer that nothing follows.
    ///
    /// # Errors
    /// The link's own.
    pub(crate) async fn close(&mut self) -> Result<()> {
        self.ended = true;
        self.link.close().await
    }

    #[cfg(test)]
    pub(super) fn skip_to(&mut self, number: u64) {
        self.next = number;
    }

    #[cfg(test)]
    pub(super) fn replace_link(&mut self, link: impl LinkSender + 'static) {
        self.link = Box::new(link);
    }
}

/// Receives and opens messages.
pub(crate) struct ChannelReceiver {
    link: Box<dyn LinkReceiver>,
    seal: Seal,
    peer: PublicKey,
    next: u64,
    message_bytes_max: u16,
    ended: bool,
}

impl ChannelReceiver {
    pub(super) fn new(
        link: Box<dyn LinkReceiver>,
        seal: Seal,
        peer: PublicKey,
        message_bytes_max: u16,
    ) -> Self {
        Self { link, seal, peer, next: 0, message_bytes_max, ended: false }
    }

    /// The next message; `None` when the link has ended. The future may be dropped and asked for again.
    ///
    /// # Errors
    /// [`ErrorKind::Protocol`] for a message that was altered, replayed, moved or cut: the channel is over, and none of it
    /// was handed out. [`ErrorKind::Closed`] after an error; the link's own.
    pub(crate) async fn recv(&mut self) -> Result<Option<Bytes>> {
        if self.ended {
            return Err(ended("receiving from", &self.peer));
        }
        let received = self.link.recv().await;
        let opened = received.and_then(|message| message.map(|message| self.open(message)).transpose());
        self.ended = !matches!(opened, Ok(Some(_)));
        opened
    }

    fn open(&mut self, message: Bytes) -> Result<Bytes> {
        if message.len() > self.message_bytes_max.into() {
            let reason =
                format!("a message has {} bytes, {} are allowed", message.len(), self.message_bytes_max);
            return Err(Error::new(ErrorKind::Protocol, "receiving from", self.peer, reason));
        }
        if self.next >= MESSAGES_MAX {
            return Err(used_up("receiving from", &self.peer));
        }
        let number = self.next;
        self.next += 1;
        let Seal::Noise(state) = &self.seal else { return Ok(message) };
        let mut plain = vec![0; message.len().saturating_sub(TAG_BYTES)];
        match state.read_message(number, &message, &mut plain) {
            Ok(_) => Ok(plain.into()),
            Err(_) => Err(forged(&self.peer)),
        }
    }

    #[cfg(test)]
    pub(super) fn skip_to(&mut self, number: u64) {
        self.next = number;
    }
}

/// Whoever sits on the path can cause this, so the peer isn't to blame.
fn forged(peer: &PublicKey) -> Error {
    Error::new(ErrorKind::Protocol, "receiving from", peer, "a message was altered, repeated or lost on its way")
        .blame(Fault::Environment)
        .retrying(Retry::Now)
        .hint("the connection was given up, nothing of it was used; if this repeats, somebody or something on the path alters the traffic")
}

fn used_up(operation: &'static str, peer: &PublicKey) -> Error {
    Error::new(ErrorKind::Expired, operation, peer, "the channel has carried as many messages as it may")
        .hint("connect again")
}

fn ended(operation: &'static str, peer: &PublicKey) -> Error {
    Error::new(ErrorKind::Closed, operation, peer, "the channel has ended").hint("connect again")
}

impl fmt::Debug for ChannelSender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChannelSender")
            .field("peer", &self.peer)
            .field("sent", &self.next)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for ChannelReceiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChannelReceiver")
            .field("peer", &self.peer)
            .field("received", &self.next)
            .finish_non_exhaustive()
    }
}
