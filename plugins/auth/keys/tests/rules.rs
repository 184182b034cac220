//! The rules of `keys/1`, one behaviour per test. Key 0 begins the tree; clocks and ids are the worlds' own.

mod support;

use eidetica_auth_keys::Keys;
use eidetica_kernel::PublicKey;
use eidetica_kernel::auth::{AuthPolicy, Permission, RightsOp};
use support::world::{
    Draft, ROOT, admin, admit, begun, key, only, read, revoke, revoke_all, salted, to, to_all, write,
};

// Rule 1: what is admissible.

#[test]
fn only_a_root_that_grants_itself_everything_vouches_for_itself() {
    let policy = Keys::new();
    let world = begun();
    let root = world.deed(ROOT);
    assert!(policy.permits(&Default::default(), &root).is_ok());
    for op in
        [to(0, admin(1)), to(0, write(0)), to(1, admin(0)), to_all(admin(0)), revoke(0), RightsOp::Merge]
    {
        assert!(policy.permits(&Default::default(), &with_op(&root, &op)).is_err(), "{op:?}");
    }
    for op in [to(0, only(admin(0), &["notes"])), world.keeping(to(0, admin(0)), &[ROOT])] {
        assert!(policy.permits(&Default::default(), &with_op(&root, &op)).is_err(), "{op:?}");
    }
    let mut without = root.clone();
    without.op = None;
    assert!(policy.permits(&Default::default(), &without).is_err());
    let mut not_root = root;
    not_root.is_root = false;
    assert!(policy.permits(&Default::default(), &not_root).is_err());
}

fn with_op<'a>(deed: &eidetica_kernel::auth::Deed<'a>, op: &'a RightsOp) -> eidetica_kernel::auth::Deed<'a> {
    eidetica_kernel::auth::Deed { op: Some(op), ..deed.clone() }
}

#[test]
fn a_key_without_a_grant_can_do_nothing() {
    let mut world = begun();
    assert!(world.try_write(1, &[ROOT], "notes").is_err());
    assert!(world.try_op(1, &[ROOT], to(1, read(9))).is_err());
    assert!(world.try_op(1, &[ROOT], RightsOp::Merge).is_err());
}

#[test]
fn a_reader_cannot_write() {
    let mut world = begun();
    let granted = world.op(0, &[ROOT], to(1, read(9)));
    assert!(world.try_write(1, &[granted], "notes").is_err());
    assert!(world.try_op(1, &[granted], RightsOp::Merge).is_err());
    let empty = Draft { parents: vec![granted], ..Draft::default() };
    assert!(world.add(1, empty).is_err());
    assert!(world.policy.may_read(&world.table(), &key(1)));
}

#[test]
fn a_writer_writes_only_the_stores_in_its_scope() {
    let mut world = begun();
    let granted = world.op(0, &[ROOT], to(1, only(write(9), &["notes"])));
    assert!(world.try_write(1, &[granted], "notes").is_ok());
    assert!(world.try_write(1, &[granted], "plans").is_err());
    assert!(world.try_write(1, &[granted], "notes2").is_err());
}

#[test]
fn one_forbidden_store_refuses_the_whole_entry() {
    let mut world = begun();
    let granted = world.op(0, &[ROOT], to(1, only(write(9), &["notes"])));
    let stores = vec!["notes".to_owned(), "plans".to_owned()];
    assert!(world.add(1, Draft { parents: vec![granted], stores, ..Draft::default() }).is_err());
}

#[test]
fn system_stores_need_admin() {
    let mut world = begun();
    let writer = world.op(0, &[ROOT], to(1, write(9)));
    let admins = world.op(0, &[writer], to(2, only(admin(9), &["notes"])));
    for store in ["_settings", "_other"] {
        assert!(world.try_write(1, &[writer], store).is_err());
        assert!(world.try_write(2, &[admins], store).is_ok());
    }
    assert!(world.try_write(2, &[admins], "plans").is_err());
    // A rights store without an operation says nothing that could be judged.
    assert!(world.try_write(2, &[admins], "_rights").is_err());
}

#[test]
fn a_writer_cannot_change_rights_but_may_merge() {
    let mut world = begun();
    let granted = world.op(0, &[ROOT], to(1, write(9)));
    assert!(world.try_op(1, &[granted], to(2, read(99))).is_err());
    assert!(world.try_op(1, &[granted], revoke(1)).is_err());
    let before = world.table();
    let merge = world.op(1, &[granted], RightsOp::Merge);
    assert_eq!(world.table(), before);
    assert!(world.stands(merge));
}

