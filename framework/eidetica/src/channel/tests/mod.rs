//! The handshake and the sealed halves, as a whole.

mod handshake;
mod sealed;
mod tamper;
mod transport_mode;

use eidetica_kernel::transport::Link;
use eidetica_kernel::{Error, Result, SecretKey, SyncError};

use super::testing::{SeededRng, context};
use super::{Channel, ChannelConfig, Identity, initiate, respond};

/// The identity that follows from `seed`.
fn identity(seed: u8) -> Identity {
    Identity::new(SecretKey::from_bytes([seed; 32]), &SeededRng::new(seed.into())).unwrap()
}

/// What came of a handshake over both ends of a link, with the randomness of `seed`.
async fn shake(links: (Link, Link), seed: u64) -> (Result<Channel>, Result<Channel>) {
    shake_as(links, seed, &identity(1), &identity(2), &ChannelConfig::default()).await
}

async fn shake_as(
    (at_initiator, at_responder): (Link, Link),
    seed: u64,
    initiator: &Identity,
    responder: &Identity,
    config: &ChannelConfig,
) -> (Result<Channel>, Result<Channel>) {
    let (here, there) = (context(2 * seed), context(2 * seed + 1));
    tokio::join!(
        initiate(at_initiator, initiator, config, &here, None),
        respond(at_responder, responder, config, &there)
    )
}

fn is_handshake_failure(error: &Error) -> bool {
    matches!(error.sync_error(), Some(SyncError::HandshakeFailed(_)))
}

fn is_mismatch(error: &Error) -> bool {
    matches!(error.sync_error(), Some(SyncError::ProtocolMismatch { .. }))
}
