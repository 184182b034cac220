//! Who may join: invites, and requests for rights.

use eidetica_kernel::auth::{Grant, Grantee, Permission, Right, RightsOp, SENIORITY_ADMITTED, StoreScope};
use eidetica_kernel::{Id, PublicKey, Result, SecretKey, Timestamp};

use super::engine::SyncEngine;
use super::messages::{Admit, AdmitAnswer, Admitted, List, Listed, ListedTree};
use super::records::{InviteRecord, Rows};
use super::requests;
use super::storage::ChannelFacts;
use crate::channel::verify_session_proof;
use crate::engine::tree::Tree;
use crate::instance::Inner;

/// Whether this node lets strangers in who ask for rights without an invite. Each node's own choice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Admission {
    /// Nobody.
    Deny,
    /// Whom a person lets in.
    #[default]
    Manual,
    /// Everybody who asks for at most this, where the node's own key may admit: an admin who is logged in lets it when it is needed
    /// first; until then requests wait for a person. Who asks for more is denied.
    Automatic {
        /// The most that is granted.
        cap: Permission,
    },
}

/// Trees that one [`Listed`] names at most.
const LISTED_MAX: usize = 256;
/// Bytes of a name that [`Listed`] gives at most.
const NAME_BYTES_MAX: usize = 128;
/// The tree id over which keys are proven to list trees.
pub(crate) const LIST_TREE: Id = Id::from_bytes([0; 32]);

/// Decides on a peer's request for rights.
pub(crate) fn decide(engine: &SyncEngine, facts: &ChannelFacts, admit: Admit) -> Admitted {
    let request = admit.request;
    let answer = try_decide(engine, facts, &admit).unwrap_or_else(|error| {
        tracing::warn!(peer = %facts.peer, %error, "a request for rights failed");
        AdmitAnswer::Denied
    });
    Admitted { request, answer }
}

fn try_decide(engine: &SyncEngine, facts: &ChannelFacts, admit: &Admit) -> Result<AdmitAnswer> {
    let inner = engine.inner()?;
    let key = admit.proof.key;
    let proven = verify_session_proof(
        &key,
        facts.role.other(),
        &facts.session_id,
        &admit.tree,
        &admit.proof.signature,
    );
    let Some(tree) = inner.trees.get(&admit.tree)?.filter(|_| proven) else { return Ok(AdmitAnswer::Denied) };
    if !inner.syncs(&admit.tree)? {
        return Ok(AdmitAnswer::Denied);
    }
    match &admit.invite {
        Some(secret) => redeem(&inner, &tree, &key, secret),
        None => match admit.permission {
            Some(wanted) => ask(engine, &inner, &tree, facts, admit, wanted),
            None => Ok(AdmitAnswer::Denied),
        },
    }
}

/// Decides on a request without an invite, by this node's admission; what isn't granted at once waits for a person.
fn ask(
    engine: &SyncEngine,
    inner: &Inner,
    tree: &Tree,
    facts: &ChannelFacts,
    admit: &Admit,
    wanted: Permission,
) -> Result<AdmitAnswer> {
    let key = admit.proof.key;
    let held = tree.table().get(&Grantee::Key(key)).cloned();
    let held = match held.map(|standing| standing.grant.map(|grant| grant.right.permission())) {
        // Revoked: only a grant brings it back.
        Some(None) => return Ok(AdmitAnswer::Denied),
        Some(held) => held,
        None => None,
    };
    if let Some(held) = held.filter(|held| *held >= wanted) {
        return Ok(AdmitAnswer::Granted(held));
    }
    match engine.admission() {
        Admission::Deny => return Ok(AdmitAnswer::Denied),
        // Nothing less is granted in its place, and nobody is asked.
        Admission::Automatic { cap } if wanted > cap => return Ok(AdmitAnswer::Denied),
        Admission::Automatic { cap } if may_admit(inner, tree, cap)? => {
            self::admit(tree, &inner.identity, &key, wanted)?;
            inner.backend.flush()?;
            return Ok(AdmitAnswer::Granted(wanted));
        }
        Admission::Manual | Admission::Automatic { .. } => {}
    }
    requests::queue(inner, &facts.peer, admit, wanted, held)
}