#[test]
fn an_admin_creates_nothing_more_senior_than_itself() {
    let mut world = begun();
    let granted = world.op(0, &[ROOT], to(1, admin(5)));
    assert!(world.try_op(1, &[granted], to(2, read(4))).is_err());
    assert!(world.try_op(1, &[granted], to_all(read(4))).is_err());
    assert!(world.try_op(1, &[granted], to(2, admin(5))).is_ok());
}

#[test]
fn an_admin_gives_no_store_that_it_does_not_hold() {
    let mut world = begun();
    let granted = world.op(0, &[ROOT], to(1, only(admin(5), &["notes", "plans"])));
    assert!(world.try_op(1, &[granted], to(2, write(9))).is_err());
    assert!(world.try_op(1, &[granted], to(1, admin(5))).is_err());
    assert!(world.try_op(1, &[granted], to(2, only(write(9), &["notes", "other"]))).is_err());
    assert!(world.try_op(1, &[granted], to(2, only(write(9), &["plans"]))).is_ok());
}

#[test]
fn equals_cannot_revoke_each_other() {
    let mut world = begun();
    let one = world.op(0, &[ROOT], to(1, admin(5)));
    let two = world.op(0, &[one], to(2, admin(5)));
    assert!(world.try_op(1, &[two], revoke(2)).is_err());
    assert!(world.try_op(2, &[two], to(1, read(9))).is_err());
    // Who isn't an Admin is no equal, whatever its number.
    let three = world.op(0, &[two], to(3, write(5)));
    assert!(world.try_op(1, &[three], revoke(3)).is_ok());
}

#[test]
fn a_junior_admin_cannot_touch_a_senior_key() {
    let mut world = begun();
    let one = world.op(0, &[ROOT], to(1, admin(5)));
    let two = world.op(0, &[one], to(2, read(4)));
    for op in [revoke(2), to(2, write(9)), revoke(0), to(0, read(9))] {
        assert!(world.try_op(1, &[two], op.clone()).is_err(), "{op:?}");
    }
}

#[test]
fn an_admin_may_lower_or_give_up_its_own_right_but_not_raise_it() {
    let mut world = begun();
    let one = world.op(0, &[ROOT], to(1, admin(5)));
    assert!(world.try_op(1, &[one], to(1, admin(4))).is_err());
    let lowered = world.op(1, &[one], to(1, write(7)));
    assert_eq!(world.grant_of(1), Some(write(7)));
    assert!(world.try_op(1, &[lowered], to(1, admin(7))).is_err());
    let gone = world.op(0, &[lowered], revoke(0));
    assert_eq!(world.grant_of(0), None);
    assert!(world.stands(ROOT), "nothing voids the root");
    assert!(world.try_op(0, &[gone], to(0, admin(0))).is_err());
}

#[test]
fn a_right_given_to_everybody_is_no_shield_for_one_key() {
    let mut world = begun();
    let all = world.op(0, &[ROOT], to_all(write(0)));
    let one = world.op(0, &[all], to(1, admin(5)));
    let banned = world.op(1, &[one], revoke(2));
    assert!(world.try_write(2, &[banned], "notes").is_err(), "a revocation doesn't fall back on *");
    assert!(!world.policy.may_read(&world.table(), &key(2)));
    assert!(world.try_op(1, &[one], revoke_all()).is_err(), "* itself is more senior");
}

#[test]
fn admit_key_cannot_exceed_its_cap() {
    let mut world = begun();
    let cap = world.op(0, &[ROOT], to(1, admit(Permission::Write, 50, 10)));
    let tries = [
        to(2, admin(100)),
        to(2, admit(Permission::Read, 100, 100)),
        to(2, write(49)),
        to_all(read(100)),
        revoke(2),
        to(0, read(100)),
    ];
    for op in tries {
        assert!(world.try_op(1, &[cap], op.clone()).is_err(), "{op:?}");
    }
    assert!(world.try_write(1, &[cap], "notes").is_err());
    assert!(world.try_op(1, &[cap], to(2, write(50))).is_ok());
}

