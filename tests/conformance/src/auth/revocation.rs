//! A revocation holds: afterwards, beside it, and no further than it says.

use std::collections::BTreeSet;

use eidetica_kernel::auth::{Grant, Grantee, Permission, RightsOp};

use super::suite::{Case, Setup};
use super::world::{Ix, ROOT, World, key};
use crate::check::{Outcome, ensure, fail};

pub(super) const CASES: &[Case] = &[
    Case::new("a_revoked_key_may_do_nothing_afterwards", "P7", afterwards),
    Case::new("what_a_revoked_key_writes_without_knowing_it_is_void", "P7", beside),
    Case::new("what_a_revocation_keeps_stands", "P7", kept),
    Case::new("a_revocation_takes_nothing_from_others", "P7", others),
    Case::new("a_key_that_is_granted_again_may_again", "P7", again),
];

fn grant(n: u8, permission: Permission) -> RightsOp {
    RightsOp::Grant { to: Grantee::Key(key(n)), grant: Grant::new(permission, 100), keep: vec![] }
}

fn revoke(n: u8) -> RightsOp {
    RightsOp::Revoke { from: Grantee::Key(key(n)), keep: vec![] }
}

/// A tree in which keys 1 and 2 may write, and where that was granted.
fn two_writers(setup: &Setup) -> Outcome<(World, Ix)> {
    let mut world = setup.begun()?;
    let first = world.op(0, &[ROOT], grant(1, Permission::Write));
    let granted = world.op(0, &[first], grant(2, Permission::Write));
    Ok((world, granted))
}

fn afterwards(setup: &Setup) -> Outcome {
    for permission in [Permission::Read, Permission::Write, Permission::Admin] {
        for everybody in [false, true] {
            let mut world = setup.begun()?;
            let mut tip = world.op(0, &[ROOT], grant(1, permission));
            if everybody {
                // A ban, though everybody may.
                let all = Grant::new(Permission::Write, 200);
                let all = RightsOp::Grant { to: Grantee::Anyone, grant: all, keep: vec![] };
                tip = world.op(0, &[tip], all);
            }
            let revoked = world.op(0, &[tip], revoke(1));
            ensure(world.stands(revoked), || "the creator's revocation doesn't count".to_owned())?;
            let ops = [revoke(2), grant(1, Permission::Admin), grant(3, Permission::Read), RightsOp::Merge];
            for op in ops {
                let tried = world.try_op(1, &[revoked], op.clone());
                ensure(tried.is_err(), || format!("a revoked key ({permission}) may make {op:?}"))?;
            }
            for store in ["notes", "_settings"] {
                let tried = world.try_write(1, &[revoked], store);
                ensure(tried.is_err(), || format!("a revoked key ({permission}) may write {store}"))?;
            }
            ensure(!world.policy.may_read(&world.table(), &key(1)), || "a revoked key may read".to_owned())?;
        }
    }
    Ok(())
}

fn beside(setup: &Setup) -> Outcome {
    let (mut world, granted) = two_writers(setup)?;
    let before = world.write(1, &[granted]);
    let revoked = world.op(0, &[granted], revoke(1));
    // From an old branch, before and after the revocation has arrived; as deep as one likes.
    let mut late = world.write(1, &[granted]);
    let mut entries = vec![before, late];
    for _ in 0..4 {
        late = world.write(1, &[late]);
        entries.push(late);
    }
    for ix in entries {
        ensure(!world.stands(ix), || {
            format!("entry {ix} of a revoked key stands, though the revocation keeps nothing")
        })?;
        let node = world.entries[revoked].node.unwrap_or_default();
        ensure(world.bites(node, ix), || format!("the revocation doesn't bite entry {ix}"))?;
    }
    // What it does to rights, and merges, are entries as well.
    let behind = world.entries[granted].past.iter().copied().chain([granted]).collect::<BTreeSet<Ix>>();
    for op in [grant(3, Permission::Read), revoke(2), RightsOp::Merge] {
        let forced = world.force(1, behind.clone(), vec!["_rights".to_owned()], Some(op.clone()));
        let node = world.entries[revoked].node.unwrap_or_default();
        ensure(world.bites(node, forced), || {
            format!("the revocation doesn't bite {op:?} by the revoked key")
        })?;
    }
    ensure(world.stands(granted) && world.stands(ROOT), || "the creator's own entries are void".to_owned())
}

fn kept(setup: &Setup) -> Outcome {
    let (mut world, granted) = two_writers(setup)?;
    let first = world.write(1, &[granted]);
    let second = world.write(1, &[first]);
    let third = world.write(1, &[second]);
    let op = world.keeping(revoke(1), &[second]);
    let revoked = world.op(0, &[granted], op);
    ensure(world.stands(revoked), || "the creator's revocation doesn't count".to_owned())?;
    for (ix, stands) in [(first, true), (second, true), (third, false)] {
        ensure(world.stands(ix) == stands, || {
            format!("the {}th entry of the chain, of which 2 are kept: stands is {}", ix - granted, !stands)
        })?;
    }
    Ok(())
}

fn others(setup: &Setup) -> Outcome {
    let (mut world, granted) = two_writers(setup)?;
    let theirs = world.write(1, &[granted]);
    let mine = world.write(2, &[granted]);
    let above = world.write(2, &[theirs]);
    let revoked = world.op(0, &[granted], revoke(1));
    for ix in [mine, above] {
        ensure(world.stands(ix), || format!("entry {ix} of another key is void"))?;
    }
    let later = world.try_write(2, &[revoked, mine, above], "notes");
    let Ok(later) = later else { return fail("another key may not write any more") };
    ensure(world.stands(later), || "what another key writes later is void".to_owned())?;
    ensure(world.policy.may_read(&world.table(), &key(2)), || "another key may not read any more".to_owned())
}

fn again(setup: &Setup) -> Outcome {
    let (mut world, granted) = two_writers(setup)?;
    let revoked = world.op(0, &[granted], revoke(1));
    let back = world.op(0, &[revoked], grant(1, Permission::Write));
    let Ok(note) = world.try_write(1, &[back], "notes") else {
        return fail("a key that was granted again may not write");
    };
    ensure(world.stands(note), || "what a key writes that was granted again is void".to_owned())?;
    let old = world.try_write(1, &[revoked], "notes");
    ensure(old.is_err(), || "the grant reaches back to before it was made".to_owned())?;
    ensure(world.policy.may_read(&world.table(), &key(1)), || {
        "a key that was granted again may not read".to_owned()
    })
}
