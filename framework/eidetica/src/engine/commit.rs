//! Writing entries of our own.

use std::sync::Arc;

use bytes::Bytes;
use eidetica_kernel::auth::{Deed, RightsOp};
use eidetica_kernel::entry::{
    FORMAT_VERSION, RIGHTS_STORE, SETTINGS_STORE, StoreRef, Tree as TreeField, UnsignedEntry, payload_hash,
};
use eidetica_kernel::{
    Envelope, Error, ErrorKind, Header, HybridClock, Id, PublicKey, Result, SecretKey, SignedEntry,
};

use super::ingest::CONFLICTS_MAX;
use super::rights::Chain;
use super::rows::RowsRead;
use super::stage::Stage;
use super::tree::{ChainTip, Core, Tree, denied};

/// What a transaction has staged for one store.
#[derive(Clone)]
pub(crate) struct StagedPayload {
    pub(crate) name: String,
    pub(crate) kind: String,
    pub(crate) version: u16,
    pub(crate) body: Vec<u8>,
    pub(crate) read: Option<RowsRead>,
}

/// Payloads in the order of the header's stores, as bytes and as the header names them.
pub(super) struct Payloads {
    stores: Vec<StoreRef>,
    pub(super) bytes: Vec<Option<Bytes>>,
    /// What the transaction has read of their stores.
    pub(super) read: Vec<Option<RowsRead>>,
}

/// What a new entry follows.
pub(super) struct Behind {
    pub(super) parents: Vec<Id>,
    /// Heads of the rights operations behind them.
    pub(super) rights: Arc<[Id]>,
    /// The newest clock in the tree.
    pub(super) clock: HybridClock,
    /// Its author's entry before it.
    pub(super) previous: Option<ChainTip>,
}

impl Tree {
    /// Makes an entry of what was staged. Its effect shows at once; flush the backend for durability.
    ///
    /// With `expected` it is made only if the tree's generation is still that; with `base` it follows those entries rather
    /// than the tips.
    pub(crate) fn commit(
        &self,
        author: &SecretKey,
        staged: &[StagedPayload],
        op: Option<&RightsOp>,
        expected: Option<u64>,
        base: Option<&[Id]>,
    ) -> Result<Id> {
        if self.is_held && expected.is_some() {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                "committing to",
                format_args!("the database {}", self.id.short()),
                "whether it is unchanged shows only at the end of the step",
            )
            .hint("use commit inside of a step, or commit_if_unchanged outside"));
        }
        let mut payloads = self.payloads(staged, op)?;
        if op.is_none() && expected.is_none() && base.is_none() && !self.is_held {
            return self.commit_in_line(author, payloads);
        }
        let mut core = self.lock();
        self.finish_reevaluation(&mut core)?;
        for _ in 0..CONFLICTS_MAX {
            if let Some(expected) = expected
                && core.head.generation != expected
            {
                return Err(Error::new(
                    ErrorKind::Conflict,
                    "committing to",
                    format_args!("the database {}", self.id.short()),
                    "it has changed since the transaction began",
                )
                .hint("begin a new transaction and try again"));
            }
            let merged = match (op, base) {
                (Some(RightsOp::Merge), _) | (_, Some(_)) => Ok(()),
                // Only the first entry of a step follows what others made: as many of the tips as it has room for.
                _ if self.is_held => Ok(()),
                _ => self.merge_crowded_rights(&mut core, author),
            };
            match merged.and_then(|()| self.commit_once(&mut core, author, &payloads, op, base)) {
                Err(error) if error.kind() == ErrorKind::Conflict => {
                    self.reload(&mut core)?;
                    self.finish_reevaluation(&mut core)?;
                }
                // The transaction's snapshot is gone; the rows are read from what is now.
                Err(error) if error.kind() == ErrorKind::Expired && !payloads.read.is_empty() => {
                    payloads.read.clear();
                }
                done => return done,
            }
        }
        Err(self.crowded_out())
    }

    pub(super) fn payloads(&self, staged: &[StagedPayload], op: Option<&RightsOp>) -> Result<Payloads> {
        let mut list = Vec::with_capacity(staged.len() + 1);
        let mut add = |name: &str, kind: &str, version: u16, body: Bytes, read| -> Result<()> {
            let bytes = Envelope::plain(self.shared.rng.array(), version, body).encode()?;
            let store = StoreRef {
                name: name.to_owned(),
                kind: kind.to_owned(),
                payload_hash: payload_hash(&bytes),
                payload_bytes: bytes.len() as u32,
            };
            list.push((store, bytes, read));
            Ok(())
        };
        for payload in staged {
            let read = payload.read.clone();
            add(&payload.name, &payload.kind, payload.version, payload.body.clone().into(), read)?;
        }
        if let Some(op) = op {
            add(RIGHTS_STORE, self.policy.kind(), 1, self.policy.encode(op)?.into(), None)?;
        }
        list.sort_by(|(a, ..), (b, ..)| (&a.name, &a.kind).cmp(&(&b.name, &b.kind)));
        let mut payloads = Payloads { stores: Vec::new(), bytes: Vec::new(), read: Vec::new() };
        for (store, bytes, read) in list {
            payloads.stores.push(store);
            payloads.bytes.push(Some(bytes));
            payloads.read.push(read);
        }
        Ok(payloads)
    }

    pub(super) fn commit_once(
        &self,
        core: &mut Core,
        author: &SecretKey,
        payloads: &Payloads,
        op: Option<&RightsOp>,
        base: Option<&[Id]>,
    ) -> Result<Id> {
        let key = author.public_key();
        let parents = match base {
            Some(base) => self.named_parents(core, base)?,
            None => self.choose_parents(core, &key, matches!(op, Some(RightsOp::Merge)))?,
        };
        let behind = Behind {
            parents: parents.tips.into_iter().map(|(id, _)| id).collect(),
            rights: parents.rights,
            clock: core.head.clock,
            previous: core.chain_tip(&*self.shared.live, self.keys, &key)?,
        };
        let entry = self.follow(core, key, payloads, op, behind)?.sign(author);
        self.write_own(core, &entry, payloads, op)?;
        Ok(entry.id())
    }

    /// Makes the entry that follows others, if its author may.
    pub(super) fn follow(
        &self,
        core: &mut Core,
        author: PublicKey,
        payloads: &Payloads,
        op: Option<&RightsOp>,
        behind: Behind,
    ) -> Result<UnsignedEntry> {
        let previous = behind.previous;
        let seen = behind.clock.max(previous.map_or(HybridClock::default(), |tip| tip.clock));
        let clock = HybridClock::next(Some(seen), self.shared.clock.wall()).ok_or_else(|| {
            Error::new(ErrorKind::LimitExceeded, "committing to", self.id, "its clocks are used up")
        })?;
        let header = Header {
            version: FORMAT_VERSION,
            tree: TreeField::Of(self.id),
            parents: behind.parents,
            clock,
            author,
            author_prev: previous.map(|tip| tip.id),
            author_seq: previous.map_or(0, |tip| tip.seq + 1),
            rights: behind.rights.to_vec(),
            stores: payloads.stores.clone(),
            ext: Vec::new(),
        };
        let frontier = self.resolve(core, &behind.rights)?;
        let names: Vec<String> = header.stores.iter().map(|store| store.name.clone()).collect();
        let deed = Deed {
            // Its id follows from what is decided here; no rule asks for the id of an entry that nobody has seen.
            id: Id::from_bytes([0; 32]),
            author,
            author_seq: header.author_seq,
            is_root: false,
            stores: &names,
            op,
            past: &frontier.past,
        };
        if let Err(denial) = core.rights.admissible(&frontier, &deed) {
            return Err(denied("committing to", &self.id, denial));
        }
        let chain = Chain::new(&*self.shared.live, self.keys);
        if op.is_none() && !core.rights.counts(&frontier, &deed, &chain)? {
            let reason = format!("the rights of {author} were revoked");
            return Err(denied("committing to", &self.id, reason));
        }
        UnsignedEntry::new(header)
    }

    fn write_own(
        &self,
        core: &mut Core,
        entry: &SignedEntry,
        payloads: &Payloads,
        op: Option<&RightsOp>,
    ) -> Result<()> {
        let judged = match op {
            None => None,
            Some(op) => {
                let frontier = self.resolve(core, &entry.header().rights)?;
                let node = core.rights.node(entry, op.clone(), &frontier);
                let chain = Chain::new(&*self.shared.live, self.keys);
                Some(Box::new(core.rights.judge(node, &frontier, &chain)?))
            }
        };
        let (counts, rank) = judged.as_ref().map_or((true, None), |judged| (judged.counts(), judged.rank()));
        let mut stage = Stage::new(self, core);
        stage.read_before(&payloads.read);
        stage.add(entry, &payloads.bytes, counts, true, rank, true)?;
        self.finish(stage, judged)
    }

    /// Writes the root of a new tree: its first grant, and its settings.
    pub(crate) fn write_root(
        &self,
        core: &mut Core,
        entry: &SignedEntry,
        payloads: RootPayloads,
    ) -> Result<()> {
        let op = payloads.op;
        let payloads =
            Payloads { stores: entry.header().stores.clone(), bytes: payloads.bytes, read: Vec::new() };
        self.write_own(core, entry, &payloads, Some(&op))
    }
}

