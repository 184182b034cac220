//! Entries: a header, one payload per store it touches, a signature. The format is `FORMAT.md`.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::clock::HybridClock;
use crate::crypto::{PublicKey, SecretKey, Signature};
use crate::error::{Error, ErrorKind, Fault, Result};
use crate::id::Id;

/// Version of the entry format.
pub const FORMAT_VERSION: u8 = 1;
/// Longest encoded header, in bytes.
pub const HEADER_BYTES_MAX: usize = 64 * 1_024;
/// Most parents of an entry.
pub const PARENTS_MAX: usize = 32;
/// Most heads of rights operations that an entry names.
pub const RIGHTS_MAX: usize = 256;
/// Most stores that an entry touches.
pub const STORES_MAX: usize = 64;
/// Longest name of a store, in bytes.
pub const NAME_BYTES_MAX: usize = 128;
/// Longest name of a store's kind, in bytes.
pub const KIND_BYTES_MAX: usize = 64;
/// Longest encoded payload, envelope included, in bytes.
pub const PAYLOAD_BYTES_MAX: usize = 16 * 1_024 * 1_024;

/// The store that holds a tree's rights operations; its kind is the policy.
pub const RIGHTS_STORE: &str = "_rights";
/// The store that holds a tree's name and description; it decides nothing.
pub const SETTINGS_STORE: &str = "_settings";

const ID_CONTEXT: &str = "eidetica 1 entry id";
const PAYLOAD_CONTEXT: &str = "eidetica 1 payload";
const SIGNATURE_DOMAIN: &[u8] = b"eidetica 1 entry signature\0";

/// Which tree an entry belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Tree {
    /// It begins a tree; the nonce makes it unique.
    Root {
        /// 16 random bytes.
        nonce: [u8; 16],
    },
    /// It belongs to the tree whose root is this entry.
    Of(Id),
}

/// One store that an entry touches.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct StoreRef {
    /// The store's name, 1 to [`NAME_BYTES_MAX`] bytes; names that begin with `_` belong to the system.
    pub name: String,
    /// Which [`Store`](crate::Store) folds it, with its version: `doc/1`.
    pub kind: String,
    /// Hash of the payload ([`payload_hash`]).
    pub payload_hash: [u8; 32],
    /// Length of the payload, in bytes, envelope included.
    pub payload_bytes: u32,
}

/// An extension field. Tags with [`Extension::CRITICAL`] set must be understood for the entry to be judged.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Extension {
    /// What it is.
    pub tag: u16,
    /// Its content.
    pub bytes: Bytes,
}

impl Extension {
    /// The bit of a tag that says: who doesn't know this tag must wait with the entry.
    pub const CRITICAL: u16 = 0x8000;
    /// Reserved: heads of delegated databases that this entry pins.
    pub const DELEGATION_PINS: u16 = 0x8001;
    /// Reserved: number of the key epoch that sealed payloads belong to.
    pub const KEY_EPOCH: u16 = 0x0002;
    /// Reserved: when the payloads may be forgotten.
    pub const EXPIRY: u16 = 0x0003;
    /// Reserved: this entry is a checkpoint.
    pub const CHECKPOINT: u16 = 0x8004;

    /// `true` if the entry must wait where the tag is unknown.
    pub fn is_critical(&self) -> bool {
        self.tag & Self::CRITICAL != 0
    }
}

/// The part of an entry that its id covers.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Header {
    /// [`FORMAT_VERSION`].
    pub version: u8,
    /// Which tree it belongs to.
    pub tree: Tree,
    /// Tips of the tree when it was written, sorted, at most [`PARENTS_MAX`].
    pub parents: Vec<Id>,
    /// Greater than that of every parent and of `author_prev`.
    pub clock: HybridClock,
    /// Who signs it.
    pub author: PublicKey,
    /// The author's previous entry in this tree, as the writing device knew it.
    pub author_prev: Option<Id>,
    /// 0 for the author's first entry, else the number of `author_prev` plus 1.
    pub author_seq: u64,
    /// Heads of the rights operations in its past, sorted, at most [`RIGHTS_MAX`].
    pub rights: Vec<Id>,
    /// The stores it touches, sorted by (name, kind), at most [`STORES_MAX`]; a name of the system's (`_…`) once only.
    pub stores: Vec<StoreRef>,
    /// Extensions, sorted by tag, each tag once.
    pub ext: Vec<Extension>,
}

