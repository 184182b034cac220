//! Long histories: that counting them takes one pass and not one per operation. `--nocapture` shows times.
#![allow(clippy::print_stdout, reason = "times are for whoever asks for them")]

use std::collections::HashMap;
use std::time::Instant;

use eidetica_auth_keys::Keys;
use eidetica_kernel::auth::{
    AuthPolicy, Chains, Grant, Grantee, NodeIx, NodeSet, Permission, RightsHistory, RightsNode, RightsOp,
    RightsTable, Standing,
};
use eidetica_kernel::{HybridClock, Id, PublicKey};

/// Fewer where nothing is optimised.
const OPERATIONS: usize = if cfg!(debug_assertions) { 3_000 } else { 10_000 };

struct NoChains;

impl Chains for NoChains {
    fn is_behind(&self, _: &PublicKey, _: &Id, _: u64, _: &Id) -> bool {
        false
    }

    fn is_ancestor(&self, _: &Id, _: &Id) -> bool {
        false
    }
}

struct Builder {
    history: RightsHistory,
    /// The seniority granted last, which in these histories is the rank of whoever acts.
    ranks: HashMap<PublicKey, u32>,
}

fn key(n: usize) -> PublicKey {
    let mut bytes = [0; 32];
    bytes[24..].copy_from_slice(&(n as u64).to_be_bytes());
    PublicKey::from_bytes(bytes)
}

fn grant(to: usize, permission: Permission, seniority: u32) -> RightsOp {
    RightsOp::Grant { to: Grantee::Key(key(to)), grant: Grant::new(permission, seniority), keep: vec![] }
}

fn revoke(from: usize) -> RightsOp {
    RightsOp::Revoke { from: Grantee::Key(key(from)), keep: vec![] }
}

impl Builder {
    fn new() -> Self {
        let mut builder = Self { history: RightsHistory::new(), ranks: HashMap::from([(key(0), 0)]) };
        builder.push(0, &[], grant(0, Permission::Admin, 0));
        builder
    }

    fn push(&mut self, author: usize, heads: &[NodeIx], op: RightsOp) -> NodeIx {
        let mut past = NodeSet::default();
        for head in heads {
            past.union_with(&self.history.nodes()[*head].past);
            past.insert(*head);
        }
        let at = self.history.nodes().len();
        let rank = self.ranks.get(&key(author)).copied();
        if let RightsOp::Grant { to: Grantee::Key(to), grant, .. } = &op {
            self.ranks.insert(*to, grant.seniority);
        }
        self.history.push(RightsNode {
            id: Id::from_bytes(*key(at).as_bytes()),
            author: key(author),
            clock: HybridClock::from_bits(at as u64 + 1),
            author_seq: at as u64,
            stores: vec!["_rights".to_owned()],
            is_root: at == 0,
            op,
            past,
            rank,
        })
    }

    fn measure(&self, name: &str) -> usize {
        let start = Instant::now();
        let counted = Keys::new().counted(&self.history, &self.history.all(), &NoChains);
        let counting = start.elapsed();
        let start = Instant::now();
        let table = Keys::new().table(&self.history, &counted);
        println!(
            "{name}: {} operations counted in {counting:?}; table of {} in {:?}",
            self.history.nodes().len(),
            table.iter().count(),
            start.elapsed()
        );
        counted.iter().count()
    }

    /// Adds the operations one at a time, each judged by what counted before it.
    fn measure_joining(&self, name: &str) -> NodeSet {
        let (start, policy) = (Instant::now(), Keys::new());
        let (mut history, mut counted) = (RightsHistory::new(), NodeSet::default());
        // Only who authors them asks for it: two keys.
        let mut before = RightsTable::default();
        for node in self.history.nodes() {
            let at = history.push(node.clone());
            counted = policy.counted_with_last(&history, &counted, &before, &NoChains);
            if let RightsOp::Grant { to, grant, .. } = &node.op
                && [key(0), key(1)].map(Grantee::Key).contains(to)
            {
                before.set(*to, Standing { grant: Some(grant.clone()), node: at });
            }
        }
        println!(
            "{name}: {} operations joined one at a time in {:?}",
            history.nodes().len(),
            start.elapsed()
        );
        counted
    }
}

