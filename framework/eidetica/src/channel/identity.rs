//! Who this node is on every channel: its device key, and the X25519 key of this process that it certifies.

use std::fmt;

use eidetica_kernel::runtime::Rng;
use eidetica_kernel::{PublicKey, Result, SecretKey, Signature, Timestamp};
use zeroize::Zeroizing;

use super::noise;
use super::proof::{Role, certificate_message};
use super::wire::Reader;

/// This node's keys for channels; made once per process.
pub(crate) struct Identity {
    device: SecretKey,
    static_secret: Zeroizing<[u8; 32]>,
    as_initiator: Signature,
    as_responder: Signature,
}

impl Identity {
    /// A fresh X25519 key, certified by `device`.
    ///
    /// # Errors
    /// [`eidetica_kernel::ErrorKind::Bug`] if the encryption library is broken.
    pub(crate) fn new(device: SecretKey, rng: &dyn Rng) -> Result<Self> {
        let static_secret = Zeroizing::new(rng.array());
        let static_key = noise::public_half(&static_secret)?;
        let certify = |role| device.sign(&certificate_message(role, &static_key));
        let (as_initiator, as_responder) = (certify(Role::Initiator), certify(Role::Responder));
        Ok(Self { device, static_secret, as_initiator, as_responder })
    }

    /// The key under which peers know this node.
    pub(crate) fn public_key(&self) -> PublicKey {
        self.device.public_key()
    }

    /// Claims to be `device`, with the certificates of `self`.
    #[cfg(test)]
    pub(super) fn impersonate(mut self, device: SecretKey) -> Self {
        self.device = device;
        self
    }

    /// Shows the certificate of the other role.
    #[cfg(test)]
    pub(super) fn swap_roles(mut self) -> Self {
        std::mem::swap(&mut self.as_initiator, &mut self.as_responder);
        self
    }

    pub(super) fn device(&self) -> &SecretKey {
        &self.device
    }

    pub(super) fn static_secret(&self) -> &[u8; 32] {
        &self.static_secret
    }

    pub(super) fn certificate(&self, role: Role) -> Signature {
        match role {
            Role::Initiator => self.as_initiator,
            Role::Responder => self.as_responder,
        }
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity of {:?}", self.public_key())
    }
}

/// What each side says of itself in the handshake, its certificate unchecked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Introduction {
    /// The device key.
    pub(crate) device: PublicKey,
    /// The device's signature.
    pub(crate) certificate: Signature,
    /// Wall time there.
    pub(crate) wall: Timestamp,
}

impl Introduction {
    /// Its bytes.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let wall = self.wall.as_millis().to_le_bytes();
        [&self.device.as_bytes()[..], self.certificate.as_bytes(), &wall].concat()
    }

    /// Reads one; `None` if it is cut short.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        Some(Self {
            device: PublicKey::from_bytes(reader.array()?),
            certificate: Signature::from_bytes(reader.array()?),
            wall: Timestamp::from_millis(reader.u64()?),
        })
    }
}