/// A header with its id and the exact bytes it was received or written as.
///
/// ```
/// use eidetica_kernel::entry::{Header, SignedEntry, Tree, FORMAT_VERSION};
/// use eidetica_kernel::{HybridClock, SecretKey};
///
/// let key = SecretKey::from_bytes([7; 32]);
/// let header = Header {
///     version: FORMAT_VERSION,
///     tree: Tree::Root { nonce: [1; 16] },
///     parents: vec![],
///     clock: HybridClock::from_bits(65_536),
///     author: key.public_key(),
///     author_prev: None,
///     author_seq: 0,
///     rights: vec![],
///     stores: vec![],
///     ext: vec![],
/// };
/// let entry = SignedEntry::sign(header, &key)?;
/// let again = SignedEntry::decode(entry.header_bytes().clone(), *entry.signature())?;
/// assert_eq!(again.id(), entry.id());
/// assert!(again.verify());
/// # Ok::<(), eidetica_kernel::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedEntry {
    id: Id,
    header: Header,
    header_bytes: Bytes,
    signature: Signature,
}

impl SignedEntry {
    /// Encodes and signs a header.
    ///
    /// # Errors
    /// [`ErrorKind::LimitExceeded`] or [`ErrorKind::InvalidInput`] when the header breaks a rule of the format.
    pub fn sign(header: Header, key: &SecretKey) -> Result<Self> {
        Ok(UnsignedEntry::new(header)?.sign(key))
    }

    /// Decodes a header that came with a signature. The signature isn't checked here.
    ///
    /// # Errors
    /// As [`Header::decode`].
    pub fn decode(header_bytes: Bytes, signature: Signature) -> Result<Self> {
        let header = Header::decode(&header_bytes)?;
        Ok(Self { id: entry_id(&header_bytes), header, header_bytes, signature })
    }

    /// Decodes a header that [`SignedEntry::decode`] has accepted before, as it is read back from where it rests.
    ///
    /// The rules of the format aren't checked again; the id is hashed anew, so that comparing it with the one looked for
    /// shows whether these are the same bytes.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] for bytes that are no header.
    pub fn decode_stored(header_bytes: Bytes, signature: Signature) -> Result<Self> {
        let header = postcard::from_bytes(&header_bytes).map_err(|error| {
            Error::new(ErrorKind::InvalidInput, "reading an entry", "", "it isn't a header").caused_by(error)
        })?;
        Ok(Self { id: entry_id(&header_bytes), header, header_bytes, signature })
    }

    /// The entry's id.
    pub fn id(&self) -> Id {
        self.id
    }

    /// Its header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The exact bytes of its header.
    pub fn header_bytes(&self) -> &Bytes {
        &self.header_bytes
    }

    /// Its signature, valid or not.
    pub fn signature(&self) -> &Signature {
        &self.signature
    }

    /// The root of its tree; its own id if it is one.
    pub fn tree(&self) -> Id {
        match self.header.tree {
            Tree::Root { .. } => self.id,
            Tree::Of(root) => root,
        }
    }

    /// `true` if the signature is its author's, by the rules of ZIP 215.
    pub fn verify(&self) -> bool {
        self.header.author.verify(&signature_message(&self.id), &self.signature)
    }
}