#[test]
fn one_admin_grants_many_keys() {
    let mut builder = Builder::new();
    let mut tip = 0;
    for n in 1..OPERATIONS {
        tip = builder.push(0, &[tip], grant(n, Permission::Write, 100));
    }
    assert_eq!(builder.measure("one branch"), OPERATIONS);
}

#[test]
fn one_key_is_granted_anew_many_times() {
    let mut builder = Builder::new();
    let mut tip = 0;
    for n in 1..OPERATIONS {
        let permission = if n % 2 == 0 { Permission::Read } else { Permission::Write };
        tip = builder.push(0, &[tip], grant(1, permission, 100));
    }
    assert_eq!(builder.measure("one key"), OPERATIONS);
}

/// Two admins who each see the other's operations a round later, after `start`.
fn two_admins(builder: &mut Builder, start: NodeIx) {
    let mut heads = [start, start];
    while builder.history.nodes().len() < OPERATIONS {
        let n = builder.history.nodes().len();
        let left = builder.push(0, &heads, grant(n, Permission::Write, 100));
        let right = builder.push(1, &heads, grant(n + 1, Permission::Write, 100));
        heads = [left, right];
    }
}

#[test]
fn two_admins_work_at_once() {
    let mut builder = Builder::new();
    let start = builder.push(0, &[0], grant(1, Permission::Admin, 1));
    two_admins(&mut builder, start);
    assert_eq!(builder.measure("two branches"), OPERATIONS);
    assert_eq!(builder.measure_joining("two branches"), builder.history.all());
}

#[test]
fn an_early_revocation_with_void_operations_slows_nothing_down() {
    for branches in [1, 2] {
        let mut builder = Builder::new();
        let one = builder.push(0, &[0], grant(1, Permission::Admin, 1));
        let two = builder.push(0, &[one], grant(2, Permission::Admin, 2));
        let void = builder.push(2, &[two], grant(3, Permission::Write, 100));
        let gone = builder.push(1, &[two], revoke(2));
        let start = builder.push(0, &[void, gone], RightsOp::Merge);
        if branches == 2 {
            two_admins(&mut builder, start);
        } else {
            let mut tip = start;
            while builder.history.nodes().len() < OPERATIONS {
                tip = builder.push(0, &[tip], grant(builder.history.nodes().len(), Permission::Write, 100));
            }
        }
        let all = builder.history.nodes().len();
        assert_eq!(builder.measure(&format!("void, then {branches} branch(es)")), all - 1);
    }
}

#[test]
fn a_contested_standing_behind_a_contested_standing_behind_it_ends() {
    let mut builder = Builder::new();
    let mut heads = vec![0, 0];
    // Each key is granted twice at once by the one before: 1,000 levels, each resting on a contested one.
    for n in 0..1_000 {
        let left = builder.push(n, &heads, grant(n + 1, Permission::Admin, n as u32 + 1));
        let right = builder.push(n, &heads, grant(n + 1, Permission::Admin, n as u32 + 1));
        heads = vec![left, right];
    }
    assert_eq!(builder.measure("contested"), 2_001);
}

#[test]
fn a_thousand_revocations_that_void_what_came_before() {
    let mut builder = Builder::new();
    let mut tip = 0;
    for n in 1..1_000 {
        let admin = builder.push(0, &[tip], grant(n, Permission::Admin, 5));
        let void = builder.push(n, &[admin], grant(10_000 + n, Permission::Write, 100));
        tip = builder.push(0, &[void], revoke(n));
    }
    assert_eq!(builder.measure("a thousand revocations"), 1 + 999 * 2);
}
