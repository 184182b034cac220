//! Sync messages: what two nodes say about one tree, as `PROTOCOL.md` numbers them.

use bytes::{BufMut, Bytes, BytesMut};
use eidetica_kernel::auth::Permission;
use eidetica_kernel::entry::StoreRef;
use eidetica_kernel::{Error, ErrorKind, Fault, Id, PublicKey, Result, Signature, SignedEntry, Timestamp};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::channel;
use crate::engine::ingest::Incoming;

/// Longest sync message, put together from its parts, in bytes.
pub(crate) const MESSAGE_BYTES_MAX: usize = 1 << 20;
/// Plain bytes of entries that go into one message, give or take one entry.
pub(crate) const BATCH_BYTES: usize = 192 * 1_024;
/// Entries that go into one message.
pub(crate) const BATCH_ENTRIES_MAX: usize = 1_024;
/// Payloads longer than this are asked for in pieces.
pub(crate) const INLINE_BYTES_MAX: usize = 32 * 1_024;
/// Bytes of payloads that one entry brings along at most; further ones are asked for.
const INLINE_BYTES_OF_ENTRY_MAX: usize = 64 * 1_024;

/// Which payloads of an entry are asked for rather than sent along: large ones, and those beyond what an entry may bring along.
pub(crate) fn chunked(stores: &[StoreRef]) -> impl Iterator<Item = bool> {
    let mut inline = 0;
    stores.iter().map(move |store| {
        let bytes = store.payload_bytes as usize;
        let chunked = bytes > INLINE_BYTES_MAX || inline + bytes > INLINE_BYTES_OF_ENTRY_MAX;
        inline += if chunked { 0 } else { bytes };
        chunked
    })
}
/// Longest piece of a payload, in bytes.
pub(crate) const PIECE_BYTES_MAX: usize = 60 * 1_024;
/// Heads that [`Have`] names at most.
pub(crate) const HEADS_MAX: usize = 64;
/// Further ids that [`Have`] names at most.
pub(crate) const SAMPLE_MAX: usize = 64;
/// Keys that [`Open`] proves at most.
pub(crate) const PROOFS_MAX: usize = 64;
/// Stores whose state [`Settled`] compares at most.
const STATES_MAX: usize = 256;

/// Type numbers of sync messages.
pub(crate) mod kind {
    /// A piece of a longer message; the next frame of another type on the stream ends it.
    pub(crate) const PART: u8 = 32;
    pub(crate) const OPEN: u8 = 33;
    pub(crate) const REFUSE: u8 = 34;
    pub(crate) const HAVE: u8 = 35;
    pub(crate) const ENTRIES: u8 = 36;
    pub(crate) const PERSISTED: u8 = 37;
    pub(crate) const WANT: u8 = 38;
    pub(crate) const PIECE: u8 = 39;
    pub(crate) const SETTLED: u8 = 40;
    pub(crate) const ADMIT: u8 = 48;
    pub(crate) const ADMITTED: u8 = 49;
    pub(crate) const LIST: u8 = 50;
    pub(crate) const LISTED: u8 = 51;
    // 64-95: reserved for range-based set reconciliation.
}

/// Asks to sync a tree, and proves keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Open {
    pub(crate) tree: Id,
    /// At most [`PROOFS_MAX`].
    pub(crate) proofs: Vec<Proof>,
}

/// A key, and its signature over this session and tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Proof {
    pub(crate) key: PublicKey,
    pub(crate) signature: Signature,
}

/// Ends the sync of a tree. Unknown, absent, disabled and forbidden trees are refused alike.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Refuse {
    /// Not for you, whether it is here or not.
    NotForYou,
    /// Not now.
    Busy,
    /// Your entries or messages break a rule.
    Broken(String),
    /// Something failed here.
    Failed,
}

/// What the sender holds of a tree: enough to find out what it lacks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Have {
    /// Which exchange this begins, or answers: each side sends one per round.
    pub(crate) round: u32,
    /// Digest of all heads.
    pub(crate) heads_digest: [u8; 32],
    /// How many entries.
    pub(crate) entries: u64,
    /// The newest heads, at most [`HEADS_MAX`].
    pub(crate) heads: Vec<Id>,
    /// Ids further back, ever more widely spaced, at most [`SAMPLE_MAX`].
    pub(crate) sample: Vec<Id>,
}

/// Entries in causal order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entries {
    /// Numbers the sender's messages of entries of this tree, from 0.
    pub(crate) number: u64,
    pub(crate) entries: Vec<WireEntry>,
}