/// A header with its id, to be signed: an id excludes the signature, so further entries can name it before there is one.
///
/// ```
/// use eidetica_kernel::entry::{Header, Tree, UnsignedEntry, FORMAT_VERSION};
/// use eidetica_kernel::{HybridClock, SecretKey};
///
/// let key = SecretKey::from_bytes([7; 32]);
/// let header = Header {
///     version: FORMAT_VERSION,
///     tree: Tree::Root { nonce: [1; 16] },
///     parents: vec![],
///     clock: HybridClock::from_bits(65_536),
///     author: key.public_key(),
///     author_prev: None,
///     author_seq: 0,
///     rights: vec![],
///     stores: vec![],
///     ext: vec![],
/// };
/// let entry = UnsignedEntry::new(header)?;
/// let id = entry.id();
/// assert_eq!(entry.sign(&key).id(), id);
/// # Ok::<(), eidetica_kernel::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnsignedEntry {
    id: Id,
    header: Header,
    header_bytes: Bytes,
}

impl UnsignedEntry {
    /// Encodes a header.
    ///
    /// # Errors
    /// [`ErrorKind::LimitExceeded`] or [`ErrorKind::InvalidInput`] when the header breaks a rule of the format.
    pub fn new(header: Header) -> Result<Self> {
        let (id, header_bytes) = header.encode()?;
        Ok(Self { id, header, header_bytes })
    }

    /// The entry's id.
    pub fn id(&self) -> Id {
        self.id
    }

    /// Its header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Signs it. The signature is valid if `key` is that of the header's author.
    pub fn sign(self, key: &SecretKey) -> SignedEntry {
        let signature = key.sign(&signature_message(&self.id));
        SignedEntry { id: self.id, header: self.header, header_bytes: self.header_bytes, signature }
    }
}

impl Header {
    /// The canonical bytes and the id.
    ///
    /// # Errors
    /// [`ErrorKind::LimitExceeded`] or [`ErrorKind::InvalidInput`] when the header breaks a rule of the format.
    pub fn encode(&self) -> Result<(Id, Bytes)> {
        self.check().map_err(|fault| fault.error("writing an entry").blame(Fault::Caller))?;
        let bytes = encoded(self, HEADER_BYTES_LIKELY).map_err(|error| {
            Error::new(ErrorKind::Bug, "encoding a header", "", "postcard refused it").caused_by(error)
        })?;
        if bytes.len() > HEADER_BYTES_MAX {
            return Err(Broken::limit("header", bytes.len(), HEADER_BYTES_MAX).error("writing an entry"));
        }
        let bytes = Bytes::from(bytes);
        Ok((entry_id(&bytes), bytes))
    }