/// The payloads of a root entry, in the order of its header's stores.
pub(crate) struct RootPayloads {
    op: RightsOp,
    bytes: Vec<Option<Bytes>>,
}

/// Makes the root entry of a new tree.
pub(crate) fn make_root(
    shared: &super::tree::Shared,
    policy: &dyn eidetica_kernel::AuthPolicy,
    author: &SecretKey,
    settings: Option<StagedPayload>,
) -> Result<(SignedEntry, RootPayloads)> {
    use eidetica_kernel::auth::{Grant, Grantee, Permission, SENIORITY_CREATOR};
    let op = RightsOp::Grant {
        to: Grantee::Key(author.public_key()),
        grant: Grant::new(Permission::Admin, SENIORITY_CREATOR),
        keep: Vec::new(),
    };
    let mut stores = Vec::new();
    let mut bytes = Vec::new();
    let rights = StagedPayload {
        name: RIGHTS_STORE.to_owned(),
        kind: policy.kind().to_owned(),
        version: 1,
        body: policy.encode(&op)?,
        read: None,
    };
    debug_assert!(RIGHTS_STORE < SETTINGS_STORE);
    for payload in std::iter::once(rights).chain(settings) {
        let encoded = Envelope::plain(shared.rng.array(), payload.version, payload.body).encode()?;
        stores.push(StoreRef {
            name: payload.name,
            kind: payload.kind,
            payload_hash: payload_hash(&encoded),
            payload_bytes: encoded.len() as u32,
        });
        bytes.push(Some(encoded));
    }
    let clock = HybridClock::next(None, shared.clock.wall()).unwrap_or_default();
    let header = Header {
        version: FORMAT_VERSION,
        tree: TreeField::Root { nonce: shared.rng.array() },
        parents: Vec::new(),
        clock,
        author: author.public_key(),
        author_prev: None,
        author_seq: 0,
        rights: Vec::new(),
        stores,
        ext: Vec::new(),
    };
    Ok((SignedEntry::sign(header, author)?, RootPayloads { op, bytes }))
}
