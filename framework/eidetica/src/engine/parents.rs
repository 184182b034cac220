//! What a new entry follows: which tips it names, and when their rights operations are joined first.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::sync::Arc;

use eidetica_kernel::auth::RightsOp;
use eidetica_kernel::entry::{PARENTS_MAX, RIGHTS_MAX};
use eidetica_kernel::{Error, ErrorKind, Id, PublicKey, Result, SecretKey, SyncError};

use super::records::corrupt;
use super::tree::{Core, Info, Tree};

/// Heads of rights operations from which a commit joins them by a `merge`: well below what a header may name, so that
/// replicas that meet find room for each other's.
const MERGE_HEADS_MIN: usize = 128;

/// Merges that one commit may write; what is left is the next one's.
const MERGES_MAX: usize = 8;

/// The tips that a new entry follows.
pub(super) struct Parents {
    /// Sorted by id, at most [`PARENTS_MAX`].
    pub(super) tips: Vec<(Id, Info)>,
    /// Heads of the rights operations behind them, at most [`RIGHTS_MAX`].
    pub(super) rights: Arc<[Id]>,
    /// Whether a tip was left out because a header can't name so many heads.
    crowded: bool,
}

impl Tree {
    /// Joins the heads of rights operations while they are many, so that an entry can have all of them in its past.
    ///
    /// Whoever may write may merge. Where `author` can't, its entry follows fewer tips.
    pub(super) fn merge_crowded_rights(&self, core: &mut Core, author: &SecretKey) -> Result<()> {
        for _ in 0..MERGES_MAX {
            // What one entry names, the next one may.
            if core.head.tips.len() <= 1 {
                return Ok(());
            }
            let parents = self.choose_parents(core, &author.public_key(), true)?;
            // A merge of one head would join nothing.
            if parents.rights.len() <= 1 || !parents.crowded && parents.rights.len() < MERGE_HEADS_MIN {
                return Ok(());
            }
            let payloads = self.payloads(&[], Some(&RightsOp::Merge))?;
            match self.commit_once(core, author, &payloads, Some(&RightsOp::Merge), None) {
                Ok(merge) if core.head.tips.iter().any(|tip| tip.id == merge) => {}
                // It is void: so would the next ones be.
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == ErrorKind::PermissionDenied => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Entries that a new one is asked to follow, whatever has come after them.
    pub(super) fn named_parents(&self, core: &mut Core, base: &[Id]) -> Result<Parents> {
        let ids: BTreeSet<Id> = base.iter().copied().collect();
        let refuse = |reason| {
            Err(Error::new(
                ErrorKind::LimitExceeded,
                "committing to",
                format_args!("the database {}", self.id.short()),
                reason,
            )
            .hint("follow fewer entries"))
        };
        if ids.len() > PARENTS_MAX {
            return refuse(format!("{} entries are to be followed, {PARENTS_MAX} are allowed", ids.len()));
        }
        let mut tips = Vec::with_capacity(ids.len());
        for id in ids {
            let info = core.info(&*self.shared.live, self.keys, &id)?;
            tips.push((id, info.ok_or_else(|| Error::from(SyncError::EntryNotFound { entry: id }))?));
        }
        let rights =
            core.rights_behind(tips.iter().map(|(_, info)| &info.rights)).unwrap_or_else(|| Arc::from([]));
        if rights.len() > RIGHTS_MAX {
            return refuse(format!("behind them are {} rights operations side by side", rights.len()));
        }
        Ok(Parents { tips, rights, crowded: false })
    }

    /// The tips that a new entry follows, sorted: all, or as many as one entry may name, with as many heads of rights
    /// operations as it may name.
    ///
    /// First come those that know what `author` may do, since its entry rests on it; then, for a merge, those with the most
    /// heads, which nobody else may have room for; then rights operations, since whoever holds them may rest on them; then
    /// the newest. The first one alone always fits, so there is always something to follow.
    pub(super) fn choose_parents(
        &self,
        core: &mut Core,
        author: &PublicKey,
        for_merge: bool,
    ) -> Result<Parents> {
        let tips: Vec<Id> = core.head.tips.iter().rev().map(|tip| tip.id).collect();
        let mut infos = Vec::with_capacity(tips.len());
        for id in tips {
            let info = core.info(&*self.shared.live, self.keys, &id)?;
            infos.push((id, info.ok_or_else(|| corrupt("the heads of a tree", "one isn't held"))?));
        }
        let rights = |core: &Core, tips: &[(Id, Info)]| {
            core.rights_behind(tips.iter().map(|(_, info)| &info.rights)).unwrap_or_else(|| Arc::from([]))
        };
        if infos.len() <= PARENTS_MAX {
            let heads = rights(core, &infos);
            if heads.len() <= RIGHTS_MAX {
                infos.sort_unstable_by_key(|(id, _)| *id);
                return Ok(Parents { tips: infos, rights: heads, crowded: false });
            }
        }
        let rests_on = core.rights.table().standing(author).map(|standing| standing.node);
        let history = core.rights.history();
        infos.sort_by_cached_key(|(id, info)| {
            let supports = rests_on
                .is_some_and(|node| history.closure(&info.rights).is_some_and(|past| past.contains(node)));
            let heads = if for_merge { info.rights.len() } else { 0 };
            (!supports, Reverse(heads), info.rights[..] != [*id])
        });
        let mut parents: Vec<(Id, Info)> = Vec::with_capacity(PARENTS_MAX);
        let mut crowded = false;
        for tip in infos {
            if parents.len() == PARENTS_MAX {
                break;
            }
            parents.push(tip);
            if parents.len() > 1 && rights(core, &parents).len() > RIGHTS_MAX {
                parents.pop();
                crowded = true;
            }
        }
        parents.sort_unstable_by_key(|(id, _)| *id);
        let rights = rights(core, &parents);
        Ok(Parents { tips: parents, rights, crowded })
    }
}
