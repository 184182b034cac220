//! The handshake: from a link to a [`Channel`].

use std::time::Duration;

use eidetica_kernel::runtime::BoxFuture;
use eidetica_kernel::transport::Link;
use eidetica_kernel::{Context, PublicKey, Result, SyncError, Timestamp};
use futures_util::future::{Either, select};

use super::compress::Compression;
use super::exchange::{Agreed, Handshake, read_noise, refusal, remote_static, write_noise};
use super::halves::{ChannelReceiver, ChannelSender, Seal};
use super::identity::Identity;
use super::mux::MuxConfig;
use super::offer::{Choice, OFFER_BYTES_MAX, Offer, Security};
use super::proof::{Role, certificate_message, session_id, transcript, transport_certificate_message};

pub(super) const MAGIC: &[u8; 8] = b"eidetica";
pub(super) const GENERATION: u8 = 1;
pub(super) const MODE_REFUSED: u8 = 255;
pub(super) const REFUSED_NO_VERSION: u8 = 1;
pub(super) const REFUSED_BUSY: u8 = 2;
const HELLO_BYTES_MAX: usize = MAGIC.len() + 1 + OFFER_BYTES_MAX;
const EPHEMERAL_BYTES: usize = 32;
const REPLY_BYTES_MAX: usize = 4_096;

/// How channels are made.
#[derive(Clone, Debug)]
pub(crate) struct ChannelConfig {
    /// Lets a transport that proves keys and binds its channel do the sealing. Both sides must.
    pub(crate) trust_transport: bool,
    /// Offers compression.
    pub(crate) compression: bool,
    /// How long a handshake may take, on links with keepalive.
    pub(crate) handshake_timeout: Duration,
}

impl Default for ChannelConfig {
    fn default() -> Self {
        Self { trust_transport: false, compression: true, handshake_timeout: Duration::from_secs(10) }
    }
}

/// An open channel to a peer whose device key is proven.
#[derive(Debug)]
pub(crate) struct Channel {
    /// The peer's device key.
    pub(crate) peer: PublicKey,
    /// This end.
    pub(crate) role: Role,
    /// Equal at both ends and in no other session.
    pub(crate) session_id: [u8; 32],
    /// Of the sync protocol.
    pub(crate) version: u16,
    /// How frame bodies may be compressed.
    pub(crate) compression: Option<Compression>,
    /// Wall time there during the handshake.
    pub(crate) peer_wall: Timestamp,
    /// How often to ping an idle channel; `None` turns off pings and timeouts.
    pub(crate) keepalive: Option<Duration>,
    /// The half that sends.
    pub(crate) sender: ChannelSender,
    /// The half that receives.
    pub(crate) receiver: ChannelReceiver,
}

impl Channel {
    /// What a [`Mux`](super::Mux) of this channel needs to know.
    pub(crate) fn mux_config(&self) -> MuxConfig {
        MuxConfig {
            peer: self.peer,
            role: self.role,
            plain_bytes_max: self.sender.plain_bytes_max(),
            compression: self.compression,
            keepalive: self.keepalive,
        }
    }
}

/// Makes a channel over a link this node dialled; to `expected` only, if that is given.
///
/// # Errors
/// [`SyncError::HandshakeFailed`], [`SyncError::ProtocolMismatch`], [`SyncError::Timeout`]; the link's own.
pub(crate) async fn initiate(
    link: Link,
    identity: &Identity,
    config: &ChannelConfig,
    context: &Context,
    expected: Option<PublicKey>,
) -> Result<Channel> {
    let timeout = timeout(&link, config, context);
    let handshake = Handshake::new(link, Role::Initiator, identity, config, context);
    within(timeout, handshake.peer.clone(), handshake.initiate(expected)).await
}

/// Makes a channel over a link this node accepted.
///
/// # Errors
/// As [`initiate`].
pub(crate) async fn respond(
    link: Link,
    identity: &Identity,
    config: &ChannelConfig,
    context: &Context,
) -> Result<Channel> {
    let timeout = timeout(&link, config, context);
    let handshake = Handshake::new(link, Role::Responder, identity, config, context);
    within(timeout, handshake.peer.clone(), handshake.respond()).await
}

/// Turns away a link this node accepted: too many are open.
///
/// # Errors
/// The link's own.
pub(crate) async fn refuse_busy(mut link: Link) -> Result<()> {
    link.sender.send(refusal(REFUSED_BUSY)).await?;
    link.sender.close().await
}

