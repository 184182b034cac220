//! Making, listing, dropping, verifying and rebuilding databases.

use eidetica::crdt::Doc;
use eidetica_kernel::error::excerpt;
use serde_json::{Value, json};

use super::Job;
use super::rights::grant_text;
use crate::failure::{Exit, Failure};
use crate::node::find_database;
use crate::request::Reply;

impl Job {
    pub(super) fn create_database(&self, name: &str, allow_duplicate: bool) -> Result<Reply, Failure> {
        if name.trim().is_empty() {
            return Err(Failure::usage("a database needs a name"));
        }
        let user = self.acting()?;
        if !allow_duplicate {
            for database in self.databases(None)? {
                if database.name()?.as_deref() == Some(name) {
                    return Err(Failure::usage(format_args!(
                        "a database {} is here already: {}; choose another name, or say --allow-duplicate",
                        excerpt(name, 140),
                        database.root_id()
                    )));
                }
            }
        }
        let mut settings = Doc::new();
        settings.set_string("name", name);
        let database = user.create_database(settings, user.get_default_key()?)?;
        let id = database.root_id().to_string();
        Ok(Reply::new(json!({ "id": id, "name": name }), id))
    }

    pub(super) fn list_databases(&self) -> Result<Reply, Failure> {
        let (mut values, mut lines) = (Vec::new(), Vec::new());
        for database in self.databases(None)? {
            let (id, name, entries) =
                (database.root_id().to_string(), database.name()?, database.entry_count());
            lines.push(format!("{id}  {entries:>9}  {}", name.as_deref().unwrap_or("")));
            values.push(json!({ "id": id, "name": name, "entries": entries }));
        }
        Ok(Reply::new(values.into(), lines.join("\n")))
    }

    pub(super) fn show_database(&self, db: &str) -> Result<Reply, Failure> {
        let (database, _user) = self.open(db)?;
        let (id, name, entries) = (database.root_id().to_string(), database.name()?, database.entry_count());
        let tips: Vec<String> = database.tips().iter().map(ToString::to_string).collect();
        let stores = database.stores()?;
        let permissions = database.permissions();
        let mut lines = vec![
            format!("id       {id}"),
            format!("name     {}", name.as_deref().unwrap_or("")),
            format!("entries  {entries}"),
        ];
        lines.extend(tips.iter().map(|tip| format!("tip      {tip}")));
        lines.extend(stores.iter().map(|(name, kind)| format!("store    {name} ({kind})")));
        lines.extend(permissions.iter().map(|entry| {
            let grant = entry.grant.as_ref().map_or_else(|| "revoked".to_owned(), grant_text);
            format!("rights   {} {grant}", entry.grantee)
        }));
        let permissions: Vec<Value> = permissions
            .iter()
            .map(|entry| {
                json!({
                    "key": entry.grantee.to_string(),
                    "status": entry.status(),
                    "permission": entry.grant.as_ref().map(|grant| grant.right.permission()),
                    "seniority": entry.grant.as_ref().map(|grant| grant.seniority),
                    "grant": entry.grant.as_ref().map(grant_text),
                    "decided_by": entry.decided_by.to_string(),
                })
            })
            .collect();
        let stores: Vec<Value> =
            stores.iter().map(|(name, kind)| json!({ "name": name, "kind": kind })).collect();
        let value = json!({
            "id": id, "name": name, "entries": entries, "tips": tips, "stores": stores, "permissions": permissions,
        });
        Ok(Reply::new(value, lines.join("\n")))
    }

    pub(super) fn drop_database(&self, db: &str) -> Result<Reply, Failure> {
        let id = find_database(&self.node, db)?;
        self.node.instance.remove_database(id)?;
        Ok(Reply::new(json!({ "id": id.to_string() }), ""))
    }

    pub(super) fn verify(&self, db: Option<&str>) -> Result<Reply, Failure> {
        let (mut values, mut lines, mut problems) = (Vec::new(), Vec::new(), Vec::new());
        for database in self.databases(db)? {
            let (id, name) = (database.root_id().to_string(), database.name()?);
            let report = database.verify()?;
            problems.extend(report.problems.iter().map(|problem| format!("{id}: {problem}")));
            lines.push(format!(
                "{id}  {} entries, {} payloads, {} rows in order  {}",
                report.entries,
                report.payloads,
                report.rows,
                name.as_deref().unwrap_or("")
            ));
            values.push(json!({
                "id": id,
                "name": name,
                "entries": report.entries,
                "payloads": report.payloads,
                "rows": report.rows,
                "problems": report.problems,
            }));
        }
        if problems.is_empty() {
            return Ok(Reply::new(values.into(), lines.join("\n")));
        }
        let hint = "`eidetica rebuild` derives stores again; entries that are damaged come back from a peer";
        Err(Failure::new(Exit::Failed, format_args!("{}\n{hint}", problems.join("\n"))))
    }

    pub(super) fn rebuild(&self, db: Option<&str>) -> Result<Reply, Failure> {
        let databases = self.databases(db)?;
        let mut ids = Vec::with_capacity(databases.len());
        for database in &databases {
            database.rebuild()?;
            ids.push(database.root_id().to_string());
        }
        let text = ids.join("\n");
        Ok(Reply::new(json!(ids), text))
    }
}
