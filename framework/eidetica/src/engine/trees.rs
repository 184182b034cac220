//! The trees of an instance: created, opened, adopted from a peer, removed.

use std::collections::HashMap;
use std::sync::Arc;

use eidetica_kernel::backend::{Batch, Scan, for_each_row};
use eidetica_kernel::entry::RIGHTS_STORE;
use eidetica_kernel::{AuthPolicy, Error, ErrorKind, Id, Result, SecretKey, SignedEntry, Timestamp};
use parking_lot::Mutex;

use super::commit::{StagedPayload, make_root};
use super::ingest::{CONFLICTS_MAX, Incoming};
use super::layout::{self, TreeKeys, TreeNo};
use super::records::{TreeRecord, corrupt, decode, encode};
use super::tree::{Core, Shared, Tree};

/// The trees of an instance.
pub(crate) struct Trees {
    pub(crate) shared: Arc<Shared>,
    open: Mutex<HashMap<Id, Arc<Tree>>>,
}

impl Trees {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, open: Mutex::default() }
    }

    /// Ids of the trees that are held, sorted.
    pub(crate) fn ids(&self) -> Result<Vec<Id>> {
        let mut ids = Vec::new();
        for_each_row(
            Scan::prefix(&layout::tree_directories()),
            |scan| self.shared.live.scan(scan),
            |(key, row)| {
                let record: TreeRecord = decode("the tree directory", &row)?;
                let begun = self.shared.live.get(&TreeKeys(record.number).head())?.is_some();
                if begun && !record.removed {
                    ids.push(
                        layout::tree_of_directory(&key)
                            .ok_or_else(|| corrupt("the tree directory", "a key is malformed"))?,
                    );
                }
                Ok(())
            },
        )?;
        Ok(ids)
    }

    fn record(&self, id: &Id) -> Result<Option<TreeRecord>> {
        let row = self.shared.live.get(&layout::tree_directory(id))?;
        row.map(|row| decode("the tree directory", &row)).transpose()
    }

    /// `true` if its user removed it: peers don't bring it back.
    pub(crate) fn was_removed(&self, id: &Id) -> Result<bool> {
        Ok(self.record(id)?.is_some_and(|record| record.removed))
    }

    /// The tree, loaded if need be; `None` if it isn't held.
    pub(crate) fn get(&self, id: &Id) -> Result<Option<Arc<Tree>>> {
        let mut open = self.open.lock();
        if let Some(tree) = open.get(id) {
            return Ok(Some(tree.clone()));
        }
        let Some(record) = self.record(id)?.filter(|record| !record.removed) else { return Ok(None) };
        let keys = TreeKeys(record.number);
        let Some((_, root)) = super::read::entry_at(&*self.shared.live, keys, 0)? else {
            // Its number was taken, and then the process ended before its root was written.
            return Ok(None);
        };
        let policy = self.policy_of(&root)?;
        let tree = Arc::new(Tree::load(self.shared.clone(), *id, record.number, policy)?);
        open.insert(*id, tree.clone());
        Ok(Some(tree))
    }

    /// The linked policy by whose rules this root's tree is judged.
    fn policy_of(&self, root: &SignedEntry) -> Result<Arc<dyn AuthPolicy>> {
        let kind = root.header().store(RIGHTS_STORE).map(|store| &store.kind[..]).unwrap_or_default();
        self.shared.policies.get(kind).cloned().ok_or_else(|| {
            Error::new(
                ErrorKind::Unsupported,
                "opening",
                format_args!("the database {}", root.id().short()),
                format_args!("its rights are of kind \"{kind}\", which isn't linked into this program"),
            )
        })
    }

    /// Creates a tree whose creator is `author`.
    pub(crate) fn create(
        &self,
        policy: &dyn AuthPolicy,
        author: &SecretKey,
        settings: Option<StagedPayload>,
    ) -> Result<Arc<Tree>> {
        let (entry, payloads) = make_root(&self.shared, policy, author, settings)?;
        let policy = self.policy_of(&entry)?;
        let number = self.number(&entry.id())?;
        let mut core = Core::empty(policy);
        let tree =
            Tree::new(self.shared.clone(), entry.id(), number, Core::empty(core.rights.policy().clone()));
        tree.write_root(&mut core, &entry, payloads)?;
        *tree.lock() = core;
        self.shared.backend.flush()?;
        let tree = Arc::new(tree);
        self.open.lock().insert(entry.id(), tree.clone());
        Ok(tree)
    }

    /// Takes in the root of a tree that a peer holds. The inner error is the time before which it is from the future of this node's
    /// clock, and isn't taken.
    pub(crate) fn adopt(&self, root: Incoming) -> Result<std::result::Result<Arc<Tree>, Timestamp>> {
        let id = root.entry.id();
        if let Some(tree) = self.get(&id)? {
            return Ok(Ok(tree));
        }
        if self.was_removed(&id)? {
            return Err(Error::new(
                ErrorKind::NotFound,
                "receiving",
                format_args!("the database {}", id.short()),
                "it was removed here",
            )
            .hint("join it again with a ticket to bring it back"));
        }
        let refused = |reason: String| {
            Error::new(ErrorKind::Protocol, "receiving", format_args!("the database {}", id.short()), reason)
        };
        if !root.entry.header().is_root() {
            return Err(refused("what came first isn't a root entry".to_owned()));
        }
        let policy = self.policy_of(&root.entry)?;
        let number = self.number(&id)?;
        let tree = Tree::new(self.shared.clone(), id, number, Core::empty(policy));
        let report = tree.ingest(vec![root])?;
        if report.accepted.is_empty() {
            // Another link may have brought it at the same moment.
            if let Some(tree) = self.get(&id)? {
                return Ok(Ok(tree));
            }
            if let Some((_, time)) = report.not_before.first() {
                return Ok(Err(*time));
            }
            let reason = report.refused.into_iter().chain(report.bad_copies).map(|(_, reason)| reason).next();
            return Err(refused(reason.unwrap_or_else(|| "its root can't be judged yet".to_owned())));
        }
        let tree = Arc::new(tree);
        Ok(Ok(self.open.lock().entry(id).or_insert(tree).clone()))
    }

    /// The keys that a tree has, or will have once its root is here.
    pub(crate) fn keys_for(&self, id: &Id) -> Result<TreeKeys> {
        self.number(id).map(TreeKeys)
    }

    /// The local number of a tree; a new one is taken if it has none.
    fn number(&self, id: &Id) -> Result<TreeNo> {
        let counter = layout::node("trees");
        for _ in 0..CONFLICTS_MAX {
            if let Some(record) = self.record(id)? {
                return Ok(record.number);
            }
            let row = self.shared.live.get(&counter)?;
            let next: TreeNo = row.as_ref().map_or(Ok(0), |row| decode("the number of trees", row))?;
            let mut batch = Batch::new();
            match row {
                Some(row) => batch.expect_equals(counter.clone(), row),
                None => batch.expect_absent(counter.clone()),
            };
            batch.put(counter.clone(), encode("the number of trees", &(next + 1))?);
            let record = TreeRecord { number: next, removed: false };
            batch.put(layout::tree_directory(id), encode("the tree directory", &record)?);
            match self.shared.backend.commit(batch) {
                Ok(()) => return Ok(next),
                Err(error) if error.kind() == ErrorKind::Conflict => {}
                Err(error) => return Err(error),
            }
        }
        Err(Error::new(ErrorKind::Conflict, "numbering", id, "other processes kept creating databases"))
    }

    /// Removes a tree with all its rows; a mark stays so that peers don't bring it back. `false` if there is nothing to remove.
    pub(crate) fn remove(&self, id: &Id) -> Result<bool> {
        let Some(record) = self.record(id)? else { return Ok(false) };
        let marked = TreeRecord { removed: true, ..record };
        if !record.removed {
            let mut batch = Batch::new();
            batch.put(layout::tree_directory(id), encode("the tree directory", &marked)?);
            self.shared.backend.commit(batch)?;
        }
        // Behind the mark: before it, whoever asked for the tree in between would have opened it again.
        let open = self.open.lock().remove(id);
        if let Some(tree) = open {
            tree.end();
        }
        let wiped = self.wipe(TreeKeys(marked.number))?;
        self.shared.backend.flush()?;
        Ok(wiped || !record.removed)
    }

    /// Removes what removals that broke off have left.
    pub(crate) fn finish_removals(&self) -> Result<()> {
        for_each_row(
            Scan::prefix(&layout::tree_directories()),
            |scan| self.shared.live.scan(scan),
            |(_, row)| {
                let record: TreeRecord = decode("the tree directory", &row)?;
                if record.removed {
                    self.wipe(TreeKeys(record.number))?;
                }
                Ok(())
            },
        )
    }

    /// Tells those who watch any of the trees that nothing more will come.
    pub(crate) fn end(&self) {
        for tree in self.open.lock().values() {
            tree.end();
        }
    }

    /// Forgets that a tree was removed.
    pub(crate) fn allow_again(&self, id: &Id) -> Result<()> {
        if let Some(record) = self.record(id)?.filter(|record| record.removed) {
            // Without its number nothing would find the rows that are left.
            self.wipe(TreeKeys(record.number))?;
            let mut batch = Batch::new();
            batch.delete(layout::tree_directory(id));
            self.shared.backend.commit(batch)?;
        }
        Ok(())
    }

    /// Deletes all rows of a tree; `false` if there is none.
    fn wipe(&self, keys: TreeKeys) -> Result<bool> {
        let scan = Scan::prefix(&keys.all());
        let mut wiped = false;
        loop {
            let page = self.shared.live.scan(&scan)?;
            if page.rows.is_empty() {
                return Ok(wiped);
            }
            wiped = true;
            let mut batch = Batch::new();
            for (key, _) in page.rows {
                batch.delete(key);
            }
            self.shared.backend.commit(batch)?;
        }
    }
}
