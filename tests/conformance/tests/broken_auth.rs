//! Deliberately broken policies of rights: the suite catches each by the case meant for it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use eidetica_conformance::auth::{AuthPolicy, Reference, Suite};
use eidetica_kernel::auth::{
    Chains, Deed, Denial, Grant, Grantee, NodeIx, NodeSet, Right, RightsHistory, RightsOp, RightsTable,
    Standing, StoreScope,
};
use eidetica_kernel::error::Result;
use eidetica_kernel::{Id, PublicKey};

/// What is wrong with a policy. Each method does what the sound one does unless replaced.
trait Break: Send + Sync + 'static {
    fn kind(&self) -> &'static str {
        Reference.kind()
    }

    fn encode(&self, op: &RightsOp) -> Result<Vec<u8>> {
        Reference.encode(op)
    }

    fn decode(&self, body: &[u8]) -> Result<RightsOp> {
        Reference.decode(body)
    }

    fn counted(&self, history: &RightsHistory, within: &NodeSet, chains: &dyn Chains) -> NodeSet {
        Reference.counted(history, within, chains)
    }

    fn counted_with_last(
        &self,
        history: &RightsHistory,
        _counted: &NodeSet,
        _before: &RightsTable,
        chains: &dyn Chains,
    ) -> NodeSet {
        self.counted(history, &history.all(), chains)
    }

    fn table(&self, history: &RightsHistory, counted: &NodeSet) -> RightsTable {
        Reference.table(history, counted)
    }

    fn permits(&self, table: &RightsTable, deed: &Deed<'_>) -> Result<(), Denial> {
        Reference.permits(table, deed)
    }

    fn bites(&self, history: &RightsHistory, by: NodeIx, deed: &Deed<'_>, chains: &dyn Chains) -> bool {
        Reference.bites(history, by, deed, chains)
    }

    fn may_read(&self, table: &RightsTable, key: &PublicKey) -> bool {
        Reference.may_read(table, key)
    }
}

struct Broken<B>(B);

impl<B: Break> AuthPolicy for Broken<B> {
    fn kind(&self) -> &'static str {
        self.0.kind()
    }

    fn encode(&self, op: &RightsOp) -> Result<Vec<u8>> {
        self.0.encode(op)
    }

    fn decode(&self, body: &[u8]) -> Result<RightsOp> {
        self.0.decode(body)
    }

    fn counted(&self, history: &RightsHistory, within: &NodeSet, chains: &dyn Chains) -> NodeSet {
        self.0.counted(history, within, chains)
    }

    fn counted_with_last(
        &self,
        history: &RightsHistory,
        counted: &NodeSet,
        before: &RightsTable,
        chains: &dyn Chains,
    ) -> NodeSet {
        self.0.counted_with_last(history, counted, before, chains)
    }

    fn table(&self, history: &RightsHistory, counted: &NodeSet) -> RightsTable {
        self.0.table(history, counted)
    }

    fn permits(&self, table: &RightsTable, deed: &Deed<'_>) -> Result<(), Denial> {
        self.0.permits(table, deed)
    }

    fn bites(&self, history: &RightsHistory, by: NodeIx, deed: &Deed<'_>, chains: &dyn Chains) -> bool {
        self.0.bites(history, by, deed, chains)
    }

    fn may_read(&self, table: &RightsTable, key: &PublicKey) -> bool {
        self.0.may_read(table, key)
    }
}

/// Whether the suite's case of that name fails for a policy broken so.
fn catches<B: Break + Default>(name: &str) -> bool {
    let suite = Suite::new("broken", || Arc::new(Broken(B::default())));
    let case = Suite::cases().into_iter().find(|case| case.name == name).expect("a case of that name");
    suite.failure(case).is_some()
}

#[derive(Default)]
struct Sound;
impl Break for Sound {}

#[test]
fn sound_policies_pass() {
    assert_eq!(Suite::new("sound", || Arc::new(Broken(Sound))).failures(), []);
}

/// Every operation of `counted` on its grantee in turn, the last of them in arrival order having the last word.
fn by_arrival(history: &RightsHistory, counted: &NodeSet) -> RightsTable {
    let mut table = RightsTable::default();
    for at in counted.iter() {
        let op = &history.nodes()[at].op;
        if let Some(grantee) = op.grantee() {
            table.set(grantee, Standing { grant: op.grant().cloned(), node: at });
        }
    }
    table
}

