//! A database: its stores, its settings, its rights.

use std::sync::Arc;

use eidetica_kernel::auth::{Grant, Grantee, NodeSet, Permission, RightsOp, Standing};
use eidetica_kernel::entry::{RIGHTS_STORE, SETTINGS_STORE};
use eidetica_kernel::error::excerpt;
use eidetica_kernel::store::{DraftSlot, RowReader, StoreHandle, StoreTx};
use eidetica_kernel::{Error, ErrorKind, Id, KeyId, Result, SecretKey, SyncError, Timestamp, ToId};
use eidetica_store_doc::{Doc, DocStore};

use crate::engine::commit::StagedPayload;
use crate::engine::derive::Verified;
use crate::engine::read;
use crate::engine::rows::NoRows;
use crate::engine::tree::{Tree, denied};
use crate::instance::Inner;
use crate::transaction::{self, Transaction};

/// Whose key signs what is written through a handle.
#[derive(Clone)]
pub(crate) enum Signer {
    /// This one.
    Key(Arc<SecretKey>),
    /// The last logged-in user's that fits, else the node's own if that does; looked up at each commit.
    LoggedIn,
    /// Nobody's: only the engine writes there.
    Engine,
}

/// A database. Handles are cheap to clone and may be used from several threads.
#[derive(Clone)]
pub struct Database {
    pub(crate) inner: Arc<Inner>,
    pub(crate) tree: Arc<Tree>,
    pub(crate) signer: Signer,
}

/// What one grantee holds in a database.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PermissionEntry {
    /// The key, or everybody.
    pub grantee: Grantee,
    /// What they hold; `None` after a revocation.
    pub grant: Option<Grant>,
    /// The entry that decided.
    pub decided_by: Id,
}

impl PermissionEntry {
    /// `active` or `revoked`.
    pub fn status(&self) -> &'static str {
        if self.grant.is_some() { "active" } else { "revoked" }
    }
}

/// Why an entry has an effect, or none.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Why {
    /// Whether it has an effect.
    pub counts: bool,
    /// Who signed it.
    pub author: KeyId,
    /// The operation its author's standing rests on in the entry's own past, and what it granted.
    pub stands_on: Option<(Id, Option<Grant>)>,
    /// Operations that name the author and that the entry doesn't have in its past.
    pub concurrent: Vec<(Id, RightsOp)>,
}

impl Database {
    pub(crate) fn new(inner: Arc<Inner>, tree: Arc<Tree>, signer: Signer) -> Self {
        Self { inner, tree, signer }
    }

    /// The id of the root entry: the database's id.
    pub fn root_id(&self) -> &Id {
        &self.tree.id
    }

