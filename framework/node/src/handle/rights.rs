//! Granting, revoking, and why an entry counts.

use eidetica::auth::{Grant, Grantee, Permission, Right, RightsOp, StoreScope};
use eidetica::{Database, ErrorKind, Id};
use serde_json::{Value, json};

use super::Job;
use crate::failure::Failure;
use crate::request::Reply;

impl Job {
    pub(super) fn grant(
        &self,
        db: &str,
        key: Grantee,
        permission: Permission,
        seniority: u32,
        mut stores: Vec<String>,
    ) -> Result<Reply, Failure> {
        let (database, _user) = self.open(db)?;
        let mut grant = Grant::new(permission, seniority);
        if !stores.is_empty() {
            stores.sort();
            stores.dedup();
            grant.stores = StoreScope::Only(stores);
        }
        let entry = database.grant_exactly(key, grant)?.to_string();
        Ok(Reply::new(json!({ "entry": entry }), entry))
    }

    pub(super) fn revoke(&self, db: &str, key: Grantee, since: Option<&str>) -> Result<Reply, Failure> {
        let (database, _user) = self.open(db)?;
        let entry = match (since, key) {
            (None, key) => database.revoke(key)?,
            (Some(since), Grantee::Key(key)) => database.revoke_since(key, named(&database, since)?)?,
            (Some(_), Grantee::Anyone) => {
                return Err(Failure::usage("--since goes with one key, not with \"*\""));
            }
        };
        let entry = entry.to_string();
        Ok(Reply::new(json!({ "entry": entry }), entry))
    }

    pub(super) fn why(&self, db: &str, entry: &str) -> Result<Reply, Failure> {
        let (database, _user) = self.open(db)?;
        let id = named(&database, entry)?;
        let why = database.why(id)?;
        let mut lines = vec![
            format!("entry    {id}"),
            format!("author   {}", why.author),
            format!("effect   {}", if why.counts { "it counts" } else { "none: it is void" }),
        ];
        let stands_on = why.stands_on.as_ref().map(|(by, grant)| {
            let grant = grant.as_ref().map_or_else(|| "revoked".to_owned(), grant_text);
            (by.to_string(), grant)
        });
        match &stands_on {
            Some((by, grant)) => lines.push(format!("rests on {by}: {grant}")),
            None => lines.push("rests on nothing".to_owned()),
        }
        let mut concurrent: Vec<Value> = Vec::new();
        for (by, op) in &why.concurrent {
            let text = match op {
                RightsOp::Grant { to, grant, .. } => format!("grants {to} {}", grant_text(grant)),
                RightsOp::Revoke { from, .. } => format!("revokes {from}"),
                RightsOp::Merge => "merges".to_owned(),
            };
            lines.push(format!("beside   {by}: {text}"));
            concurrent.push(json!({ "entry": by.to_string(), "operation": text }));
        }
        let value = json!({
            "entry": id.to_string(),
            "author": why.author.to_string(),
            "counts": why.counts,
            "rests_on": stands_on.map(|(by, grant)| json!({ "entry": by, "grant": grant })),
            "concurrent": concurrent,
        });
        Ok(Reply::new(value, lines.join("\n")))
    }
}

/// The entry that an argument names by the beginning of its id.
fn named(database: &Database, entry: &str) -> Result<Id, Failure> {
    database.entry_by_prefix(entry).map_err(|error| match error.kind() {
        ErrorKind::InvalidInput => Failure::usage(error),
        _ => error.into(),
    })
}

/// `write, seniority 100, stores notes tasks`.
pub(super) fn grant_text(grant: &Grant) -> String {
    let right = match &grant.right {
        Right::Admit { cap, seniority_min } => format!("admit up to {cap} from seniority {seniority_min} on"),
        right => right.permission().to_string(),
    };
    match &grant.stores {
        StoreScope::All => format!("{right}, seniority {}", grant.seniority),
        StoreScope::Only(stores) => {
            format!("{right}, seniority {}, stores {}", grant.seniority, stores.join(" "))
        }
    }
}