#[test]
fn the_last_to_arrive_having_the_last_word_is_caught() {
    #[derive(Default)]
    struct ByArrival;
    impl Break for ByArrival {
        fn table(&self, history: &RightsHistory, counted: &NodeSet) -> RightsTable {
            by_arrival(history, counted)
        }
    }
    assert!(catches::<ByArrival>("the_order_of_arrival_decides_nothing"));
}

#[test]
fn hidden_state_is_caught() {
    /// Lets every hundredth question pass.
    #[derive(Default)]
    struct Counts(AtomicU64);
    impl Break for Counts {
        fn may_read(&self, table: &RightsTable, key: &PublicKey) -> bool {
            let asked = self.0.fetch_add(1, Ordering::Relaxed);
            Reference.may_read(table, key) || asked % 3 == 2
        }
    }
    assert!(catches::<Counts>("asking_twice_gives_the_same_answer"));
}

static MADE: AtomicU64 = AtomicU64::new(0);

#[test]
fn policies_that_differ_among_themselves_are_caught() {
    /// Of two concurrent operations some prefer the larger id.
    struct Moody(bool);
    impl Default for Moody {
        fn default() -> Self {
            Self(MADE.fetch_add(1, Ordering::Relaxed).is_multiple_of(2))
        }
    }
    impl Break for Moody {
        fn may_read(&self, table: &RightsTable, key: &PublicKey) -> bool {
            self.0 || Reference.may_read(table, key)
        }
    }
    assert!(catches::<Moody>("fresh_policies_agree"));
}

#[test]
fn judging_by_what_came_later_is_caught() {
    /// Counts all there is, whatever it was asked about.
    #[derive(Default)]
    struct Hindsight;
    impl Break for Hindsight {
        fn counted(&self, history: &RightsHistory, within: &NodeSet, _chains: &dyn Chains) -> NodeSet {
            let knows = |at: &NodeIx| {
                let grants = history.nodes()[*at].op.grant().is_some();
                within.contains(*at) || grants
            };
            history.all().iter().filter(knows).collect()
        }
    }
    assert!(catches::<Hindsight>("admissible_is_decided_by_the_past_alone"));
    assert!(catches::<Hindsight>("what_lies_outside_of_a_set_decides_nothing"));
}

#[test]
fn a_revocation_that_gives_is_caught() {
    /// Once anybody is banned, readers take over their work.
    #[derive(Default)]
    struct Gives;
    impl Break for Gives {
        fn permits(&self, table: &RightsTable, deed: &Deed<'_>) -> Result<(), Denial> {
            let banned = table.iter().any(|(_, standing)| standing.grant.is_none());
            let reader = table.grant(&deed.author).is_some_and(|grant| grant.right == Right::Read);
            if banned && reader && deed.op.is_none() && deed.stores == ["notes"] {
                return Ok(());
            }
            Reference.permits(table, deed)
        }
    }
    assert!(catches::<Gives>("an_operation_that_only_takes_makes_nothing_admissible"));
}

#[test]
fn a_revocation_that_voids_nothing_is_caught() {
    #[derive(Default)]
    struct Toothless;
    impl Break for Toothless {
        fn bites(&self, _: &RightsHistory, _: NodeIx, _: &Deed<'_>, _: &dyn Chains) -> bool {
            false
        }
    }
    assert!(catches::<Toothless>("what_a_revoked_key_writes_without_knowing_it_is_void"));
    assert!(!catches::<Toothless>("a_revoked_key_may_do_nothing_afterwards"), "that holds");
}

#[test]
fn a_revocation_that_ignores_what_it_keeps_is_caught() {
    #[derive(Default)]
    struct Greedy;
    impl Break for Greedy {
        fn bites(&self, history: &RightsHistory, by: NodeIx, deed: &Deed<'_>, _: &dyn Chains) -> bool {
            let node = &history.nodes()[by];
            matches!(node.op, RightsOp::Revoke { from: Grantee::Key(key), .. } if key == deed.author)
                && !deed.is_root
                && node.id != deed.id
                && !deed.past.contains(by)
        }
    }
    assert!(catches::<Greedy>("what_a_revocation_keeps_stands"));
}

#[test]
fn a_revocation_of_others_too_is_caught() {
    #[derive(Default)]
    struct Sweeping;
    impl Break for Sweeping {
        fn bites(&self, history: &RightsHistory, by: NodeIx, deed: &Deed<'_>, _: &dyn Chains) -> bool {
            let revokes = matches!(history.nodes()[by].op, RightsOp::Revoke { .. });
            revokes && deed.op.is_none() && !deed.past.contains(by)
        }
    }
    assert!(catches::<Sweeping>("a_revocation_takes_nothing_from_others"));
}

