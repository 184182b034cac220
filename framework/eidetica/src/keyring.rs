//! Users and their secret keys at rest: sealed under a password where there is one.

use argon2::{Algorithm, Argon2, Params, Version};
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use eidetica_kernel::runtime::Rng;
use eidetica_kernel::{Error, ErrorKind, PublicKey, Result, SecretKey, Timestamp};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// A user's row.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct UserRecord {
    pub(crate) created: Timestamp,
    pub(crate) protection: Protection,
    /// In the order they were added; the first is the default key.
    pub(crate) keys: Vec<KeyRecord>,
}

/// What protects a user's secret keys.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Protection {
    /// Nothing: whoever reads the data folder has the keys.
    None,
    /// A key derived from a password by Argon2id (RFC 9106).
    Password { memory_kib: u32, passes: u32, lanes: u32, salt: [u8; 16] },
}

/// One key of a user's.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct KeyRecord {
    pub(crate) public: PublicKey,
    pub(crate) display_name: Option<String>,
    /// Nonce and ciphertext of the seed, or the seed itself.
    secret: Vec<u8>,
}

/// What opens a user's keys; kept while they are logged in.
#[derive(Clone)]
pub(crate) enum Opener {
    Plain,
    Sealed(Zeroizing<[u8; 32]>),
}

const NONCE_BYTES: usize = 24;

impl Protection {
    /// Parameters for new passwords: 19 MiB, 2 passes, 1 lane, the OWASP recommendation for Argon2id.
    pub(crate) fn new(password: Option<&str>, rng: &dyn Rng) -> Self {
        match password {
            None => Self::None,
            Some(_) => Self::Password { memory_kib: 19 * 1_024, passes: 2, lanes: 1, salt: rng.array() },
        }
    }

    /// Derives what opens the keys. Whether the password is right shows when a key is opened.
    pub(crate) fn opener(&self, password: Option<&str>) -> Result<Opener> {
        let failed =
            |reason: String| Error::new(ErrorKind::Bug, "deriving a key from a password", "", reason);
        match (self, password) {
            (Self::None, None) => Ok(Opener::Plain),
            (Self::None, Some(_)) | (Self::Password { .. }, None) => Err(wrong_login()),
            (Self::Password { memory_kib, passes, lanes, salt }, Some(password)) => {
                let params = Params::new(*memory_kib, *passes, *lanes, Some(32))
                    .map_err(|error| failed(error.to_string()))?;
                let mut key = Zeroizing::new([0; 32]);
                Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
                    .hash_password_into(password.as_bytes(), salt, &mut *key)
                    .map_err(|error| failed(error.to_string()))?;
                Ok(Opener::Sealed(key))
            }
        }
    }
}

/// One message for both halves of a login: it doesn't say which was wrong.
pub(crate) fn wrong_login() -> Error {
    Error::new(ErrorKind::PermissionDenied, "logging in", "", "no such user, or the password is wrong")
}

impl KeyRecord {
    pub(crate) fn seal(
        key: &SecretKey,
        display_name: Option<String>,
        opener: &Opener,
        rng: &dyn Rng,
    ) -> Result<Self> {
        let public = key.public_key();
        let secret = match opener {
            Opener::Plain => key.to_bytes().to_vec(),
            Opener::Sealed(sealing) => {
                let nonce: [u8; NONCE_BYTES] = rng.array();
                let seed = key.to_bytes();
                let payload = Payload { msg: &seed[..], aad: public.as_bytes() };
                let sealed = XChaCha20Poly1305::new(&Key::from(**sealing))
                    .encrypt(&XNonce::from(nonce), payload)
                    .map_err(|_| {
                        Error::new(ErrorKind::Bug, "sealing the key", public, "the cipher refused it")
                    })?;
                [&nonce[..], &sealed].concat()
            }
        };
        Ok(Self { public, display_name, secret })
    }

    pub(crate) fn open(&self, opener: &Opener) -> Result<SecretKey> {
        let seed: Zeroizing<Vec<u8>> = match opener {
            Opener::Plain => Zeroizing::new(self.secret.clone()),
            Opener::Sealed(sealing) => {
                let (nonce, sealed) =
                    self.secret.split_first_chunk::<NONCE_BYTES>().ok_or_else(wrong_login)?;
                let payload = Payload { msg: sealed, aad: self.public.as_bytes() };
                let seed = XChaCha20Poly1305::new(&Key::from(**sealing))
                    .decrypt(&XNonce::from(*nonce), payload)
                    .map_err(|_| wrong_login())?;
                Zeroizing::new(seed)
            }
        };
        let seed: [u8; 32] = seed.as_slice().try_into().map_err(|_| {
            Error::new(ErrorKind::Corrupt, "opening the key", self.public, "its row has another length")
        })?;
        let key = SecretKey::from_bytes(seed);
        if key.public_key() != self.public {
            return Err(Error::new(
                ErrorKind::Corrupt,
                "opening the key",
                self.public,
                "its row holds another key",
            ));
        }
        Ok(key)
    }
}
