//! The policy itself: each question of [`AuthPolicy`] handed to the file that answers it.

use eidetica_kernel::auth::{
    AuthPolicy, Chains, Deed, Denial, NodeIx, NodeSet, RightsHistory, RightsOp, RightsTable,
};
use eidetica_kernel::crypto::PublicKey;
use eidetica_kernel::error::Result;

use crate::count::Count;
use crate::{bite, join, judge, standing, wire};

/// The policy and the version of its rules: the kind of the rights store of trees that keep to it.
pub const KIND: &str = "keys/1";

/// The policy `keys/1`: rights belong to keys, and the more senior key wins. It holds nothing and remembers nothing.
///
/// [`AuthPolicy::bites`] is asked about admissible entries. It can't see whether a *data* entry is an ancestor of an
/// operation on `*`, which rule 2 spares: whoever holds the entries doesn't ask in that case. (Among operations it sees it.)
///
/// ```
/// use eidetica_auth_keys::Keys;
/// use eidetica_kernel::auth::{AuthPolicy, Grant, Grantee, Permission, RightsOp};
/// use eidetica_kernel::SecretKey;
///
/// let key = SecretKey::from_bytes([7; 32]).public_key();
/// let op = RightsOp::Grant { to: Grantee::Key(key), grant: Grant::new(Permission::Write, 100), keep: vec![] };
/// let policy = Keys::new();
/// assert_eq!(policy.decode(&policy.encode(&op)?)?, op);
/// # Ok::<(), eidetica_kernel::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Keys;

impl Keys {
    /// The policy.
    pub const fn new() -> Self {
        Self
    }
}

impl AuthPolicy for Keys {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn encode(&self, op: &RightsOp) -> Result<Vec<u8>> {
        wire::encode(op)
    }

    fn decode(&self, body: &[u8]) -> Result<RightsOp> {
        wire::decode(body)
    }

    fn counted(&self, history: &RightsHistory, within: &NodeSet, chains: &dyn Chains) -> NodeSet {
        Count::run(history, within, chains).counted(within)
    }

    fn counted_with_last(
        &self,
        history: &RightsHistory,
        counted: &NodeSet,
        before: &RightsTable,
        chains: &dyn Chains,
    ) -> NodeSet {
        join::joined(history, counted, before)
            .unwrap_or_else(|| self.counted(history, &history.all(), chains))
    }

    fn table(&self, history: &RightsHistory, counted: &NodeSet) -> RightsTable {
        standing::table(history, counted)
    }

    fn permits(&self, table: &RightsTable, deed: &Deed<'_>) -> Result<(), Denial> {
        judge::permits(table, deed)
    }

    fn bites(&self, history: &RightsHistory, by: NodeIx, deed: &Deed<'_>, chains: &dyn Chains) -> bool {
        bite::bites(history, by, deed, chains)
    }

    fn may_read(&self, table: &RightsTable, key: &PublicKey) -> bool {
        table.grant(key).is_some()
    }
}