    /// The name in its settings; `None` if it has none.
    ///
    /// # Errors
    /// Those of the backend.
    pub fn name(&self) -> Result<Option<String>> {
        match self.get_store_viewer::<DocStore>(SETTINGS_STORE)?.get_string("name") {
            Ok(name) => Ok(Some(name)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) if error.kind() == ErrorKind::InvalidInput => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Its settings: name, description, whatever its users agree on. They decide nothing.
    ///
    /// # Errors
    /// Those of the backend.
    pub fn settings(&self) -> Result<Doc> {
        self.get_store_viewer::<DocStore>(SETTINGS_STORE)?.get_all()
    }

    /// Sets the given settings; others stay. Needs Admin.
    ///
    /// # Errors
    /// `is_permission_denied()`; those of the backend.
    pub fn set_settings(&self, settings: &Doc) -> Result<()> {
        let transaction = self.new_transaction()?;
        let store = transaction.get_store::<DocStore>(SETTINGS_STORE)?;
        for (key, value) in settings.iter() {
            store.set(key, value.clone())?;
        }
        transaction.commit().map(drop)
    }

    /// Begins a transaction.
    ///
    /// # Errors
    /// [`SyncError::InstanceDropped`] after [`Instance::close`](crate::Instance::close).
    pub fn new_transaction(&self) -> Result<Transaction> {
        Transaction::begin(self.clone(), None)
    }

    /// Begins a transaction on the database as it was when these entries were its newest: it reads that state, and its entry
    /// follows them, beside whatever has come since. Both branches merge like those of two replicas that were apart.
    ///
    /// Reading costs as with [`Database::at`].
    ///
    /// ```
    /// # use eidetica::{Instance, backend::InMemory, crdt::Doc, store::DocStore};
    /// # let instance = Instance::open(Box::new(InMemory::new()))?;
    /// # instance.create_user("alice", None)?;
    /// # let user = instance.login_user("alice", None)?;
    /// # let database = user.create_database(Doc::new(), &user.get_default_key()?)?;
    /// # let write = |title: &str| {
    /// #     let transaction = database.new_transaction()?;
    /// #     transaction.get_store::<DocStore>("notes")?.set("title", title)?;
    /// #     transaction.commit()
    /// # };
    /// write("Groceries")?;
    /// let draft = database.tips();
    /// write("Errands")?;
    ///
    /// let transaction = database.new_transaction_at(&draft)?;
    /// let notes = transaction.get_store::<DocStore>("notes")?;
    /// assert_eq!(notes.get_string("title")?, "Groceries");
    /// notes.set("subtitle", "for the week")?;
    /// transaction.commit()?;
    ///
    /// assert_eq!(database.tips().len(), 2);
    /// let notes = database.get_store_viewer::<DocStore>("notes")?;
    /// assert_eq!(notes.get_string("title")?, "Errands");
    /// assert_eq!(notes.get_string("subtitle")?, "for the week");
    /// # Ok::<(), eidetica::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] for no entry at all; else as [`Database::at`]. The commit fails with
    /// [`ErrorKind::LimitExceeded`] for more than 32 entries, and with `is_permission_denied()` where the key might not yet
    /// write then.
    pub fn new_transaction_at<T: ToId>(&self, tips: impl IntoIterator<Item = T>) -> Result<Transaction> {
        Transaction::begin(self.clone(), Some(self.at(tips)?))
    }

    /// The same as [`Database::new_transaction`].
    ///
    /// # Errors
    /// As [`Database::new_transaction`].
    pub fn new_operation(&self) -> Result<Transaction> {
        self.new_transaction()
    }

    /// A handle that reads the store as it is now.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] for a name that no store can have.
    pub fn get_store_viewer<S: StoreHandle>(&self, name: impl AsRef<str>) -> Result<S> {
        transaction::Shared::viewer(self.clone(), name.as_ref())
    }

    /// Names and kinds of its stores, the system's included; sorted. Those that only void entries name are left out.
    ///
    /// # Errors
    /// [`SyncError::InstanceDropped`] after [`Instance::close`](crate::Instance::close).
    pub fn stores(&self) -> Result<Vec<(String, String)>> {
        self.inner.check_open()?;
        let mut stores = Vec::new();
        let head = self.tree.head();
        for (name, kind, number) in self.tree.store_list() {
            let folds = self.tree.shared.stores.contains_key(&kind[..]);
            if !folds || !self.tree.store_state(&*self.tree.shared.live, &head, number)?.digest.is_empty() {
                stores.push((name, kind));
            }
        }
        Ok(stores)
    }

    /// Writes a store's state as one JSON value, whatever its kind.
    ///
    /// # Errors
    /// `is_not_found()` if there is no such store; [`ErrorKind::Unsupported`] for what JSON can't say, or a kind that isn't
    /// linked; those of `out` and of the backend.
    pub fn export_json(&self, store: impl AsRef<str>, out: &mut dyn std::io::Write) -> Result<()> {
        let store = store.as_ref();
        self.inner.check_open()?;
        let found = self.tree.store_list().into_iter().find(|(name, _, _)| name == store);
        let (_, kind, number) = found.ok_or_else(|| {
            Error::new(
                ErrorKind::NotFound,
                "exporting the store",
                excerpt(store, 140),
                "there is none of that name",
            )
        })?;
        let folds = self.tree.shared.stores.get(&kind[..]).ok_or_else(|| {
            let reason = match store == RIGHTS_STORE {
                true => "rights are no document; permissions() lists what is granted".to_owned(),
                false => format!("its kind \"{kind}\" isn't linked into this program"),
            };
            Error::new(ErrorKind::Unsupported, "exporting the store", store, reason)
        })?;
        let rows = crate::engine::rows::StoreRows {
            snapshot: self.tree.shared.backend.snapshot()?,
            keys: self.tree.keys,
            store: number,
        };
        folds.export_json(&rows, out)
    }

    /// How many entries it has; without those that revoked keys left.
    pub fn entry_count(&self) -> u64 {
        self.tree.head().entries()
    }

    /// Its newest entries: those that no other entry follows.
    pub fn tips(&self) -> Vec<Id> {
        self.tree.head().tips.iter().map(|tip| tip.id).collect()
    }

    /// The one entry whose id begins with these hex digits.
    ///
    /// # Errors
    /// `is_not_found()`; [`ErrorKind::InvalidInput`] when it is ambiguous or isn't hex.
    pub fn entry_by_prefix(&self, prefix: &str) -> Result<Id> {
        let wrong =
            |kind, reason: &str| Error::new(kind, "looking for the entry", excerpt(prefix, 70), reason);
        let even = &prefix.as_bytes()[..prefix.len() / 2 * 2];
        let bytes = data_encoding::HEXLOWER
            .decode(even)
            .ok()
            .filter(|bytes| !bytes.is_empty() && bytes.len() <= 32)
            .ok_or_else(|| wrong(ErrorKind::InvalidInput, "it isn't the beginning of an id"))?;
        let key = self.tree.keys.arrivals_of_prefix(&bytes);
        let mut found = Vec::new();
        eidetica_kernel::backend::for_each_row(
            eidetica_kernel::backend::Scan::prefix(&key),
            |scan| self.tree.shared.live.scan(scan),
            |(key, _)| {
                let id: Option<[u8; 32]> = key.get(6..).and_then(|id| id.try_into().ok());
                found.extend(id.map(Id::from_bytes).filter(|id| id.to_string().starts_with(prefix)));
                Ok(())
            },
        )?;
        match found[..] {
            [only] => Ok(only),
            [] => Err(wrong(ErrorKind::NotFound, "no entry's id begins like that")),
            _ => Err(wrong(ErrorKind::InvalidInput, "several entries' ids begin like that")),
        }
    }

    /// Gives `to` (a key, or `"*"` for every key without rights of its own) a permission on all stores. Needs Admin.
    ///
    /// Lower `seniority` is more senior; an admin grants its own seniority or a junior one.
    ///
    /// # Errors
    /// `is_permission_denied()`; [`ErrorKind::InvalidInput`] for text that isn't a key; those of the backend.
    pub fn grant(&self, to: impl ToGrantee, permission: Permission, seniority: u32) -> Result<Id> {
        self.grant_exactly(to, Grant::new(permission, seniority))
    }

    /// As [`Database::grant`], for any right and scope.
    ///
    /// # Errors
    /// As [`Database::grant`].
    pub fn grant_exactly(&self, to: impl ToGrantee, grant: Grant) -> Result<Id> {
        let to = to.to_grantee()?;
        let keep = self.chain_heads(&to)?;
        self.change_rights(RightsOp::Grant { to, grant, keep })
    }

    /// Takes every right from a key, or from everybody; what it wrote so far stands (of a key that forked its chain more than 256
    /// times, the 256 longest chains). Needs Admin.
    ///
    /// # Errors
    /// As [`Database::grant`].
    pub fn revoke(&self, from: impl ToGrantee) -> Result<Id> {
        let from = from.to_grantee()?;
        let keep = self.chain_heads(&from)?;
        self.change_rights(RightsOp::Revoke { from, keep })
    }

    /// As [`Database::revoke`], and voids what the key wrote from `entry` on: for a key that was stolen.
    ///
    /// # Errors
    /// As [`Database::grant`]; `is_not_found()` if the entry isn't held or isn't the key's.
    pub fn revoke_since(&self, key: impl eidetica_kernel::ToKey, entry: impl ToId) -> Result<Id> {
        let key = key.to_key()?;
        let id = entry.to_id()?;
        let held = read::entry(&*self.tree.shared.live, self.tree.keys, &id)?;
        let Some((_, first)) = held.filter(|(_, entry)| entry.header().author == key) else {
            return Err(Error::new(
                ErrorKind::NotFound,
                "revoking since",
                id,
                format_args!("no entry by {key} has this id"),
            ));
        };
        let keep = first.header().author_prev.into_iter().collect();
        self.change_rights(RightsOp::Revoke { from: Grantee::Key(key), keep })
    }

    /// Joins the heads of concurrent rights operations into one; changes nothing.
    ///
    /// # Errors
    /// As [`Database::grant`].
    pub fn merge_rights(&self) -> Result<Id> {
        self.change_rights(RightsOp::Merge)
    }

    /// What a key may do, by a grant of its own or one to everybody.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] for text that isn't a key.
    pub fn permission_of(&self, key: impl eidetica_kernel::ToKey) -> Result<Option<Permission>> {
        let key = key.to_key()?;
        Ok(self.tree.table().grant(&key).map(|grant| grant.right.permission()))
    }

    /// Everybody who holds or held something, sorted by grantee.
    pub fn permissions(&self) -> Vec<PermissionEntry> {
        let core = self.tree.look();
        let nodes = core.rights.history().nodes();
        let entry = |(grantee, standing): (&Grantee, &Standing)| PermissionEntry {
            grantee: *grantee,
            grant: standing.grant.clone(),
            decided_by: nodes[standing.node].id,
        };
        core.rights.table().iter().map(entry).collect()
    }

    /// The grants and revocations that decide whether an entry has an effect.
    ///
    /// # Errors
    /// `is_not_found()` if it isn't held here.
    pub fn why(&self, entry: impl ToId) -> Result<Why> {
        let id = entry.to_id()?;
        let (flags, entry) = read::entry(&*self.tree.shared.live, self.tree.keys, &id)?
            .ok_or_else(|| Error::from(SyncError::EntryNotFound { entry: id }))?;
        let mut core = self.tree.look();
        let header = entry.header();
        let frontier = self.tree.resolve(&mut core, &header.rights)?;
        let nodes = core.rights.history().nodes();
        let standing = frontier.alone.standing(&header.author);
        let names_author = |op: &RightsOp| {
            matches!(op.grantee(), Some(Grantee::Anyone)) || op.grantee() == Some(Grantee::Key(header.author))
        };
        let counted: &NodeSet = core.rights.counted();
        let concurrent = counted
            .iter()
            .filter(|at| !frontier.past.contains(*at) && nodes[*at].id != id && names_author(&nodes[*at].op))
            .map(|at| (nodes[at].id, nodes[at].op.clone()))
            .collect();
        Ok(Why {
            counts: flags.counts,
            author: header.author,
            stands_on: standing.map(|standing| (nodes[standing.node].id, standing.grant.clone())),
            concurrent,
        })
    }

    /// Re-checks every hash, signature and rule, and compares the stores with what the entries fold to.
    ///
    /// # Errors
    /// Those of the backend; what is wrong with the data is in the report.
    pub fn verify(&self) -> Result<Verified> {
        self.inner.check_open()?;
        self.tree.verify()
    }

    /// Derives the stores' state from the entries again.
    ///
    /// # Errors
    /// Those of the backend.
    pub fn rebuild(&self) -> Result<()> {
        self.inner.check_open()?;
        self.tree.rebuild()
    }

    /// Heads of the author chains of a grantee, as this replica knows them.
    fn chain_heads(&self, grantee: &Grantee) -> Result<Vec<Id>> {
        let Grantee::Key(key) = grantee else { return Ok(Vec::new()) };
        self.tree.chain_heads(key)
    }

    fn change_rights(&self, op: RightsOp) -> Result<Id> {
        self.inner.check_open()?;
        let id = self.commit(&[], Some(&op), None, None)?;
        self.tree.shared.backend.flush()?;
        Ok(id)
    }

    pub(crate) fn commit(
        &self,
        staged: &[StagedPayload],
        op: Option<&RightsOp>,
        expected: Option<u64>,
        base: Option<&[Id]>,
    ) -> Result<Id> {
        let key = self.key(op.is_some())?;
        self.tree.commit(&key, staged, op, expected, base)
    }

    /// The key that signs.
    pub(crate) fn key(&self, admin: bool) -> Result<Arc<SecretKey>> {
        match &self.signer {
            Signer::Key(key) => Ok(key.clone()),
            Signer::Engine => Err(Error::new(
                ErrorKind::PermissionDenied,
                "writing to",
                "the sync state",
                "only the engine writes it, from what peers acknowledge",
            )),
            Signer::LoggedIn => {
                let table = self.tree.table();
                let wanted = if admin { Permission::Admin } else { Permission::Write };
                let fits =
                    |id: &KeyId| table.grant(id).is_some_and(|grant| grant.right.permission() >= wanted);
                let sessions = self.inner.sessions();
                if sessions.is_empty() {
                    return Err(SyncError::AuthenticationRequired {
                        operation: "writing to a database".to_owned(),
                    }
                    .into());
                }
                let of_user = sessions.iter().rev().find_map(|session| session.key(fits));
                // What was granted to the node is its users'.
                let of_node = || Some(&self.inner.identity).filter(|key| fits(&key.public_key())).cloned();
                of_user.or_else(of_node).ok_or_else(|| {
                    let reason = format!("no key of the logged-in users may {wanted} here");
                    denied("committing to", &self.tree.id, reason)
                })
            }
        }
    }
}

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Database").field("root_id", &self.tree.id).finish_non_exhaustive()
    }
}

