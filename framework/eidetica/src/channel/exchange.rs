//! The steps that both sides of a handshake share.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use eidetica_kernel::transport::{Link, LinkReceiver, LinkSender, MESSAGE_BYTES_MAX};
use eidetica_kernel::{Context, Error, Fault, PublicKey, Result, Retry, Signature, SyncError};
use snow::HandshakeState;

use super::compress::Compression;
use super::halves::{ChannelReceiver, ChannelSender, Seal};
use super::handshake::{Channel, ChannelConfig, MODE_REFUSED, REFUSED_BUSY, REFUSED_NO_VERSION};
use super::identity::{Identity, Introduction};
use super::noise::{self, broken};
use super::offer::{Choice, Offer, Security, VERSION_MAX, VERSION_MIN};
use super::proof::{Role, session_id};
use super::wire::{Reader, put_section};

/// A handshake under way, and what it needs at every step.
pub(super) struct Handshake<'a> {
    pub(super) role: Role,
    pub(super) identity: &'a Identity,
    pub(super) context: &'a Context,
    pub(super) offer: Offer,
    pub(super) peer: String,
    pub(super) binding: Option<[u8; 32]>,
    pub(super) keepalive: Option<Duration>,
    pub(super) sender: Box<dyn LinkSender>,
    pub(super) receiver: Box<dyn LinkReceiver>,
}

/// What both sides know once they have agreed.
pub(super) struct Agreed {
    pub(super) introduction: Introduction,
    pub(super) choice: Choice,
    pub(super) peer_offer: Offer,
    pub(super) session_id: [u8; 32],
    pub(super) seal: Seal,
}

impl<'a> Handshake<'a> {
    pub(super) fn new(
        link: Link,
        role: Role,
        identity: &'a Identity,
        config: &ChannelConfig,
        context: &'a Context,
    ) -> Self {
        let peer = match &link.remote {
            Some(address) => address.to_string(),
            None => "a peer".to_owned(),
        };
        // A binding without a proven key, or the other way round, is no basis for trust.
        let binding = link.binding.filter(|_| config.trust_transport && link.remote_key.is_some());
        let offer = Offer {
            nonce: context.rng.array(),
            version_min: VERSION_MIN,
            version_max: VERSION_MAX,
            compression: config.compression.then_some(Compression::Lz4).into_iter().collect(),
            message_bytes_max: MESSAGE_BYTES_MAX as u16,
            transport: binding.is_some(),
        };
        let Link { keepalive, sender, receiver, .. } = link;
        Self { role, identity, context, offer, peer, binding, keepalive, sender, receiver }
    }

    /// The next link message, of at most `bytes_max` bytes.
    pub(super) async fn receive(&mut self, bytes_max: usize) -> Result<Bytes> {
        let Some(message) = self.receiver.recv().await? else {
            return Err(self.failed("the connection was closed before it was done").retrying(SOON));
        };
        if message.len() > bytes_max {
            return Err(self.malformed());
        }
        Ok(message)
    }

    pub(super) fn start_noise(&self, hello: &[u8]) -> Result<HandshakeState> {
        noise::start(self.role, self.identity.static_secret(), hello, &self.context.rng)
    }

    /// What this side says of itself, as the section it is sent in.
    pub(super) fn introduce(&self, certificate: Signature) -> Vec<u8> {
        let introduction =
            Introduction { device: self.identity.public_key(), certificate, wall: self.context.clock.wall() };
        let mut out = Vec::new();
        put_section(&mut out, &introduction.encode());
        out
    }

    pub(super) fn write_answer(
        &self,
        out: &mut Vec<u8>,
        offer: &[u8],
        choice: &[u8],
        certificate: Signature,
    ) {
        put_section(out, offer);
        put_section(out, choice);
        out.extend(self.introduce(certificate));
    }

