//! The bytes of operations: what was written comes back, anything else is refused with an error.

use eidetica_kernel::auth::{Grant, Grantee, Permission, Right, RightsOp, StoreScope};
use eidetica_kernel::entry::PAYLOAD_BYTES_MAX;
use eidetica_kernel::error::{Error, ErrorKind};
use eidetica_kernel::{Id, Result};

use super::random::random_op;
use super::suite::{Case, Setup};
use super::world::key;
use crate::check::{Outcome, ensure, fail};
use crate::store::Random;

pub(super) const CASES: &[Case] = &[
    Case::new("operations_come_back_as_they_were_written", "P5", round_trip),
    Case::new("hostile_bytes_are_refused_or_canonical", "P5", hostile),
    Case::new("every_cut_and_every_flipped_bit_is_refused_or_canonical", "P5", every_bit),
    Case::new("what_is_too_much_is_refused_with_its_limit", "P5", limits),
];

/// Refusals are of two kinds.
fn refused(error: &Error, what: &str) -> Outcome {
    ensure(matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::LimitExceeded), || {
        format!("{what} is refused with {:?}: {error}", error.kind())
    })
}

/// `true` if the body is read, and then it is what encoding its meaning gives.
fn canonical(read: Result<RightsOp>, body: &[u8], setup: &Setup) -> Outcome<bool> {
    match read {
        Ok(op) => match setup.policy().encode(&op) {
            Ok(again) if again == body => Ok(true),
            Ok(again) => fail(format!("{body:02x?} is read as {op:?}, which is written {again:02x?}")),
            Err(error) => fail(format!("{body:02x?} is read as {op:?}, which can't be written: {error}")),
        },
        Err(error) => refused(&error, "a body").map(|()| false),
    }
}

fn round_trip(setup: &Setup) -> Outcome {
    let policy = setup.policy();
    let world = setup.world(7, 30)?;
    let mut random = Random::new(7);
    let mut written = 0;
    for _ in 0..3_000 {
        let op = random_op(&mut random, &world, 6);
        match policy.encode(&op) {
            Ok(body) => {
                written += 1;
                ensure(policy.encode(&op).is_ok_and(|again| again == body), || {
                    format!("{op:?} is written in two ways")
                })?;
                ensure(policy.decode(&body).is_ok_and(|read| read == op), || {
                    format!("{op:?} comes back as {:?}", policy.decode(&body))
                })?;
            }
            Err(error) => refused(&error, &format!("{op:?}"))?,
        }
    }
    ensure(written > 1_000, || format!("only {written} of 3000 operations could be written"))
}

fn hostile(setup: &Setup) -> Outcome {
    let policy = setup.policy();
    let world = setup.world(8, 30)?;
    let mut random = Random::new(8);
    let mut read = 0;
    for _ in 0..20_000 {
        let Ok(mut body) = policy.encode(&random_op(&mut random, &world, 6)) else { continue };
        for _ in 0..random.below(4) {
            let at = random.below(body.len());
            match random.below(4) {
                0 => body[at] = random.bits() as u8,
                1 => body[at] ^= 1 << random.below(8),
                2 => body.truncate(at.max(1)),
                _ => body.insert(at, random.bits() as u8),
            }
        }
        read += usize::from(canonical(policy.decode(&body), &body, setup)?);
    }
    ensure(read > 1_000, || format!("only {read} of 20000 bodies were read"))?;
    let mut noise = vec![0; 4_096];
    for length in (0..256).chain([1_024, 4_096]) {
        random.fill(&mut noise);
        for body in [&noise[..length], &vec![0xff; length][..], &vec![0; length][..]] {
            canonical(policy.decode(body), body, setup)?;
        }
    }
    Ok(())
}

fn every_bit(setup: &Setup) -> Outcome {
    let policy = setup.policy();
    let id = |n: u8| Id::from_bytes([n; 32]);
    let grant = Grant {
        right: Right::Write,
        seniority: 300,
        stores: StoreScope::Only(vec!["notes".to_owned(), "plans".to_owned()]),
    };
    let ops = [
        RightsOp::Merge,
        RightsOp::Revoke { from: Grantee::Key(key(7)), keep: vec![id(1), id(2)] },
        RightsOp::Grant { to: Grantee::Anyone, grant, keep: vec![id(3)] },
    ];
    for op in ops {
        let body = policy.encode(&op)?;
        for cut in 0..body.len() {
            canonical(policy.decode(&body[..cut]), &body[..cut], setup)?;
        }
        let longer = [&body[..], &[0]].concat();
        ensure(!canonical(policy.decode(&longer), &longer, setup)?, || {
            format!("{op:?} with a byte behind it is read")
        })?;
        for bit in 0..body.len() * 8 {
            let mut flipped = body.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            canonical(policy.decode(&flipped), &flipped, setup)?;
        }
    }
    Ok(())
}

fn limits(setup: &Setup) -> Outcome {
    let policy = setup.policy();
    let ids = |count: u32| -> Vec<Id> {
        let id = |n: u32| {
            let mut bytes = [0; 32];
            bytes[..4].copy_from_slice(&n.to_be_bytes());
            Id::from_bytes(bytes)
        };
        (0..count).map(id).collect()
    };
    let names = |count: usize, bytes: usize| {
        StoreScope::Only((0..count).map(|n| format!("{n:06}{}", "x".repeat(bytes - 6))).collect())
    };
    let to_all = |stores, keep| RightsOp::Grant {
        to: Grantee::Anyone,
        grant: Grant {
            right: Right::Admit { cap: Permission::Admin, seniority_min: u32::MAX },
            seniority: u32::MAX,
            stores,
        },
        keep,
    };
    // More than a payload holds.
    let beyond = PAYLOAD_BYTES_MAX / 32 + 1;
    let ops = [
        to_all(StoreScope::All, ids(u32::try_from(beyond)?)),
        RightsOp::Revoke { from: Grantee::Key(key(1)), keep: ids(u32::try_from(beyond)?) },
        to_all(names(1, PAYLOAD_BYTES_MAX + 1), vec![]),
    ];
    for op in ops {
        match policy.encode(&op) {
            Ok(body) => return fail(format!("an operation of {} bytes is written", body.len())),
            Err(error) => ensure(error.kind() == ErrorKind::LimitExceeded, || {
                format!("an operation beyond a payload is refused with {:?}: {error}", error.kind())
            })?,
        }
    }
    // Whatever its limits are, they hold both ways.
    for count in [1, 16, 64, 65, 255, 256, 257, 1_000, 20_000] {
        let some = usize::try_from(count)?;
        for op in [to_all(StoreScope::All, ids(count)), to_all(names(some, 6), vec![])] {
            match policy.encode(&op) {
                Ok(body) => {
                    ensure(body.len() <= PAYLOAD_BYTES_MAX, || "a body is longer than a payload".to_owned())?;
                    ensure(policy.decode(&body).is_ok_and(|read| read == op), || {
                        format!("an operation of {count} parts is written and not read")
                    })?;
                }
                Err(error) => refused(&error, &format!("an operation of {count} parts"))?,
            }
        }
    }
    let endless = vec![0x01; PAYLOAD_BYTES_MAX + 1];
    match policy.decode(&endless) {
        Ok(op) => fail(format!("a body beyond a payload is read as {op:?}")),
        Err(error) => refused(&error, "a body beyond a payload"),
    }
}