/// Whether the node's own key may admit up to `cap`; if it isn't let yet, an admin who is logged in lets it.
fn may_admit(inner: &Inner, tree: &Tree, cap: Permission) -> Result<bool> {
    if device_admits(inner, tree, cap) {
        return Ok(true);
    }
    let is_admin = |key: &PublicKey| {
        tree.table().grant(key).is_some_and(|grant| grant.right.permission() == Permission::Admin)
    };
    match inner.sessions().iter().rev().find_map(|session| session.key(is_admin)) {
        Some(admin) => enable(inner, tree, &admin, cap).map(|()| true),
        None => Ok(false),
    }
}

/// Uses an invite up by one, and admits the key.
fn redeem(inner: &Inner, tree: &Tree, key: &PublicKey, secret: &[u8; 16]) -> Result<AdmitAnswer> {
    let rows = Rows(&*inner.backend);
    let now = inner.runtime.context.clock.wall();
    let held = tree.table().get(&Grantee::Key(*key)).cloned();
    if held.as_ref().is_some_and(|standing| standing.grant.is_none()) {
        // Revoked: no invite brings a key back.
        return Ok(AdmitAnswer::Denied);
    }
    let held = held.and_then(|standing| standing.grant).map(|grant| grant.right.permission());
    enum Found {
        Use(Permission),
        Admitted(Permission),
        Answer(AdmitAnswer),
    }
    let found = rows.change_invite(secret, |record| {
        if record.as_ref().is_none_or(|record| record.tree != tree.id) {
            // As for a database that isn't here: a guess tells nothing.
            return Ok((record, Found::Answer(AdmitAnswer::Denied)));
        }
        let Some(record) = record else { return Ok((None, Found::Answer(AdmitAnswer::Denied))) };
        // Joining again with an admitted key succeeds, and uses nothing up.
        if let Some(held) = held.filter(|held| *held >= record.permission) {
            return Ok((Some(record), Found::Admitted(held)));
        }
        if record.expires.is_some_and(|expires| expires <= now) {
            return Ok((Some(record), Found::Answer(AdmitAnswer::InviteExpired)));
        }
        if record.uses_left == Some(0) {
            return Ok((Some(record), Found::Answer(AdmitAnswer::InviteSpent)));
        }
        let permission = record.permission;
        let uses_left = record.uses_left.map(|uses| uses - 1);
        Ok((Some(InviteRecord { uses_left, ..record }), Found::Use(permission)))
    })?;
    let permission = match found {
        Found::Answer(answer) => return Ok(answer),
        Found::Admitted(held) => return Ok(AdmitAnswer::Granted(held)),
        Found::Use(permission) => permission,
    };
    let admitted = admit(tree, &inner.identity, key, permission);
    if let Err(error) = admitted {
        rows.change_invite(secret, |record| {
            let given_back = |record: InviteRecord| InviteRecord {
                uses_left: record.uses_left.map(|uses| uses + 1),
                ..record
            };
            Ok((record.map(given_back), ()))
        })?;
        return Err(error);
    }
    inner.backend.flush()?;
    Ok(AdmitAnswer::Granted(permission))
}

/// Grants a key what a request asked for, signed by a key that may admit.
pub(crate) fn admit(tree: &Tree, signer: &SecretKey, key: &PublicKey, permission: Permission) -> Result<()> {
    let own = tree.table().grant(&signer.public_key()).map_or(0, |grant| grant.seniority);
    let grant = Grant {
        right: permission.into(),
        seniority: SENIORITY_ADMITTED.max(own.saturating_add(1)),
        stores: StoreScope::All,
    };
    let op = RightsOp::Grant { to: Grantee::Key(*key), grant, keep: tree.chain_heads(key)? };
    let admitted = tree.commit(signer, &[], Some(&op), None, None).map(drop);
    if admitted.is_err() {
        // It may have been written all the same, or what follows from it have failed.
        tree.refresh()?;
        let held = tree.table().grant(key).map(|grant| grant.right.permission());
        if held.is_some_and(|held| held >= permission) {
            return Ok(());
        }
    }
    admitted
}