    /// Decodes canonical bytes and checks every rule that needs no other entry.
    ///
    /// # Errors
    /// [`ErrorKind::LimitExceeded`], [`ErrorKind::InvalidInput`] (not canonical, unsorted, …), or [`ErrorKind::Unsupported`]
    /// for another version.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        const DOING: &str = "reading an entry";
        let invalid =
            |reason: &str| Error::new(ErrorKind::InvalidInput, DOING, "", reason).blame(Fault::Peer);
        if bytes.len() > HEADER_BYTES_MAX {
            return Err(Broken::limit("header", bytes.len(), HEADER_BYTES_MAX)
                .error(DOING)
                .blame(Fault::Peer));
        }
        match bytes.first() {
            Some(&FORMAT_VERSION) => {}
            Some(version) => {
                let reason = format!("its format is version {version}, this program knows {FORMAT_VERSION}");
                return Err(Error::new(ErrorKind::Unsupported, DOING, "", reason));
            }
            None => return Err(invalid("it is empty")),
        }
        let header: Self =
            postcard::from_bytes(bytes).map_err(|error| invalid("it isn't a header").caused_by(error))?;
        header.check().map_err(|fault| fault.error(DOING).blame(Fault::Peer))?;
        let canonical = encoded(&header, bytes.len()).is_ok_and(|again| again == bytes);
        if !canonical {
            return Err(invalid("it isn't in canonical form"));
        }
        Ok(header)
    }

    /// The entry for that store name, where the entry touches it.
    pub fn store(&self, name: &str) -> Option<&StoreRef> {
        self.stores.iter().find(|store| store.name == name)
    }

    /// `true` if it begins a tree.
    pub fn is_root(&self) -> bool {
        matches!(self.tree, Tree::Root { .. })
    }

    /// The entries that must be held before this one can be judged: parents, then `author_prev`, then `rights`.
    pub fn dependencies(&self) -> impl Iterator<Item = Id> + '_ {
        self.parents.iter().copied().chain(self.author_prev).chain(self.rights.iter().copied())
    }

    fn check(&self) -> std::result::Result<(), Broken> {
        if self.version != FORMAT_VERSION {
            return Err(Broken::rule("its version isn't this format's"));
        }
        limit("parents", self.parents.len(), PARENTS_MAX)?;
        limit("rights heads", self.rights.len(), RIGHTS_MAX)?;
        limit("stores", self.stores.len(), STORES_MAX)?;
        ascending("parents", &self.parents)?;
        ascending("rights heads", &self.rights)?;
        if !self.stores.is_sorted_by(|a, b| (&a.name, &a.kind) < (&b.name, &b.kind)) {
            return Err(Broken::rule("its stores aren't sorted, or one is named twice"));
        }
        if self.stores.windows(2).any(|pair| pair[0].name == pair[1].name && pair[0].name.starts_with('_')) {
            return Err(Broken::rule("a store of the system is named with two kinds"));
        }
        if !self.ext.is_sorted_by(|a, b| a.tag < b.tag) {
            return Err(Broken::rule("its extensions aren't sorted, or one is there twice"));
        }
        for store in &self.stores {
            limit("a store's name", store.name.len(), NAME_BYTES_MAX)?;
            limit("a store's kind", store.kind.len(), KIND_BYTES_MAX)?;
            limit("a payload", store.payload_bytes as usize, PAYLOAD_BYTES_MAX)?;
            if store.name.is_empty() || store.kind.is_empty() {
                return Err(Broken::rule("a store's name or kind is empty"));
            }
        }
        match self.tree {
            Tree::Root { .. } => {
                let bare = self.parents.is_empty() && self.rights.is_empty() && self.author_prev.is_none();
                if !bare {
                    return Err(Broken::rule("a root entry has no past"));
                }
            }
            Tree::Of(_) => {
                if self.parents.is_empty() || self.rights.is_empty() {
                    return Err(Broken::rule("it names no parent, or no rights operation"));
                }
            }
        }
        if self.author_prev.is_none() != (self.author_seq == 0) {
            return Err(Broken::rule("author_seq is 0 exactly when there is no author_prev"));
        }
        Ok(())
    }
}

/// Most headers are shorter.
const HEADER_BYTES_LIKELY: usize = 384;
/// What an envelope adds to its body at most: salt, codec with a key's id, version, length.
const ENVELOPE_BYTES_MAX: usize = 16 + 17 + 3 + 5;

/// The postcard of a value, written into a buffer of the right size: a growing one is most of the cost.
fn encoded<T: Serialize>(value: &T, bytes: usize) -> postcard::Result<Vec<u8>> {
    postcard::to_extend(value, Vec::with_capacity(bytes))
}

/// A rule of the format that a header breaks.
struct Broken {
    kind: ErrorKind,
    reason: String,
}

impl Broken {
    fn rule(reason: &str) -> Self {
        Self { kind: ErrorKind::InvalidInput, reason: reason.to_owned() }
    }

    fn limit(what: &str, found: usize, allowed: usize) -> Self {
        Self { kind: ErrorKind::LimitExceeded, reason: format!("{what}: {found}, at most {allowed} allowed") }
    }

    fn error(self, operation: &'static str) -> Error {
        Error::new(self.kind, operation, "", self.reason)
    }
}

fn limit(what: &str, found: usize, allowed: usize) -> std::result::Result<(), Broken> {
    if found > allowed { Err(Broken::limit(what, found, allowed)) } else { Ok(()) }
}