/// Whom a grant or revocation speaks of: a key, its text, or `"*"`.
pub trait ToGrantee {
    /// The grantee.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] for text that is neither a key nor `*`.
    fn to_grantee(&self) -> Result<Grantee>;
}

impl ToGrantee for Grantee {
    fn to_grantee(&self) -> Result<Grantee> {
        Ok(*self)
    }
}

impl ToGrantee for KeyId {
    fn to_grantee(&self) -> Result<Grantee> {
        Ok(Grantee::Key(*self))
    }
}

impl ToGrantee for str {
    fn to_grantee(&self) -> Result<Grantee> {
        self.parse()
    }
}

impl ToGrantee for String {
    fn to_grantee(&self) -> Result<Grantee> {
        self.parse()
    }
}

impl<T: ToGrantee + ?Sized> ToGrantee for &T {
    fn to_grantee(&self) -> Result<Grantee> {
        (**self).to_grantee()
    }
}

/// The settings of a new database as the payload of its root entry; nothing if they are empty.
pub(crate) fn settings_payload(settings: &Doc, inner: &Inner) -> Result<Option<StagedPayload>> {
    struct Unborn {
        draft: std::sync::Mutex<DraftSlot>,
        random: [u8; 16],
        now: Timestamp,
    }

    impl StoreTx for Unborn {
        fn name(&self) -> &str {
            SETTINGS_STORE
        }

        fn rows(&self) -> Result<Arc<dyn RowReader>> {
            Ok(Arc::new(NoRows))
        }

        fn draft(&self) -> Result<std::sync::MutexGuard<'_, DraftSlot>> {
            Ok(self.draft.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
        }

        fn draft_mut(&self) -> Result<std::sync::MutexGuard<'_, DraftSlot>> {
            self.draft()
        }

        fn random(&self) -> [u8; 16] {
            self.random
        }

        fn now(&self) -> Timestamp {
            self.now
        }
    }

    let context = &inner.runtime.context;
    let unborn = Arc::new(Unborn {
        draft: std::sync::Mutex::default(),
        random: context.rng.array(),
        now: context.clock.wall(),
    });
    let store = DocStore::open(unborn.clone())?;
    for (key, value) in settings.iter() {
        store.set(key, value.clone())?;
    }
    let draft = unborn.draft()?.take();
    let Some(encoded) = draft.map(|mut draft| draft.encode()).transpose()?.flatten() else { return Ok(None) };
    let (version, body) = encoded;
    Ok(Some(StagedPayload {
        name: SETTINGS_STORE.to_owned(),
        kind: DocStore::KIND.to_owned(),
        version,
        body,
        read: None,
    }))
}
