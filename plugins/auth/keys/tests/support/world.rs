//! Trees judged by `keys/1`, and short names for grants and operations.

use std::sync::Arc;

use eidetica_auth_keys::Keys;
use eidetica_kernel::auth::{Grant, Grantee, Permission, Right, RightsOp, StoreScope};

pub use eidetica_conformance::auth::{Draft, Ix, ROOT, World, key};

/// A tree begun by key 0.
pub fn begun() -> World {
    salted(1)
}

/// The same with other ids.
pub fn salted(salt: u64) -> World {
    World::new(Arc::new(Keys::new()), salt).expect("the root vouches for itself")
}

/// A random tree.
pub fn random_world(seed: u64, entries: usize) -> World {
    eidetica_conformance::auth::random_world(Arc::new(Keys::new()), seed, entries)
        .expect("the root vouches for itself")
}

pub fn admin(seniority: u32) -> Grant {
    Grant::new(Permission::Admin, seniority)
}

pub fn write(seniority: u32) -> Grant {
    Grant::new(Permission::Write, seniority)
}

pub fn read(seniority: u32) -> Grant {
    Grant::new(Permission::Read, seniority)
}

pub fn admit(cap: Permission, seniority_min: u32, seniority: u32) -> Grant {
    Grant { right: Right::Admit { cap, seniority_min }, seniority, stores: StoreScope::All }
}

pub fn only(grant: Grant, names: &[&str]) -> Grant {
    Grant { stores: StoreScope::Only(names.iter().map(|name| (*name).to_owned()).collect()), ..grant }
}

pub fn to(grantee: u8, grant: Grant) -> RightsOp {
    RightsOp::Grant { to: Grantee::Key(key(grantee)), grant, keep: vec![] }
}

pub fn to_all(grant: Grant) -> RightsOp {
    RightsOp::Grant { to: Grantee::Anyone, grant, keep: vec![] }
}

pub fn revoke(grantee: u8) -> RightsOp {
    RightsOp::Revoke { from: Grantee::Key(key(grantee)), keep: vec![] }
}

pub fn revoke_all() -> RightsOp {
    RightsOp::Revoke { from: Grantee::Anyone, keep: vec![] }
}