fn ascending(what: &str, ids: &[Id]) -> std::result::Result<(), Broken> {
    if ids.is_sorted_by(|a, b| a < b) {
        Ok(())
    } else {
        Err(Broken::rule(&format!("its {what} aren't sorted, or one is there twice")))
    }
}

/// The id of the entry with these header bytes.
pub fn entry_id(header_bytes: &[u8]) -> Id {
    Id::from_bytes(*blake3::Hasher::new_derive_key(ID_CONTEXT).update(header_bytes).finalize().as_bytes())
}

/// What an author signs: a domain and the id.
pub fn signature_message(id: &Id) -> [u8; SIGNATURE_DOMAIN.len() + 32] {
    let mut message = [0; SIGNATURE_DOMAIN.len() + 32];
    message[..SIGNATURE_DOMAIN.len()].copy_from_slice(SIGNATURE_DOMAIN);
    message[SIGNATURE_DOMAIN.len()..].copy_from_slice(id.as_bytes());
    message
}

/// The hash by which a header names a payload.
pub fn payload_hash(payload: &[u8]) -> [u8; 32] {
    *payload_hasher().update(payload).finalize().as_bytes()
}

/// A hasher for a payload that arrives in pieces; its result is [`payload_hash`].
pub fn payload_hasher() -> blake3::Hasher {
    blake3::Hasher::new_derive_key(PAYLOAD_CONTEXT)
}

/// How a payload's body is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Codec {
    /// As the store's kind defines.
    Plain,
    /// Sealed with an AEAD; the body is nonce and ciphertext.
    Sealed {
        /// Which key opens it.
        key_id: [u8; 16],
    },
}

/// What a payload's bytes are: salt, codec, version, body.
///
/// The salt keeps those who are denied a payload from guessing a small one by its hash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    /// 16 random bytes.
    pub salt: [u8; 16],
    /// How the body is written.
    pub codec: Codec,
    /// Version of the body, as the store's kind counts it.
    pub version: u16,
    /// What the store's kind wrote.
    pub body: Bytes,
}

impl Envelope {
    /// A plain body under a fresh salt.
    pub fn plain(salt: [u8; 16], version: u16, body: impl Into<Bytes>) -> Self {
        Self { salt, codec: Codec::Plain, version, body: body.into() }
    }

    /// The payload's bytes.
    ///
    /// # Errors
    /// [`ErrorKind::LimitExceeded`] over [`PAYLOAD_BYTES_MAX`].
    pub fn encode(&self) -> Result<Bytes> {
        let bytes = encoded(self, self.body.len() + ENVELOPE_BYTES_MAX).map_err(|error| {
            Error::new(ErrorKind::Bug, "encoding a payload", "", "postcard refused it").caused_by(error)
        })?;
        if bytes.len() > PAYLOAD_BYTES_MAX {
            return Err(Broken::limit("payload bytes", bytes.len(), PAYLOAD_BYTES_MAX)
                .error("writing a payload")
                .hint("split the change into several transactions"));
        }
        Ok(bytes.into())
    }

    /// Decodes canonical bytes.
    ///
    /// # Errors
    /// [`ErrorKind::LimitExceeded`], [`ErrorKind::InvalidInput`].
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let invalid = |reason: &str| Error::new(ErrorKind::InvalidInput, "reading a payload", "", reason);
        if bytes.len() > PAYLOAD_BYTES_MAX {
            return Err(
                Broken::limit("payload bytes", bytes.len(), PAYLOAD_BYTES_MAX).error("reading a payload")
            );
        }
        let envelope: Self =
            postcard::from_bytes(bytes).map_err(|error| invalid("it isn't an envelope").caused_by(error))?;
        let canonical = encoded(&envelope, bytes.len()).is_ok_and(|again| again == bytes);
        if canonical { Ok(envelope) } else { Err(invalid("it isn't in canonical form")) }
    }
}