/// An entry under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WireEntry {
    pub(crate) signature: Signature,
    pub(crate) header: Bytes,
    /// In the order of the header's stores.
    pub(crate) payloads: Vec<WirePayload>,
}

/// A payload under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum WirePayload {
    /// It isn't held by the sender.
    Absent,
    /// Here it is.
    Inline(Bytes),
    /// To be asked for with [`Want`].
    Chunked,
}

/// The receiver has persisted a message of entries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Persisted {
    pub(crate) number: u64,
    /// Entries of it whose clocks run ahead here are to be offered again at this time.
    pub(crate) not_before: Option<Timestamp>,
}

/// Asks for a payload from an offset on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Want {
    pub(crate) entry: Id,
    /// Position in the header's stores.
    pub(crate) store: u8,
    pub(crate) offset: u32,
}

/// A piece of a payload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Piece {
    pub(crate) entry: Id,
    pub(crate) store: u8,
    pub(crate) offset: u32,
    /// At most [`PIECE_BYTES_MAX`]; empty if the sender doesn't hold the payload.
    pub(crate) bytes: Bytes,
}

/// Everything held was sent; and what it folds to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Settled {
    /// The round whose [`Have`] this ends.
    pub(crate) round: u32,
    pub(crate) heads_digest: [u8; 32],
    /// Name, kind, semantics and digest of each store, at most 256.
    pub(crate) states: Vec<(String, String, u32, [u8; 32])>,
}

/// Asks for rights in a tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Admit {
    pub(crate) request: u64,
    pub(crate) tree: Id,
    /// The key that wants in, proven.
    pub(crate) proof: Proof,
    pub(crate) key_name: String,
    pub(crate) permission: Option<Permission>,
    /// The secret of an invite.
    pub(crate) invite: Option<[u8; 16]>,
}

/// The answer to [`Admit`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Admitted {
    pub(crate) request: u64,
    pub(crate) answer: AdmitAnswer,
}

/// What became of a request for rights.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum AdmitAnswer {
    Granted(Permission),
    Pending { request_id: String, message: String },
    Denied,
    InviteSpent,
    InviteExpired,
    Busy,
}

/// Asks which trees the proven keys may read; proofs are over the all-zero tree id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct List {
    pub(crate) request: u64,
    pub(crate) proofs: Vec<Proof>,
}

/// The answer to [`List`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Listed {
    pub(crate) request: u64,
    pub(crate) trees: Vec<ListedTree>,
    /// There are more than fit.
    pub(crate) more: bool,
}

/// One tree of [`Listed`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ListedTree {
    pub(crate) tree: Id,
    pub(crate) name: Option<String>,
    pub(crate) entries: u64,
    pub(crate) last_modified: Timestamp,
}

/// A sync message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Message {
    Open(Open),
    Refuse(Refuse),
    Have(Have),
    Entries(Entries),
    Persisted(Persisted),
    Want(Want),
    Piece(Piece),
    Settled(Settled),
    Admit(Admit),
    Admitted(Admitted),
    List(List),
    Listed(Listed),
}

impl Message {
    /// Its type and bytes; a message of entries is compressed if `compress` makes it smaller.
    pub(crate) fn encode(&self, compress: bool) -> Result<(u8, Bytes)> {
        fn plain<T: Serialize>(kind: u8, message: &T) -> Result<(u8, Bytes)> {
            let bytes = postcard::to_stdvec(message).map_err(|error| {
                Error::new(ErrorKind::Bug, "encoding a sync message", "", "postcard refused it")
                    .caused_by(error)
            })?;
            Ok((kind, bytes.into()))
        }
        match self {
            Self::Open(message) => plain(kind::OPEN, message),
            Self::Refuse(message) => plain(kind::REFUSE, message),
            Self::Have(message) => plain(kind::HAVE, message),
            Self::Entries(message) => Ok((kind::ENTRIES, message.encode(compress)?)),
            Self::Persisted(message) => plain(kind::PERSISTED, message),
            Self::Want(message) => plain(kind::WANT, message),
            Self::Piece(message) => plain(kind::PIECE, message),
            Self::Settled(message) => plain(kind::SETTLED, message),
            Self::Admit(message) => plain(kind::ADMIT, message),
            Self::Admitted(message) => plain(kind::ADMITTED, message),
            Self::List(message) => plain(kind::LIST, message),
            Self::Listed(message) => plain(kind::LISTED, message),
        }
    }