#[test]
fn an_admit_key_admits_strictly_junior_keys_whatever_its_minimum() {
    let mut world = begun();
    let cap = world.op(0, &[ROOT], to(1, admit(Permission::Write, 0, 10)));
    assert!(world.try_op(1, &[cap], to(2, write(10))).is_err());
    assert!(world.try_op(1, &[cap], to(2, write(11))).is_ok());
    let last = world.op(0, &[cap], to(3, admit(Permission::Write, 0, u32::MAX)));
    assert!(world.try_op(3, &[last], to(4, write(u32::MAX))).is_err());
}

#[test]
fn an_admission_touches_only_the_rights_store() {
    let mut world = begun();
    let cap = world.op(0, &[ROOT], to(1, admit(Permission::Write, 50, 10)));
    for store in ["notes", "_settings"] {
        let stores = vec!["_rights".to_owned(), store.to_owned()];
        let op = Some(to(2, write(50)));
        assert!(world.add(1, Draft { parents: vec![cap], stores, op, ..Draft::default() }).is_err());
    }
}

#[test]
fn an_admission_only_adds() {
    let mut world = begun();
    let cap = world.op(0, &[ROOT], to(1, admit(Permission::Write, 50, 10)));
    let lesser = world.op(0, &[cap], to(2, read(60)));
    assert!(world.try_op(1, &[lesser], to(2, write(60))).is_ok());
    assert!(world.try_op(1, &[lesser], to(2, write(61))).is_err(), "it would lose seniority");
    assert!(
        world.try_op(1, &[lesser], to(2, only(write(60), &["notes"]))).is_ok(),
        "a reader's stores say nothing"
    );
    let more = world.op(0, &[cap], to(3, write(60)));
    assert!(world.try_op(1, &[more], to(3, read(60))).is_err());
    assert!(world.try_op(1, &[more], to(3, only(write(60), &["notes"]))).is_err());
    let all = world.op(0, &[cap], to_all(write(0)));
    assert!(world.try_op(1, &[all], to(4, read(60))).is_err(), "everybody may write, it could not");
    assert!(world.try_op(1, &[all], to(4, write(60))).is_ok());
}

#[test]
fn an_admit_key_cannot_readmit_who_was_revoked() {
    let mut world = begun();
    let cap = world.op(0, &[ROOT], to(1, admit(Permission::Write, 50, 10)));
    let gone = world.op(0, &[cap], revoke(2));
    assert!(world.try_op(1, &[gone], to(2, read(60))).is_err());
    assert!(world.try_op(0, &[gone], to(2, read(60))).is_ok());
}

// Rule 2: what counts.

#[test]
fn revoked_key_cannot_write_from_an_old_branch() {
    let mut world = begun();
    let granted = world.op(0, &[ROOT], to(1, write(9)));
    let before = world.write(1, &[granted]);
    let gone = world.op(0, &[before], world.keeping(revoke(1), &[before]));
    assert!(world.try_write(1, &[gone], "notes").is_err());
    let old_branch = world.write(1, &[granted]);
    assert!(world.stands(before));
    assert!(!world.stands(old_branch));
}

#[test]
fn keep_heads_stand_and_everything_else_is_void() {
    let mut world = begun();
    let granted = world.op(0, &[ROOT], to(1, write(9)));
    let first = world.write(1, &[granted]);
    let second = world.write(1, &[first]);
    let stolen = world.write(1, &[second]);
    let forked = Draft {
        parents: vec![first],
        stores: vec!["notes".to_owned()],
        prev: Some(Some(first)),
        ..Draft::default()
    };
    let forked = world.add(1, forked).expect("admissible");
    let gone = world.keeping(revoke(1), &[second]);
    world.op(0, &[stolen], gone);
    assert!(world.stands(first) && world.stands(second));
    assert!(!world.stands(stolen), "in the revocation's past, but not kept");
    assert!(!world.stands(forked), "as long a chain, but another");
}

#[test]
fn a_later_revocation_does_not_restore_but_a_later_grant_does() {
    let mut world = begun();
    let granted = world.op(0, &[ROOT], to(1, write(9)));
    let void = world.write(1, &[granted]);
    let gone = world.op(0, &[granted], revoke(1));
    let again = world.op(0, &[gone], to(1, write(9)));
    let after = world.write(1, &[again]);
    assert!(!world.stands(void));
    assert!(world.stands(after));
}

#[test]
fn concurrent_revocations_the_senior_wins() {
    let mut world = begun();
    let one = world.op(0, &[ROOT], to(1, admin(1)));
    let two = world.op(0, &[one], to(2, admin(2)));
    let three = world.op(0, &[two], to(3, write(3)));
    let senior = world.op(1, &[three], revoke(2));
    let junior = world.op(2, &[three], revoke(3));
    assert!(world.stands(senior) && !world.stands(junior));
    assert_eq!(world.grant_of(2), None);
    assert_eq!(world.grant_of(3), Some(write(3)));
}

