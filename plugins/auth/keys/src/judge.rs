//! Rule 1: what a grant lets its holder do.

use eidetica_kernel::auth::{Deed, Denial, Grant, Grantee, Right, RightsOp, RightsTable, StoreScope};
use eidetica_kernel::entry::RIGHTS_STORE;

/// Whether `table` lets the entry be.
pub(crate) fn permits(table: &RightsTable, deed: &Deed<'_>) -> Result<(), Denial> {
    if deed.is_root {
        return if vouches_for_itself(deed) {
            Ok(())
        } else {
            deny(deed, "begins a tree without granting itself Admin, seniority 0, on all stores")
        };
    }
    match table.standing(&deed.author) {
        None => deny(deed, "holds no right here"),
        Some(standing) => match &standing.grant {
            None => deny(deed, "was revoked"),
            Some(grant) => allows(grant, deed, &|grantee| table.get(grantee).map(|own| own.grant.as_ref())),
        },
    }
}

/// `true` for an entry that begins a tree as the rules ask: with a grant of everything to its author.
pub(crate) fn vouches_for_itself(deed: &Deed<'_>) -> bool {
    let Some(RightsOp::Grant { to, grant, keep }) = deed.op else { return false };
    let everything = Grant { right: Right::Admin, seniority: 0, stores: StoreScope::All };
    deed.is_root && *to == Grantee::Key(deed.author) && *grant == everything && keep.is_empty()
}

/// What was decided for exactly one grantee: nothing, a revocation, a grant.
pub(crate) type Own<'t> = Option<Option<&'t Grant>>;

/// Whether a holder of `grant` may make the entry, where `own` says what others hold in the entry's past.
pub(crate) fn allows<'t>(
    grant: &Grant,
    deed: &Deed<'_>,
    own: &dyn Fn(&Grantee) -> Own<'t>,
) -> Result<(), Denial> {
    let writes = matches!(grant.right, Right::Write | Right::Admin);
    for store in deed.stores {
        let allowed = match store.as_str() {
            RIGHTS_STORE => deed.op.is_some(),
            system if system.starts_with('_') => grant.right == Right::Admin,
            data => writes && grant.stores.contains(data),
        };
        if !allowed {
            return deny(deed, format_args!("may not write the store {store:?} with {}", spell(grant)));
        }
    }
    match deed.op {
        None if writes => Ok(()),
        None => deny(deed, format_args!("may not write with {}", spell(grant))),
        Some(RightsOp::Merge) if grant.right == Right::Read => deny(deed, "may only read"),
        Some(RightsOp::Merge) => Ok(()),
        Some(op) => match (grant.right, op) {
            (Right::Admin, op) => administers(grant, deed, op, own),
            (Right::Admit { .. }, RightsOp::Grant { to, grant: new, .. }) => {
                admits(grant, deed, to, new, own)
            }
            _ => deny(deed, format_args!("may not change rights like this with {}", spell(grant))),
        },
    }
}

/// An admin alters its own rank and junior, never another Admin of its rank, and gives nothing beyond what it holds.
fn administers<'t>(
    grant: &Grant,
    deed: &Deed<'_>,
    op: &RightsOp,
    own: &dyn Fn(&Grantee) -> Own<'t>,
) -> Result<(), Denial> {
    let Some(grantee) = op.grantee() else { return Ok(()) };
    let itself = grantee == Grantee::Key(deed.author);
    if let (false, Some(Some(current))) = (itself, own(&grantee)) {
        if current.seniority < grant.seniority {
            return deny(deed, format_args!("may not alter {grantee}, which is more senior"));
        }
        if current.seniority == grant.seniority && current.right == Right::Admin {
            return deny(deed, format_args!("may not alter {grantee}, an Admin of its own rank"));
        }
    }
    let Some(new) = op.grant() else { return Ok(()) };
    if new.seniority < grant.seniority {
        return deny(deed, format_args!("may not make {grantee} more senior than itself"));
    }
    if !covers(&grant.stores, &new.stores) {
        return deny(deed, format_args!("may not give {grantee} stores that it doesn't hold"));
    }
    Ok(())
}

/// A holder of Admit adds keys below its cap and rank, and takes nothing from anybody.
fn admits<'t>(
    grant: &Grant,
    deed: &Deed<'_>,
    to: &Grantee,
    new: &Grant,
    own: &dyn Fn(&Grantee) -> Own<'t>,
) -> Result<(), Denial> {
    let Right::Admit { cap, seniority_min } = grant.right else {
        return deny(deed, "may not admit");
    };
    if *to == Grantee::Anyone {
        return deny(deed, "may not admit everybody, which needs Admin");
    }
    if matches!(new.right, Right::Admit { .. }) || new.right.permission() > cap {
        return deny(deed, format_args!("may admit to {cap} at most"));
    }
    let senior_most = u64::from(seniority_min).max(u64::from(grant.seniority) + 1);
    if u64::from(new.seniority) < senior_most {
        return deny(deed, format_args!("may admit at seniority {senior_most} or junior"));
    }
    if !covers(&grant.stores, &new.stores) {
        return deny(deed, format_args!("may not give {to} stores that it doesn't hold"));
    }
    let held = own(to);
    let adds = match held {
        Some(None) => return deny(deed, format_args!("may not admit {to}, which was revoked")),
        Some(Some(current)) => includes(new, current) && new.seniority <= current.seniority,
        None => own(&Grantee::Anyone).flatten().is_none_or(|everybody| includes(new, everybody)),
    };
    if adds { Ok(()) } else { deny(deed, format_args!("may not take from {to} what it holds")) }
}

/// `true` if a holder of `new` may do what a holder of `old` may, seniority apart.
fn includes(new: &Grant, old: &Grant) -> bool {
    let right = match (new.right, old.right) {
        (_, Right::Admit { .. }) => false,
        (new, old) => new.permission() >= old.permission(),
    };
    // The scope of a right that only reads says nothing.
    right && (old.right == Right::Read || covers(&new.stores, &old.stores))
}

/// `true` if every store of `inner` is in `outer`.
fn covers(outer: &StoreScope, inner: &StoreScope) -> bool {
    match (outer, inner) {
        (StoreScope::All, _) => true,
        (StoreScope::Only(_), StoreScope::All) => false,
        (StoreScope::Only(outer), StoreScope::Only(inner)) => inner.iter().all(|name| outer.contains(name)),
    }
}

fn spell(grant: &Grant) -> String {
    let right = match grant.right {
        Right::Admit { cap, .. } => format!("the right to admit (to {cap})"),
        other => format!("the right to {}", other.permission()),
    };
    match &grant.stores {
        StoreScope::All => right,
        StoreScope::Only(names) => format!("{right} {} named stores", names.len()),
    }
}

fn deny(deed: &Deed<'_>, why: impl std::fmt::Display) -> Result<(), Denial> {
    Err(Denial { reason: format!("{} {why} (keys/1, rule 1)", deed.author) })
}