    /// Reads a message; `None` for a type that isn't known.
    pub(crate) fn decode(kind: u8, bytes: &[u8]) -> Result<Option<Self>> {
        fn plain<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
            match postcard::take_from_bytes(bytes) {
                Ok((message, [])) => Ok(message),
                Ok(_) => Err(broken("bytes follow it")),
                Err(error) => Err(broken("it can't be decoded").caused_by(error)),
            }
        }
        Ok(Some(match kind {
            kind::OPEN => {
                Self::Open(plain(bytes).and_then(|open: Open| within(open.proofs.len(), PROOFS_MAX, open))?)
            }
            kind::REFUSE => Self::Refuse(plain(bytes)?),
            kind::HAVE => Self::Have(plain(bytes).and_then(|have: Have| {
                within(have.heads.len(), HEADS_MAX, ()).and(within(have.sample.len(), SAMPLE_MAX, have))
            })?),
            kind::ENTRIES => Self::Entries(Entries::decode(bytes)?),
            kind::PERSISTED => Self::Persisted(plain(bytes)?),
            kind::WANT => Self::Want(plain(bytes)?),
            kind::PIECE => Self::Piece(
                plain(bytes).and_then(|piece: Piece| within(piece.bytes.len(), PIECE_BYTES_MAX, piece))?,
            ),
            kind::SETTLED => Self::Settled(
                plain(bytes)
                    .and_then(|settled: Settled| within(settled.states.len(), STATES_MAX, settled))?,
            ),
            kind::ADMIT => Self::Admit(plain(bytes)?),
            kind::ADMITTED => Self::Admitted(plain(bytes)?),
            kind::LIST => {
                Self::List(plain(bytes).and_then(|list: List| within(list.proofs.len(), PROOFS_MAX, list))?)
            }
            kind::LISTED => Self::Listed(plain(bytes)?),
            _ => return Ok(None),
        }))
    }
}

fn within<T>(found: usize, allowed: usize, message: T) -> Result<T> {
    if found <= allowed { Ok(message) } else { Err(broken("a list in it is too long")) }
}

/// A message that breaks the protocol.
pub(crate) fn broken(reason: &str) -> Error {
    Error::new(ErrorKind::Protocol, "reading a sync message", "", reason)
}

const PLAIN: u8 = 0;
const COMPRESSED: u8 = 1;

impl Entries {
    /// `number`, then how the rest is written, and the entries.
    fn encode(&self, compress: bool) -> Result<Bytes> {
        let plain = postcard::to_stdvec(&self.entries).map_err(|error| {
            Error::new(ErrorKind::Bug, "encoding entries", "", "postcard refused it").caused_by(error)
        })?;
        let packed = if compress { channel::compress(&plain) } else { None };
        let (codec, body) = packed.map_or((PLAIN, Bytes::from(plain)), |packed| (COMPRESSED, packed));
        let mut bytes = BytesMut::with_capacity(9 + body.len());
        bytes.put_u64_le(self.number);
        bytes.put_u8(codec);
        bytes.put_slice(&body);
        Ok(bytes.freeze())
    }

    fn decode(bytes: &[u8]) -> Result<Self> {
        let short = || broken("entries: it is cut short");
        let (number, rest) = bytes.split_first_chunk::<8>().ok_or_else(short)?;
        let (codec, body) = rest.split_first().ok_or_else(short)?;
        let plain = match *codec {
            PLAIN => Bytes::copy_from_slice(body),
            COMPRESSED => channel::decompress(body, MESSAGE_BYTES_MAX)?,
            _ => return Err(broken("entries: they are written in a way that isn't known")),
        };
        let entries: Vec<WireEntry> = postcard::from_bytes(&plain)
            .map_err(|error| broken("entries: they can't be decoded").caused_by(error))?;
        Ok(Self {
            number: u64::from_le_bytes(*number),
            entries: within(entries.len(), BATCH_ENTRIES_MAX, entries)?,
        })
    }
}

impl WireEntry {
    /// Decodes its header. Chunked payloads are still to come.
    pub(crate) fn open(&self) -> Result<Incoming> {
        let entry = SignedEntry::decode(self.header.clone(), self.signature)?;
        if self.payloads.len() != entry.header().stores.len() {
            return Err(broken("an entry has another number of payloads than stores").blame(Fault::Peer));
        }
        let payloads = self.payloads.iter().map(|payload| match payload {
            WirePayload::Inline(bytes) => Some(bytes.clone()),
            WirePayload::Absent | WirePayload::Chunked => None,
        });
        Ok(Incoming { payloads: payloads.collect(), entry, checked: false })
    }
}