#[test]
fn banned_keys_that_fall_back_on_everybodys_rights_are_caught() {
    #[derive(Default)]
    struct FallsBack;
    impl Break for FallsBack {
        fn table(&self, history: &RightsHistory, counted: &NodeSet) -> RightsTable {
            let mut table = RightsTable::default();
            for (grantee, standing) in Reference.table(history, counted).iter() {
                if standing.grant.is_some() {
                    table.set(*grantee, standing.clone());
                }
            }
            table
        }
    }
    assert!(catches::<FallsBack>("a_revoked_key_may_do_nothing_afterwards"));
}

#[test]
fn bans_for_ever_are_caught() {
    #[derive(Default)]
    struct ForEver;
    impl Break for ForEver {
        fn table(&self, history: &RightsHistory, counted: &NodeSet) -> RightsTable {
            let mut table = Reference.table(history, counted);
            for at in counted.iter() {
                if let RightsOp::Revoke { from, .. } = history.nodes()[at].op {
                    table.set(from, Standing { grant: None, node: at });
                }
            }
            table
        }
    }
    assert!(catches::<ForEver>("a_key_that_is_granted_again_may_again"));
}

#[test]
fn open_doors_are_caught() {
    /// Whoever is unknown may merge.
    #[derive(Default)]
    struct Open;
    impl Break for Open {
        fn permits(&self, table: &RightsTable, deed: &Deed<'_>) -> Result<(), Denial> {
            match deed.op {
                Some(RightsOp::Merge) => Ok(()),
                _ => Reference.permits(table, deed),
            }
        }
    }
    assert!(catches::<Open>("who_holds_nothing_may_do_nothing"));
    assert!(catches::<Open>("a_tree_begins_with_its_creators_grant_and_no_other_way"));
}

#[test]
fn a_short_way_to_another_answer_is_caught() {
    /// Takes the last one in without asking whether it counts.
    #[derive(Default)]
    struct Shortcut;
    impl Break for Shortcut {
        fn counted(&self, history: &RightsHistory, within: &NodeSet, _: &dyn Chains) -> NodeSet {
            let counts = |at: &NodeIx| history.nodes()[*at].op != RightsOp::Merge;
            within.iter().filter(counts).collect()
        }

        fn counted_with_last(
            &self,
            history: &RightsHistory,
            counted: &NodeSet,
            _before: &RightsTable,
            _chains: &dyn Chains,
        ) -> NodeSet {
            let mut counted = counted.clone();
            counted.insert(history.nodes().len() - 1);
            counted
        }
    }
    assert!(catches::<Shortcut>("what_counts_with_one_more_is_what_counts_of_all"));
}

#[test]
fn a_reader_that_trusts_its_bytes_is_caught() {
    #[derive(Default)]
    struct Trusting;
    impl Break for Trusting {
        fn decode(&self, body: &[u8]) -> Result<RightsOp> {
            let text = std::str::from_utf8(body).expect("text");
            Ok(serde_json::from_str(text).expect("an operation"))
        }
    }
    assert!(catches::<Trusting>("hostile_bytes_are_refused_or_canonical"));
    assert!(catches::<Trusting>("every_cut_and_every_flipped_bit_is_refused_or_canonical"));
}

#[test]
fn several_ways_to_write_one_thing_are_caught() {
    #[derive(Default)]
    struct Lenient;
    impl Break for Lenient {
        fn decode(&self, body: &[u8]) -> Result<RightsOp> {
            let body: &[u8] = match body.split_last() {
                Some((0, rest)) => rest,
                _ => body,
            };
            Reference.decode(body)
        }
    }
    assert!(catches::<Lenient>("every_cut_and_every_flipped_bit_is_refused_or_canonical"));
}

#[test]
fn what_is_lost_on_the_way_is_caught() {
    /// Forgets what is kept.
    #[derive(Default)]
    struct Forgets;
    impl Break for Forgets {
        fn encode(&self, op: &RightsOp) -> Result<Vec<u8>> {
            match op {
                RightsOp::Revoke { from, .. } => {
                    Reference.encode(&RightsOp::Revoke { from: *from, keep: vec![] })
                }
                other => Reference.encode(other),
            }
        }
    }
    assert!(catches::<Forgets>("operations_come_back_as_they_were_written"));
}