type Sleep = (Duration, BoxFuture<'static, ()>);

fn timeout(link: &Link, config: &ChannelConfig, context: &Context) -> Option<Sleep> {
    let after = config.handshake_timeout;
    link.keepalive.map(|_| (after, context.clock.sleep(after)))
}

async fn within<T>(
    timeout: Option<Sleep>,
    peer: String,
    handshake: impl Future<Output = Result<T>>,
) -> Result<T> {
    let Some((after, sleep)) = timeout else { return handshake.await };
    match select(std::pin::pin!(handshake), sleep).await {
        Either::Left((result, _)) => result,
        Either::Right(((), _)) => {
            Err(SyncError::Timeout { peer, operation: "agreeing on a session".into(), after }.into())
        }
    }
}

impl Handshake<'_> {
    async fn initiate(mut self, expected: Option<PublicKey>) -> Result<Channel> {
        let offer = self.offer.encode();
        let hello = [&MAGIC[..], &[GENERATION], &offer].concat();
        let mut noise = self.start_noise(&hello)?;
        let ephemeral = write_noise(&mut noise, &[])?;
        self.sender.send(hello.clone().into()).await?;
        self.sender.send(ephemeral.clone().into()).await?;

        let answer = self.receive(REPLY_BYTES_MAX).await?;
        let (mode, answer) = answer.split_first().ok_or_else(|| self.malformed())?;
        let agreed = match *mode {
            mode if mode == Security::Noise as u8 => {
                let answer = read_noise(&mut noise, answer).map_err(|_| self.forged())?;
                let (peer_offer, choice, introduction) = self.read_answer(Security::Noise, &answer)?;
                let static_key = remote_static(&noise).ok_or_else(|| self.malformed())?;
                self.check(&introduction, &certificate_message(Role::Responder, &static_key), expected)?;
                let certificate = self.identity.certificate(Role::Initiator);
                let finish = write_noise(&mut noise, &self.introduce(certificate))?;
                self.sender.send(finish.into()).await?;
                self.agree_by_noise(noise, introduction, choice.0, peer_offer, &offer)?
            }
            mode if mode == Security::Transport as u8 => {
                let binding = self.binding.ok_or_else(|| self.malformed())?;
                let (peer_offer, choice, introduction) = self.read_answer(Security::Transport, answer)?;
                let transcript = transcript([&hello, &ephemeral, peer_offer.1, choice.1]);
                let message = |role| transport_certificate_message(role, &binding, &transcript);
                self.check(&introduction, &message(Role::Responder), expected)?;
                let certificate = self.identity.device().sign(&message(Role::Initiator));
                self.sender.send(self.introduce(certificate).into()).await?;
                let session_id = session_id(&binding, &offer, peer_offer.1);
                let (choice, peer_offer) = (choice.0, peer_offer.0);
                Agreed { introduction, choice, peer_offer, session_id, seal: Seal::Transport }
            }
            MODE_REFUSED => return Err(self.refused(answer)),
            _ => return Err(self.malformed()),
        };
        Ok(self.open(agreed))
    }

    async fn respond(mut self) -> Result<Channel> {
        let hello = self.receive(HELLO_BYTES_MAX).await?;
        let peer_offer =
            hello.strip_prefix(MAGIC).and_then(|hello| hello.strip_prefix(&[GENERATION])).ok_or_else(
                || self.failed("what arrived isn't the start of a session; another program dialled here"),
            )?;
        let peer_offer = (Offer::decode(peer_offer).ok_or_else(|| self.malformed())?, peer_offer);
        let Some(choice) = Choice::between(&peer_offer.0, &self.offer) else {
            self.sender.send(refusal(REFUSED_NO_VERSION)).await?;
            let _ = self.sender.close().await;
            return Err(self.no_version(peer_offer.0.version_min, peer_offer.0.version_max));
        };
        let ephemeral = self.receive(EPHEMERAL_BYTES).await?;
        if ephemeral.len() != EPHEMERAL_BYTES {
            return Err(self.malformed());
        }
        let offer = self.offer.encode();
        let chosen = choice.encode();
        let agreed = match (choice.security, self.binding) {
            (Security::Transport, Some(binding)) => {
                let transcript = transcript([&hello, &ephemeral, &offer, &chosen]);
                let message = |role| transport_certificate_message(role, &binding, &transcript);
                let certificate = self.identity.device().sign(&message(Role::Responder));
                let mut answer = vec![Security::Transport as u8];
                self.write_answer(&mut answer, &offer, &chosen, certificate);
                self.sender.send(answer.into()).await?;
                let finish = self.receive(REPLY_BYTES_MAX).await?;
                let introduction = self.read_finish(&finish)?;
                self.check(&introduction, &message(Role::Initiator), None)?;
                let session_id = session_id(&binding, peer_offer.1, &offer);
                Agreed { introduction, choice, peer_offer: peer_offer.0, session_id, seal: Seal::Transport }
            }
            _ => {
                let mut noise = self.start_noise(&hello)?;
                read_noise(&mut noise, &ephemeral).map_err(|_| self.forged())?;
                let mut payload = Vec::new();
                let certificate = self.identity.certificate(Role::Responder);
                self.write_answer(&mut payload, &offer, &chosen, certificate);
                let mut answer = vec![Security::Noise as u8];
                answer.extend(write_noise(&mut noise, &payload)?);
                self.sender.send(answer.into()).await?;
                let finish = self.receive(REPLY_BYTES_MAX).await?;
                let finish = read_noise(&mut noise, &finish).map_err(|_| self.forged())?;
                let introduction = self.read_finish(&finish)?;
                let static_key = remote_static(&noise).ok_or_else(|| self.malformed())?;
                self.check(&introduction, &certificate_message(Role::Initiator, &static_key), None)?;
                self.agree_by_noise(noise, introduction, choice, peer_offer, &offer)?
            }
        };
        Ok(self.open(agreed))
    }
}