#[test]
fn a_revoked_revokers_victim_is_restored() {
    let mut world = begun();
    let one = world.op(0, &[ROOT], to(1, admin(1)));
    let two = world.op(0, &[one], to(2, admin(2)));
    let three = world.op(0, &[two], to(3, admin(3)));
    let theirs = world.op(3, &[three], to(4, write(9)));
    let revoker = world.op(2, &[three], revoke(3));
    assert!(!world.stands(theirs));
    world.op(1, &[three], revoke(2));
    assert!(!world.stands(revoker));
    assert!(world.stands(theirs));
}

#[test]
fn a_demoted_admins_concurrent_grants_are_void() {
    let mut world = begun();
    let one = world.op(0, &[ROOT], to(1, admin(5)));
    let before = world.op(1, &[one], to(2, write(9)));
    let during = world.op(1, &[before], to(3, write(9)));
    let written = world.write(3, &[during]);
    let demoted = world.keeping(to(1, write(5)), &[before]);
    world.op(0, &[before], demoted);
    assert!(world.stands(before));
    assert!(!world.stands(during), "an Admin's deed, concurrent with the demotion");
    assert!(!world.stands(written), "it rests on a grant that is void");
    let data = world.write(1, &[before]);
    assert!(world.stands(data), "what a writer may do stands");
}

#[test]
fn a_narrowed_scope_voids_only_what_it_removes() {
    let mut world = begun();
    let one = world.op(0, &[ROOT], to(1, write(5)));
    let notes = world.try_write(1, &[one], "notes").expect("admissible");
    let plans = world.try_write(1, &[one], "plans").expect("admissible");
    world.op(0, &[one], to(1, only(write(5), &["notes"])));
    assert!(world.stands(notes) && !world.stands(plans));
}

#[test]
fn a_widening_grant_voids_nothing() {
    let mut world = begun();
    let one = world.op(0, &[ROOT], to(1, only(write(5), &["notes"])));
    let notes = world.write(1, &[one]);
    world.op(0, &[one], to(1, admin(3)));
    assert!(world.stands(notes));
}

#[test]
fn what_rests_on_a_void_grant_is_void_through_any_number_of_keys() {
    let mut world = begun();
    let start = world.op(0, &[ROOT], to(1, admin(1)));
    let mut tip = start;
    for n in 1..6_u8 {
        tip = world.op(n, &[tip], to(n + 1, admin(u32::from(n) + 1)));
    }
    let leaf = world.write(6, &[tip]);
    assert!(world.stands(leaf));
    world.op(0, &[start], revoke(1));
    assert!(!world.stands(tip) && !world.stands(leaf));
    assert_eq!(world.counted().iter().count(), 3);
}

#[test]
fn a_self_grant_does_not_outlive_what_it_rests_on() {
    let mut world = begun();
    let one = world.op(0, &[ROOT], to(1, admin(5)));
    let own = world.op(1, &[one], to(1, admin(5)));
    let later = world.op(1, &[own], to(2, write(9)));
    world.op(0, &[one], revoke(1));
    assert!(!world.stands(own) && !world.stands(later));
    assert_eq!(world.grant_of(1), None);
}

#[test]
fn a_fast_clock_wins_nothing() {
    for fast in [(0, 1_000_000), (1_000_000, 0)] {
        let mut world = begun();
        let one = world.op(0, &[ROOT], to(1, admin(1)));
        let two = world.op(0, &[one], to(2, write(9)));
        let draft = |parents: usize, op: RightsOp, fast: u64| Draft {
            parents: vec![parents],
            stores: vec!["_rights".to_owned()],
            op: Some(op),
            fast,
            ..Draft::default()
        };
        let gone = world.add(0, draft(two, revoke(2), fast.0)).expect("admissible");
        let more = world.add(1, draft(two, to(2, admin(9)), fast.1)).expect("admissible");
        assert!(world.stands(gone) && world.stands(more));
        assert_eq!(world.grant_of(2), None, "the creator is more senior");
    }
}

