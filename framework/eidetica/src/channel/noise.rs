//! `Noise_XX_25519_ChaChaPoly_BLAKE2s` on the injected randomness.

use std::sync::Arc;

use eidetica_kernel::runtime::Rng;
use eidetica_kernel::{Error, ErrorKind, Result};
use snow::params::{CipherChoice, DHChoice, HashChoice, NoiseParams};
use snow::resolvers::{CryptoResolver, DefaultResolver};
use snow::types::{Cipher, Dh, Hash, Random};
use snow::{Builder, HandshakeState};

use super::proof::Role;

const PATTERN: &str = "Noise_XX_25519_ChaChaPoly_BLAKE2s";

/// Bytes that sealing adds to a message.
pub(crate) const TAG_BYTES: usize = 16;

/// The start of a handshake in `role`, its prologue the message `hello`.
pub(crate) fn start(
    role: Role,
    static_secret: &[u8; 32],
    hello: &[u8],
    rng: &Arc<dyn Rng>,
) -> Result<HandshakeState> {
    let params: NoiseParams = PATTERN.parse().map_err(broken)?;
    let builder = Builder::with_resolver(params, Box::new(Resolver(rng.clone())))
        .local_private_key(static_secret)
        .and_then(|builder| builder.prologue(hello))
        .map_err(broken)?;
    match role {
        Role::Initiator => builder.build_initiator(),
        Role::Responder => builder.build_responder(),
    }
    .map_err(broken)
}

/// The public half of an X25519 secret.
pub(crate) fn public_half(static_secret: &[u8; 32]) -> Result<[u8; 32]> {
    let mut dh = DefaultResolver.resolve_dh(&DHChoice::Curve25519).ok_or_else(|| broken("no X25519"))?;
    dh.set(static_secret);
    dh.pubkey().try_into().map_err(broken)
}

/// A failure of the library itself, which no peer can cause.
pub(crate) fn broken(reason: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Bug, "setting up encryption", "", reason)
}

struct Resolver(Arc<dyn Rng>);

impl CryptoResolver for Resolver {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        Some(Box::new(Injected(self.0.clone())))
    }

    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        DefaultResolver.resolve_dh(choice)
    }

    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        DefaultResolver.resolve_hash(choice)
    }

    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        DefaultResolver.resolve_cipher(choice)
    }
}

struct Injected(Arc<dyn Rng>);

impl Random for Injected {
    fn try_fill_bytes(&mut self, buffer: &mut [u8]) -> Result<(), snow::Error> {
        self.0.fill(buffer);
        Ok(())
    }
}
