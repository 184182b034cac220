//! The rules: only who began a tree changes rights in it, and nobody takes that from them.

use std::collections::BTreeSet;

use eidetica_kernel::auth::{
    AuthPolicy, Chains, Deed, Denial, Grantee, NodeIx, NodeSet, Permission, Right, RightsHistory, RightsOp,
    RightsTable, SENIORITY_CREATOR, Standing, StoreScope,
};
use eidetica_kernel::entry::{RIGHTS_MAX, RIGHTS_STORE};
use eidetica_kernel::{Error, ErrorKind, PublicKey, Result};

/// The policy, and the version of its rules: whoever changes these takes another number.
pub const KIND: &str = "{{name}}/1";

/// Longest encoded operation.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// Only who began a tree changes rights in it, and nobody takes that from them. Others read and write as far as they were granted.
#[derive(Clone, Copy, Debug, Default)]
pub struct {{Type}}Rules;

impl {{Type}}Rules {
    /// `true` for a grant of everything to whoever makes it.
    fn vouches_for_itself(deed: &Deed<'_>) -> bool {
        let Some(RightsOp::Grant { to, grant, .. }) = deed.op else { return false };
        *to == Grantee::Key(deed.author)
            && grant.right == Right::Admin
            && grant.seniority == SENIORITY_CREATOR
            && grant.stores == StoreScope::All
    }
}

fn deny(deed: &Deed<'_>, why: &str) -> Result<(), Denial> {
    Err(Denial { reason: format!("{} {why} ({KIND})", deed.author) })
}

impl AuthPolicy for {{Type}}Rules {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn encode(&self, op: &RightsOp) -> Result<Vec<u8>> {
        const WRITING: &str = "writing a rights operation";
        if op.keep().len() > RIGHTS_MAX {
            return Err(Error::new(ErrorKind::LimitExceeded, WRITING, "", "it keeps too many heads"));
        }
        let body = serde_json::to_vec(op)
            .map_err(|error| Error::new(ErrorKind::InvalidInput, WRITING, "", error.to_string()))?;
        if body.len() > BODY_BYTES_MAX {
            return Err(Error::new(ErrorKind::LimitExceeded, WRITING, "", "it is too long"));
        }
        Ok(body)
    }

    fn decode(&self, body: &[u8]) -> Result<RightsOp> {
        const READING: &str = "reading a rights operation";
        if body.len() > BODY_BYTES_MAX {
            return Err(Error::new(ErrorKind::LimitExceeded, READING, "", "it is too long"));
        }
        let op: RightsOp = serde_json::from_slice(body)
            .map_err(|error| Error::new(ErrorKind::InvalidInput, READING, "", error.to_string()))?;
        if self.encode(&op)? == body {
            Ok(op)
        } else {
            Err(Error::new(ErrorKind::InvalidInput, READING, "", "it isn't in canonical form"))
        }
    }

    /// Whatever is admissible counts: it is by one author, whom nothing bites.
    fn counted(&self, _history: &RightsHistory, within: &NodeSet, _chains: &dyn Chains) -> NodeSet {
        within.clone()
    }

    /// For each grantee the operations that no later one replaces; of several a revocation, else that of the smallest id.
    fn table(&self, history: &RightsHistory, counted: &NodeSet) -> RightsTable {
        let mut table = RightsTable::default();
        let node = |at: NodeIx| &history.nodes()[at];
        let grantees: BTreeSet<Grantee> = counted.iter().filter_map(|at| node(at).op.grantee()).collect();
        for grantee in grantees {
            let on: Vec<NodeIx> =
                counted.iter().filter(|at| node(*at).op.grantee() == Some(grantee)).collect();
            let last = on.iter().filter(|at| !on.iter().any(|other| node(*other).past.contains(**at)));
            if let Some(at) = last.copied().min_by_key(|at| (node(*at).op.grant().is_some(), node(*at).id)) {
                table.set(grantee, Standing { grant: node(at).op.grant().cloned(), node: at });
            }
        }
        table
    }

    fn permits(&self, table: &RightsTable, deed: &Deed<'_>) -> Result<(), Denial> {
        if deed.is_root {
            return match Self::vouches_for_itself(deed) {
                true => Ok(()),
                false => deny(deed, "begins a tree without granting itself everything"),
            };
        }
        let Some(grant) = table.grant(&deed.author) else { return deny(deed, "holds no right here") };
        let owns = grant.right == Right::Admin && grant.seniority == SENIORITY_CREATOR;
        if let Some(op) = deed.op {
            let senior = op.grant().is_none_or(|grant| grant.seniority > SENIORITY_CREATOR);
            let own = op.grantee() == Some(Grantee::Key(deed.author));
            return match owns && senior && !own {
                true => Ok(()),
                false => deny(deed, "may not change rights like this"),
            };
        }
        let writes = grant.right.permission() >= Permission::Write;
        let allowed = |store: &String| match store.as_str() {
            RIGHTS_STORE => false,
            system if system.starts_with('_') => owns,
            data => grant.stores.contains(data),
        };
        match writes && deed.stores.iter().all(allowed) {
            true => Ok(()),
            false => deny(deed, "may not write that"),
        }
    }

    /// A revocation of a key bites what that key wrote without knowing of it.
    fn bites(&self, history: &RightsHistory, by: NodeIx, deed: &Deed<'_>, chains: &dyn Chains) -> bool {
        let Some(node) = history.nodes().get(by) else { return false };
        let RightsOp::Revoke { from, keep } = &node.op else { return false };
        let kept = || keep.iter().any(|head| chains.is_behind(&deed.author, &deed.id, deed.author_seq, head));
        *from == Grantee::Key(deed.author)
            && !deed.is_root
            && node.id != deed.id
            && !deed.past.contains(by)
            && !kept()
    }

    fn may_read(&self, table: &RightsTable, key: &PublicKey) -> bool {
        table.grant(key).is_some()
    }
}
