//! Keys and signatures: Ed25519 (RFC 8032), verified by the rules of ZIP 215.
//!
//! ZIP 215 is the rule set under which single and batch verification always agree, so that every replica accepts the
//! same signatures however it happens to check them.

use std::fmt;
use std::str::FromStr;

use ed25519_dalek::Signer as _;
use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result, excerpt};
use crate::id::decode_hex;
use crate::runtime::Rng;
use crate::sync_error::SyncError;

/// An Ed25519 public key. Text form: `ed25519:` and 64 lowercase hex digits.
///
/// ```
/// use eidetica_kernel::{PublicKey, SecretKey};
///
/// let key = SecretKey::from_bytes([7; 32]).public_key();
/// assert_eq!(key.to_string().parse::<PublicKey>()?, key);
/// # Ok::<(), eidetica_kernel::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PublicKey {
    algorithm: Algorithm,
    bytes: [u8; 32],
}

/// The public key under which a user, device or peer is known.
pub type KeyId = PublicKey;

/// The signature algorithm of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Algorithm {
    /// Ed25519.
    Ed25519,
}

impl PublicKey {
    /// From 32 bytes. Whether they are a point of the curve shows when a signature is verified.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self { algorithm: Algorithm::Ed25519, bytes }
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.bytes
    }

    /// The first 8 hex digits, for people.
    pub fn short(&self) -> String {
        data_encoding::HEXLOWER.encode(&self.bytes[..4])
    }

    /// Checks one signature by the rules of ZIP 215.
    pub fn verify(&self, message: &[u8], signature: &Signature) -> bool {
        ed25519_zebra::VerificationKey::try_from(self.bytes)
            .and_then(|key| key.verify(&ed25519_zebra::Signature::from_bytes(&signature.0), message))
            .is_ok()
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ed25519:{}", data_encoding::HEXLOWER.encode(&self.bytes))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ed25519:{}", self.short())
    }
}

impl FromStr for PublicKey {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut bytes = [0; 32];
        text.strip_prefix("ed25519:").and_then(|hex| decode_hex(hex, &mut bytes)).ok_or_else(|| {
            Error::new(
                ErrorKind::InvalidInput,
                "reading the public key",
                excerpt(text, 100),
                "it isn't \"ed25519:\" and 64 lowercase hex digits",
            )
        })?;
        Ok(Self::from_bytes(bytes))
    }
}

/// What names a key: a [`PublicKey`], or its text.
pub trait ToKey {
    /// The key.
    ///
    /// # Errors
    /// [`SyncError::InvalidPublicKey`] for text that isn't a key.
    fn to_key(&self) -> Result<PublicKey>;
}

impl ToKey for PublicKey {
    fn to_key(&self) -> Result<PublicKey> {
        Ok(*self)
    }
}

impl ToKey for str {
    fn to_key(&self) -> Result<PublicKey> {
        self.parse().map_err(|error: Error| {
            let key = self.chars().take(100).collect();
            SyncError::InvalidPublicKey { key, reason: error.reason().to_owned() }.into()
        })
    }
}

impl ToKey for String {
    fn to_key(&self) -> Result<PublicKey> {
        self.as_str().to_key()
    }
}

impl<T: ToKey + ?Sized> ToKey for &T {
    fn to_key(&self) -> Result<PublicKey> {
        (**self).to_key()
    }
}

/// An Ed25519 signature, 64 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Signature([u8; 64]);

impl Signature {
    /// From its 64 bytes.
    pub const fn from_bytes(bytes: [u8; 64]) -> Self {
        Self(bytes)
    }

    /// Its 64 bytes.
    pub const fn as_bytes(&self) -> &[u8; 64] {
        &self.0
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}…", data_encoding::HEXLOWER.encode(&self.0[..4]))
    }
}

impl Serialize for Signature {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (low, high) = self.0.split_at(32);
        (<[u8; 32]>::try_from(low).unwrap_or_default(), <[u8; 32]>::try_from(high).unwrap_or_default())
            .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Signature {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (low, high) = <([u8; 32], [u8; 32])>::deserialize(deserializer)?;
        let mut bytes = [0; 64];
        bytes[..32].copy_from_slice(&low);
        bytes[32..].copy_from_slice(&high);
        Ok(Self(bytes))
    }
}

/// An Ed25519 secret key; wiped from memory when dropped.
#[derive(Clone)]
pub struct SecretKey {
    key: ed25519_dalek::SigningKey,
}

impl SecretKey {
    /// From its 32-byte seed (RFC 8032, section 5.1.5).
    pub fn from_bytes(seed: [u8; 32]) -> Self {
        let seed = zeroize::Zeroizing::new(seed);
        Self { key: ed25519_dalek::SigningKey::from_bytes(&seed) }
    }

    /// A new one.
    pub fn generate(rng: &dyn Rng) -> Self {
        Self::from_bytes(rng.array())
    }

    /// Its 32-byte seed.
    pub fn to_bytes(&self) -> zeroize::Zeroizing<[u8; 32]> {
        zeroize::Zeroizing::new(self.key.to_bytes())
    }

    /// The public half.
    pub fn public_key(&self) -> PublicKey {
        PublicKey::from_bytes(self.key.verifying_key().to_bytes())
    }

    /// Signs `message`.
    pub fn sign(&self, message: &[u8]) -> Signature {
        Signature(self.key.sign(message).to_bytes())
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey of {:?}", self.public_key())
    }
}

/// Several signatures to be verified together, by the rules of ZIP 215.
///
/// ```
/// use eidetica_kernel::{SecretKey, SignatureBatch};
///
/// let key = SecretKey::from_bytes([7; 32]);
/// let mut batch = SignatureBatch::new();
/// batch.push(&key.public_key(), b"one", &key.sign(b"one"));
/// batch.push(&key.public_key(), b"two", &key.sign(b"not two"));
/// assert_eq!(batch.invalid([3; 32]), vec![1]);
/// ```
#[derive(Default)]
pub struct SignatureBatch {
    items: Vec<ed25519_zebra::batch::Item>,
}

impl SignatureBatch {
    /// An empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one.
    pub fn push(&mut self, key: &PublicKey, message: &[u8], signature: &Signature) {
        let key = ed25519_zebra::VerificationKeyBytes::from(key.bytes);
        self.items.push((key, ed25519_zebra::Signature::from_bytes(&signature.0), message).into());
    }

    /// How many were added.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// `true` if none was added.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// The positions of those that aren't valid. `seed` must be unpredictable to the signers.
    pub fn invalid(self, seed: [u8; 32]) -> Vec<usize> {
        let mut batch = ed25519_zebra::batch::Verifier::new();
        for item in &self.items {
            batch.queue(item.clone());
        }
        if batch.verify(SeededRng::new(seed)).is_ok() {
            return Vec::new();
        }
        let singly = self.items.into_iter().enumerate();
        singly.filter(|(_, item)| item.clone().verify_single().is_err()).map(|(at, _)| at).collect()
    }
}

/// The batch verifier's source of randomness: BLAKE3's output stream over the caller's seed.
struct SeededRng(blake3::OutputReader);

impl SeededRng {
    fn new(seed: [u8; 32]) -> Self {
        Self(blake3::Hasher::new_derive_key("eidetica 1 batch verification").update(&seed).finalize_xof())
    }
}

impl rand_core::TryRng for SeededRng {
    type Error = std::convert::Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        let mut bytes = [0; 4];
        self.0.fill(&mut bytes);
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, buffer: &mut [u8]) -> Result<(), Self::Error> {
        self.0.fill(buffer);
        Ok(())
    }
}

impl rand_core::TryCryptoRng for SeededRng {}
