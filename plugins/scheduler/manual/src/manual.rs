//! The policy that does nothing by itself.

use eidetica_kernel::scheduler::{Action, Event, Moment, Promises};
use eidetica_kernel::{Id, PublicKey, SyncScheduler};

/// Asks for nothing, pushes nothing, remembers nothing.
///
/// What somebody asks the engine for is done all the same: `Sync::sync_tree_with_peer`, `sync_with_peer`, `join`, and on the command
/// line `eidetica sync`. What a peer begins is answered.
#[derive(Clone, Copy, Debug, Default)]
pub struct Manual;

impl SyncScheduler for Manual {
    fn promises(&self) -> Promises {
        Promises::default()
    }

    fn handle(&mut self, _now: Moment, _event: Event, _actions: &mut Vec<Action>) {}

    fn next_wakeup(&self) -> Option<Moment> {
        None
    }

    fn next_attempt(&self, _peer: &PublicKey, _tree: &Id) -> Option<Moment> {
        None
    }

    fn pushes(&self, _peer: &PublicKey, _tree: &Id) -> bool {
        false
    }
}
