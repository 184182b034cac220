//! Several entries in one step.

use std::sync::Arc;

use eidetica_kernel::Result;

use crate::Database;
use crate::engine::held::Held;
use crate::engine::tree::Tree;

/// What several entries are made on; of no use once it is dropped.
struct Step {
    held: Held,
    tree: Arc<Tree>,
}

impl Drop for Step {
    fn drop(&mut self) {
        self.held.end();
        self.tree.end();
    }
}

impl Database {
    /// Makes several entries that show together or not at all, here and after a crash: what `work` commits to the database that
    /// it is given stays in memory until it returns, and is dropped if it fails.
    ///
    /// For what is too large for one entry. Each transaction sees what the earlier ones have committed. What others commit
    /// meanwhile stands beside all of it, as on another replica (by the same key too, whose chain of entries forks then); peers
    /// receive the entries one after the other. The database that `work` is given is of no use afterwards.
    ///
    /// ```
    /// # use eidetica::{Instance, backend::InMemory, crdt::Doc, store::DocStore};
    /// # let instance = Instance::open(Box::new(InMemory::new()))?;
    /// # instance.create_user("alice", None)?;
    /// # let user = instance.login_user("alice", None)?;
    /// # let database = user.create_database(Doc::new(), &user.get_default_key()?)?;
    /// let entries = database.atomically(|database| {
    ///     let mut entries = Vec::new();
    ///     for chapter in ["one", "two"] {
    ///         let transaction = database.new_transaction()?;
    ///         transaction.get_store::<DocStore>("book")?.set(chapter, "It was a dark night.")?;
    ///         entries.push(transaction.commit()?);
    ///     }
    ///     Ok(entries)
    /// })?;
    /// assert_eq!(database.tips(), [entries[1]]);
    /// # Ok::<(), eidetica::Error>(())
    /// ```
    ///
    /// # Errors
    /// `work`'s; `is_permission_denied()` where the right to write was revoked meanwhile;
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) if rights were changed in it; those of the backend. Nothing has
    /// been committed then, unless it is the backend's flush that failed: then the entries show, and whether they survive a crash
    /// isn't known. Inside, `commit_if_unchanged` is refused.
    pub fn atomically<T>(&self, work: impl FnOnce(&Self) -> Result<T>) -> Result<T> {
        self.inner.check_open()?;
        let (held, tree) = self.tree.held()?;
        let first = tree.head().next_arrival;
        let copy = Self::new(self.inner.clone(), tree, self.signer.clone());
        let step = Step { held, tree: copy.tree.clone() };
        let done = work(&copy)?;
        let entries = step.tree.made_since(first)?;
        drop(step);
        if !entries.is_empty() {
            self.inner.check_open()?;
            self.tree.take_in(&entries)?;
            self.tree.shared.backend.flush()?;
        }
        Ok(done)
    }
}