/// Lets the node's own key admit others up to `cap`, signed by an admin's key.
pub(crate) fn enable(inner: &Inner, tree: &Tree, admin: &SecretKey, cap: Permission) -> Result<()> {
    if device_admits(inner, tree, cap) {
        return Ok(());
    }
    let device = inner.identity.public_key();
    let table = tree.table();
    let own = table.grant(&admin.public_key()).map_or(0, |grant| grant.seniority);
    // Strictly junior to the admin, and strictly senior to those it admits.
    let seniority = own.saturating_add(SENIORITY_ADMITTED / 2);
    let grant = Grant {
        right: Right::Admit { cap, seniority_min: own.saturating_add(SENIORITY_ADMITTED) },
        seniority,
        stores: StoreScope::All,
    };
    let op = RightsOp::Grant { to: Grantee::Key(device), grant, keep: tree.chain_heads(&device)? };
    tree.commit(admin, &[], Some(&op), None, None)?;
    inner.backend.flush()
}

fn device_admits(inner: &Inner, tree: &Tree, cap: Permission) -> bool {
    let device = Grantee::Key(inner.identity.public_key());
    let table = tree.table();
    let held = table.get(&device).and_then(|standing| standing.grant.as_ref());
    held.is_some_and(|grant| match grant.right {
        Right::Admin => true,
        Right::Admit { cap: held, .. } => held >= cap,
        Right::Read | Right::Write => false,
    })
}

/// Makes an invite, and returns its secret.
pub(crate) fn invite(
    inner: &Inner,
    tree: &Tree,
    permission: Permission,
    expires: Option<Timestamp>,
    uses: Option<u32>,
) -> Result<[u8; 16]> {
    let secret: [u8; 16] = inner.runtime.context.rng.array();
    let created = inner.runtime.context.clock.wall();
    let record = InviteRecord { tree: tree.id, permission, created, expires, uses_left: uses };
    Rows(&*inner.backend).change_invite(&secret, |_| Ok((Some(record.clone()), ())))?;
    inner.backend.flush()?;
    Ok(secret)
}

/// The trees that the proven keys may read.
pub(crate) fn list(engine: &SyncEngine, facts: &ChannelFacts, list: List) -> Listed {
    let (trees, more) = try_list(engine, facts, &list).unwrap_or_else(|error| {
        tracing::warn!(peer = %facts.peer, %error, "listing databases failed");
        (Vec::new(), false)
    });
    Listed { request: list.request, trees, more }
}

fn try_list(engine: &SyncEngine, facts: &ChannelFacts, list: &List) -> Result<(Vec<ListedTree>, bool)> {
    let inner = engine.inner()?;
    let keys: Vec<PublicKey> = list
        .proofs
        .iter()
        .filter(|proof| {
            let theirs = facts.role.other();
            verify_session_proof(&proof.key, theirs, &facts.session_id, &LIST_TREE, &proof.signature)
        })
        .map(|proof| proof.key)
        .collect();
    let mut trees = Vec::new();
    for id in inner.trees.ids()? {
        let Some(tree) = inner.trees.get(&id)? else { continue };
        if !keys.iter().any(|key| tree.may_read(key)) || !inner.syncs(&id)? {
            continue;
        }
        if trees.len() >= LISTED_MAX {
            return Ok((trees, true));
        }
        let head = tree.head();
        let name = inner.database_name(&tree)?.filter(|name| name.len() <= NAME_BYTES_MAX);
        trees.push(ListedTree { tree: id, name, entries: head.entries(), last_modified: head.clock.time() });
    }
    Ok((trees, false))
}