    /// The responder's offer and choice, each with its bytes, and its introduction; the choice is fair,
    /// and of the mode in which it came.
    #[allow(clippy::type_complexity, reason = "three parts of one message, two of them with their bytes")]
    pub(super) fn read_answer<'b>(
        &self,
        mode: Security,
        answer: &'b [u8],
    ) -> Result<((Offer, &'b [u8]), (Choice, &'b [u8]), Introduction)> {
        let mut reader = Reader::new(answer);
        let mut section = || reader.section().ok_or_else(|| self.malformed());
        let (offer_bytes, choice_bytes, introduction) = (section()?, section()?, section()?);
        let offer = Offer::decode(offer_bytes).ok_or_else(|| self.malformed())?;
        let choice = Choice::decode(choice_bytes)
            .filter(|choice| choice.security == mode && choice.is_fair(&self.offer, &offer));
        let choice = choice.ok_or_else(|| {
            self.mismatch("it chose a version or a feature that the two of us did not offer")
        })?;
        let introduction = Introduction::decode(introduction).ok_or_else(|| self.malformed())?;
        Ok(((offer, offer_bytes), (choice, choice_bytes), introduction))
    }

    pub(super) fn read_finish(&self, finish: &[u8]) -> Result<Introduction> {
        let introduction = Reader::new(finish).section().and_then(Introduction::decode);
        introduction.ok_or_else(|| self.malformed())
    }

    /// Refuses a certificate that isn't one, this node itself, and another key than the expected one.
    pub(super) fn check(
        &self,
        introduction: &Introduction,
        certified: &[u8],
        expected: Option<PublicKey>,
    ) -> Result<()> {
        let device = introduction.device;
        if !device.verify(certified, &introduction.certificate) {
            return Err(self.failed(format!("{device} did not certify this channel")));
        }
        if device == self.identity.public_key() {
            return Err(self
                .failed("that is this node itself")
                .blame(Fault::Caller)
                .hint("the address is this node's own, or the node shares its backend with this one"));
        }
        match expected.filter(|expected| *expected != device) {
            Some(expected) => Err(self
                .failed(format!("{device} answers there, {expected} was expected"))
                .blame(Fault::Environment)
                .hint("the address is out of date, or somebody is in between")),
            None => Ok(()),
        }
    }

    pub(super) fn agree_by_noise(
        &self,
        noise: HandshakeState,
        introduction: Introduction,
        choice: Choice,
        (peer_offer, peer_offer_bytes): (Offer, &[u8]),
        offer_bytes: &[u8],
    ) -> Result<Agreed> {
        let binding = noise.get_handshake_hash().try_into().map_err(broken)?;
        let session_id = match self.role {
            Role::Initiator => session_id(&binding, offer_bytes, peer_offer_bytes),
            Role::Responder => session_id(&binding, peer_offer_bytes, offer_bytes),
        };
        let seal = Seal::Noise(Arc::new(noise.into_stateless_transport_mode().map_err(broken)?));
        Ok(Agreed { introduction, choice, peer_offer, session_id, seal })
    }

    /// The channel that was agreed on.
    pub(super) fn open(self, agreed: Agreed) -> Channel {
        let Agreed { introduction, choice, peer_offer, session_id, seal } = agreed;
        let peer = introduction.device;
        Channel {
            peer,
            role: self.role,
            session_id,
            version: choice.version,
            compression: choice.compression,
            peer_wall: introduction.wall,
            keepalive: self.keepalive,
            sender: ChannelSender::new(self.sender, seal.clone(), peer, peer_offer.message_bytes_max),
            receiver: ChannelReceiver::new(self.receiver, seal, peer, self.offer.message_bytes_max),
        }
    }

    /// What the responder gave as its reason not to go on. It isn't authenticated.
    pub(super) fn refused(&self, refusal: &[u8]) -> Error {
        let mut reader = Reader::new(refusal);
        match (reader.u8(), reader.u16(), reader.u16()) {
            (Some(REFUSED_NO_VERSION), Some(min), Some(max)) => self.no_version(min, max),
            (Some(REFUSED_BUSY), ..) => {
                self.failed("it is busy").blame(Fault::Environment).retrying(Retry::After(BUSY_RETRY))
            }
            _ => self.failed("it refused"),
        }
    }

    pub(super) fn no_version(&self, min: u16, max: u16) -> Error {
        self.mismatch(format!(
            "it speaks versions {min} to {max} of the protocol, this node {VERSION_MIN} to {VERSION_MAX}"
        ))
    }

    fn mismatch(&self, reason: impl Into<String>) -> Error {
        SyncError::ProtocolMismatch { peer: self.peer.clone(), reason: reason.into() }.into()
    }

    /// What is said before anybody is proven may come from whoever sits on the path: no peer is blamed for it.
    pub(super) fn failed(&self, reason: impl AsRef<str>) -> Error {
        let error = SyncError::HandshakeFailed(format!("{}: {}", self.peer, reason.as_ref()));
        Error::from(error).blame(Fault::Environment)
    }

    pub(super) fn malformed(&self) -> Error {
        self.failed("a message is malformed")
    }

    pub(super) fn forged(&self) -> Error {
        self.failed("a message was altered on its way").retrying(SOON)
    }
}

const SOON: Retry = Retry::After(Duration::from_secs(1));
const BUSY_RETRY: Duration = Duration::from_secs(10);

/// The responder's last word to a link it doesn't serve.
pub(super) fn refusal(reason: u8) -> Bytes {
    let [min, max] = [VERSION_MIN, VERSION_MAX].map(u16::to_le_bytes);
    [&[MODE_REFUSED, reason][..], &min, &max].concat().into()
}

pub(super) fn write_noise(noise: &mut HandshakeState, payload: &[u8]) -> Result<Vec<u8>> {
    // An ephemeral key, a sealed static key and the payload's tag are the most that a message adds.
    let mut message = vec![0; payload.len() + 32 + 48 + 16];
    let written = noise.write_message(payload, &mut message).map_err(broken)?;
    message.truncate(written);
    Ok(message)
}

pub(super) fn read_noise(noise: &mut HandshakeState, message: &[u8]) -> Result<Vec<u8>, snow::Error> {
    let mut payload = vec![0; message.len()];
    let written = noise.read_message(message, &mut payload)?;
    payload.truncate(written);
    Ok(payload)
}

pub(super) fn remote_static(noise: &HandshakeState) -> Option<[u8; 32]> {
    noise.get_remote_static()?.try_into().ok()
}