#[test]
fn bodies_without_a_limit_are_caught() {
    #[derive(Default)]
    struct Endless;
    impl Break for Endless {
        fn encode(&self, op: &RightsOp) -> Result<Vec<u8>> {
            Ok(serde_json::to_vec(op).expect("an operation is JSON"))
        }
    }
    assert!(catches::<Endless>("what_is_too_much_is_refused_with_its_limit"));
}

#[test]
fn grants_that_reach_further_than_they_say_are_caught() {
    /// What begins with a granted store's name is granted too.
    #[derive(Default)]
    struct Prefixes;
    impl Break for Prefixes {
        fn permits(&self, table: &RightsTable, deed: &Deed<'_>) -> Result<(), Denial> {
            let widened = |name: &String| match table.grant(&deed.author).map(|grant| &grant.stores) {
                Some(StoreScope::Only(names)) => {
                    names.iter().find(|granted| name.starts_with(*granted)).unwrap_or(name).clone()
                }
                _ => name.clone(),
            };
            let stores: Vec<String> = deed.stores.iter().map(widened).collect();
            Reference.permits(table, &Deed { stores: &stores, ..deed.clone() })
        }
    }
    let suite = Suite::new("broken", || Arc::new(Broken(Prefixes)));
    let failed: Vec<&str> = suite.failures().into_iter().map(|(name, _)| name).collect();
    assert_eq!(failed, ["a_grant_reaches_no_further_than_it_says"]);
}

#[test]
fn a_creator_of_any_seniority_is_caught() {
    #[derive(Default)]
    struct AnySeniority;
    impl Break for AnySeniority {
        fn permits(&self, table: &RightsTable, deed: &Deed<'_>) -> Result<(), Denial> {
            match deed.op {
                Some(RightsOp::Grant { to, grant, keep }) if deed.is_root => {
                    let grant = Grant { seniority: 0, ..grant.clone() };
                    let op = RightsOp::Grant { to: *to, grant, keep: keep.clone() };
                    Reference.permits(table, &Deed { op: Some(&op), ..deed.clone() })
                }
                _ => Reference.permits(table, deed),
            }
        }
    }
    assert!(catches::<AnySeniority>("a_tree_begins_with_its_creators_grant_and_no_other_way"));
}

#[test]
fn revocations_that_spare_operations_are_caught() {
    #[derive(Default)]
    struct SparesOperations;
    impl Break for SparesOperations {
        fn bites(&self, history: &RightsHistory, by: NodeIx, deed: &Deed<'_>, chains: &dyn Chains) -> bool {
            deed.op.is_none() && Reference.bites(history, by, deed, chains)
        }
    }
    assert!(catches::<SparesOperations>("what_a_revoked_key_writes_without_knowing_it_is_void"));
}

/// Whatever is admissible counts, but for merges.
fn without_merges(history: &RightsHistory, within: &NodeSet) -> NodeSet {
    within.iter().filter(|at| history.nodes()[*at].op != RightsOp::Merge).collect()
}

#[test]
fn answers_remembered_for_another_history_are_caught() {
    #[derive(Default)]
    struct NoMerges;
    impl Break for NoMerges {
        fn counted(&self, history: &RightsHistory, within: &NodeSet, _: &dyn Chains) -> NodeSet {
            without_merges(history, within)
        }
    }
    /// Remembers the last answer by the newest operation and the numbers asked for.
    #[derive(Default)]
    struct Remembers(Mutex<Option<(Id, NodeSet, NodeSet)>>);
    impl Break for Remembers {
        fn counted(&self, history: &RightsHistory, within: &NodeSet, _: &dyn Chains) -> NodeSet {
            let Some(newest) = history.nodes().last().map(|node| node.id) else { return NodeSet::default() };
            let mut last = self.0.lock().expect("nobody panics with it");
            match &*last {
                Some((id, of, counted)) if *id == newest && of == within => counted.clone(),
                _ => {
                    let counted = without_merges(history, within);
                    *last = Some((newest, within.clone(), counted.clone()));
                    counted
                }
            }
        }
    }
    assert!(!catches::<NoMerges>("the_order_of_arrival_decides_nothing"));
    assert!(catches::<Remembers>("the_order_of_arrival_decides_nothing"));
}

#[test]
fn a_kind_without_a_version_is_caught() {
    #[derive(Default)]
    struct Unversioned;
    impl Break for Unversioned {
        fn kind(&self) -> &'static str {
            "reference"
        }
    }
    assert!(catches::<Unversioned>("the_kind_names_its_version_and_stays"));
}