#[test]
fn star_revocation_spares_its_past() {
    let mut world = begun();
    let all = world.op(0, &[ROOT], to_all(write(100)));
    let before = world.write(7, &[all]);
    let merge = world.op(8, &[all], RightsOp::Merge);
    let gone = world.op(0, &[before, merge], revoke_all());
    let old_branch = world.write(7, &[all]);
    let old_merge = world.op(8, &[all], RightsOp::Merge);
    assert!(world.stands(before) && world.stands(merge));
    assert!(!world.stands(old_branch) && !world.stands(old_merge));
    assert!(world.try_write(7, &[gone], "notes").is_err());
}

#[test]
fn star_revocation_leaves_keys_with_their_own_grant_alone() {
    let mut world = begun();
    let all = world.op(0, &[ROOT], to_all(write(100)));
    let own = world.op(0, &[all], to(1, write(100)));
    let mine = world.write(1, &[own]);
    let star = world.write(2, &[own]);
    world.op(0, &[own], revoke_all());
    assert!(world.stands(mine) && !world.stands(star));
    assert_eq!(world.grant_of(1), Some(write(100)));
    assert_eq!(world.grant_of(2), None);
}

#[test]
fn narrowing_everybodys_right_voids_only_what_it_removes() {
    let mut world = begun();
    let all = world.op(0, &[ROOT], to_all(write(100)));
    let notes = world.try_write(7, &[all], "notes").expect("admissible");
    let plans = world.try_write(8, &[all], "plans").expect("admissible");
    world.op(0, &[all], to_all(only(write(100), &["notes"])));
    assert!(world.stands(notes) && !world.stands(plans));
}

#[test]
fn a_first_grant_below_everybodys_right_narrows() {
    let mut world = begun();
    let all = world.op(0, &[ROOT], to_all(write(100)));
    let written = world.write(7, &[all]);
    world.op(0, &[all], to(7, read(100)));
    assert!(!world.stands(written));
}

#[test]
fn void_entries_are_refused_nothing() {
    let mut world = begun();
    let one = world.op(0, &[ROOT], to(1, write(9)));
    world.op(0, &[one], revoke(1));
    // Admissible by its own past, for every replica alike; void where the revocation is held.
    let old_branch = world.try_write(1, &[one], "notes").expect("admissible");
    assert!(!world.stands(old_branch));
}

// Rule 3: who holds what.

#[test]
fn of_concurrent_grants_the_more_senior_authors_wins() {
    let mut world = begun();
    let one = world.op(0, &[ROOT], to(1, admin(1)));
    world.op(1, &[one], to(2, read(9)));
    world.op(0, &[one], to(2, admin(3)));
    assert_eq!(world.grant_of(2), Some(admin(3)));
}

#[test]
fn of_equally_senior_authors_the_more_restrictive_wins() {
    let ladder = [
        revoke(3),
        to(3, read(9)),
        to(3, admit(Permission::Read, 9, 9)),
        to(3, admit(Permission::Write, 20, 9)),
        to(3, admit(Permission::Write, 9, 9)),
        to(3, only(write(9), &["notes"])),
        to(3, only(write(9), &["plans"])),
        to(3, only(write(9), &["notes", "plans"])),
        to(3, write(9)),
        to(3, write(8)),
        to(3, admin(9)),
        to(3, admin(8)),
    ];
    for (n, pair) in ladder.windows(2).enumerate() {
        for order in [[0, 1], [1, 0]] {
            let mut world = salted(n as u64);
            let one = world.op(0, &[ROOT], to(1, admin(1)));
            let two = world.op(0, &[one], to(2, admin(1)));
            world.op(1, &[two], pair[order[0]].clone());
            world.op(2, &[two], pair[order[1]].clone());
            assert_eq!(world.grant_of(3).as_ref(), pair[0].grant(), "{:?}", pair[0]);
        }
    }
}

#[test]
fn a_later_operation_replaces_what_is_in_its_past() {
    let mut world = begun();
    let one = world.op(0, &[ROOT], to(1, admin(1)));
    let two = world.op(0, &[one], to(2, read(9)));
    world.op(1, &[two], to(2, write(9)));
    assert_eq!(world.grant_of(2), Some(write(9)), "even one by a more senior author");
}

#[test]
fn causality_passes_through_void_operations() {
    let mut world = begun();
    let one = world.op(0, &[ROOT], to(1, admin(5)));
    let old = world.op(0, &[one], to(3, admin(9)));
    let void = world.op(1, &[old], to(4, read(9)));
    let new = world.op(0, &[void], to(3, read(9)));
    world.op(0, &[one], revoke(1));
    assert!(!world.stands(void) && world.stands(new) && world.stands(old));
    assert_eq!(world.grant_of(3), Some(read(9)));
}

/// Key 3 acts when its demotion is void, and the demotion counts again once what voided it is void.
#[test]
fn an_author_ranks_by_its_own_past_whatever_counts_later() {
    let mut world = begun();
    let mut tip = ROOT;
    for (n, seniority) in [(1, 1), (2, 2), (3, 5), (4, 6)] {
        tip = world.op(0, &[tip], to(n, admin(seniority)));
    }
    let demotion = world.op(2, &[tip], to(3, admin(8)));
    let voiding = world.op(1, &[tip], revoke(2));
    let theirs = world.op(3, &[demotion, voiding], to(5, write(20)));
    let others = world.op(4, &[tip], to(5, write(30)));
    assert!(!world.stands(demotion));
    assert_eq!(world.grant_of(5), Some(write(20)), "5 is more senior than 6");

    let gone = world.op(0, &[tip], revoke(1));
    assert!(world.stands(demotion) && world.stands(theirs));
    assert_eq!(world.grant_of(5), Some(write(20)), "it acted as 5, and 8 is what it is now");

    let merge = world.op(5, &[theirs, others, gone], RightsOp::Merge);
    world.op(0, &[tip], revoke(4));
    assert!(!world.stands(others) && world.stands(merge), "it rested on what key 3 granted");
}

/// The same operations as above with a demotion that counts where key 3 acts.
#[test]
fn an_author_ranks_by_the_demotions_that_count_in_its_past() {
    let mut world = begun();
    let mut tip = ROOT;
    for (n, seniority) in [(1, 1), (2, 2), (3, 5), (4, 6)] {
        tip = world.op(0, &[tip], to(n, admin(seniority)));
    }
    let demotion = world.op(2, &[tip], to(3, admin(8)));
    let theirs = world.op(3, &[demotion], to(5, write(20)));
    let others = world.op(4, &[tip], to(5, write(30)));
    assert_eq!(world.grant_of(5), Some(write(30)), "6 is more senior than 8");
    let merge = world.op(5, &[theirs, others], RightsOp::Merge);
    world.op(0, &[tip], revoke(4));
    assert!(!world.stands(merge), "it rested on what key 4 granted");
}

#[test]
fn a_key_granted_on_a_merged_branch_may_act_where_something_is_void() {
    let mut world = begun();
    let one = world.op(0, &[ROOT], to(1, admin(1)));
    let two = world.op(0, &[one], to(2, admin(2)));
    let void = world.op(2, &[two], to(3, write(9)));
    let gone = world.op(1, &[two], revoke(2));
    let start = world.op(0, &[void, gone], RightsOp::Merge);
    let mut long = start;
    for n in 7..12 {
        long = world.op(0, &[long], to(n, write(9)));
    }
    let five = world.op(0, &[start], to(5, admin(5)));
    let six = world.op(5, &[five], to(6, admin(6)));
    let merge = world.op(6, &[long, six], to(12, write(9)));
    assert!(!world.stands(void) && world.stands(merge));
    assert_eq!(world.grant_of(12), Some(write(9)));
}

#[test]
fn merge_joins_heads_and_changes_nothing() {
    let mut world = begun();
    let one = world.op(0, &[ROOT], to(1, write(9)));
    let left = world.op(0, &[one], to(2, write(9)));
    let right = world.op(0, &[one], to(3, write(9)));
    let before = world.table();
    let merge = world.op(1, &[left, right], RightsOp::Merge);
    assert_eq!(world.table(), before);
    let heads = world.history.heads(&world.history.all());
    assert_eq!(heads, vec![world.entries[merge].id]);
}

#[test]
fn any_grant_lets_read_and_a_ban_does_not() {
    let mut world = begun();
    let stranger = PublicKey::from_bytes([9; 32]);
    assert!(!world.policy.may_read(&world.table(), &stranger));
    let one = world.op(0, &[ROOT], to(1, admit(Permission::Read, 9, 9)));
    assert!(world.policy.may_read(&world.table(), &key(1)));
    let all = world.op(0, &[one], to_all(read(100)));
    assert!(world.policy.may_read(&world.table(), &stranger));
    world.op(0, &[all], revoke(9));
    assert!(!world.policy.may_read(&world.table(), &stranger));
    assert!(world.policy.may_read(&world.table(), &key(8)));
}
