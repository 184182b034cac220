//! Two nodes: an import, joining, live changes both ways, restarts. What differs from run to run is in the config files; here
//! the nodes are asked what they chose only where that decides whose turn it is.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use eidetica::auth::Permission;
use eidetica::crdt::json;
use eidetica::store::DocStore;
use eidetica::sync::SyncError;
use eidetica::{Database, Id, Origin, Result};
use eidetica_config::{Admission, Chosen, Config, Sources};
use eidetica_system_tests::node::{Node, get, set, within};
use eidetica_system_tests::state::{assert_clean, state};
use serde_json::Value;

const COUNTRIES: &str = "/usr/share/iso-codes/json/iso_3166-1.json";

/// The scenario. It gets two config files, for nodes A and B, and nothing else.
pub(crate) async fn two_nodes([a, b]: [&Path; 2]) -> Result<()> {
    let (a, b) = (Opened::by(a).await?, Opened::by(b).await?);
    let here = a.node.create()?;
    let imported = import(&here, "countries")?;
    let there = join(&b, &a, &here).await?;
    assert!(exported(&there)?["countries"] == imported, "what comes out at B isn't what went in at A");

    let mut pair = Pair { a, b, here, there };
    pair.live("at first").await?;
    pair = pair.with_b_restarted().await?;
    pair.live("after B's restart").await?;
    // Otherwise nobody would be left who could let B in again.
    if pair.a.chosen.backend.capabilities().durable {
        pair = pair.with_a_restarted().await?;
        pair.live("after A's restart").await?;
    }

    let Pair { a, b, here, there } = pair;
    assert_eq!(exported(&here)?, exported(&there)?);
    assert_eq!(state(&here)?, state(&there)?);
    assert!(exported(&here)?["countries"] == imported, "what was imported isn't there any more");
    [&here, &there].into_iter().for_each(assert_clean);
    a.node.instance.close()?;
    b.node.instance.close()
}

/// A node, opened and listening as its file says.
struct Opened {
    file: PathBuf,
    chosen: Chosen,
    node: Node,
}

impl Opened {
    async fn by(file: &Path) -> Result<Self> {
        let chosen = Config::load(Sources::file(file))?.into_chosen();
        let instance = chosen.open()?;
        chosen.listen(&instance.sync()?).await?;
        Ok(Self { file: file.to_owned(), chosen, node: Node::of(instance)? })
    }

    /// Whether what is committed goes to peers without being asked for.
    fn syncs_by_itself(&self) -> bool {
        let promises = self.chosen.scheduler.open(0).promises();
        promises.commit_within.or(promises.sync_within).is_some()
    }

    /// Closes the node, and opens it again from its file, with what it holds of a database; of a backend that isn't durable
    /// that may be nothing.
    async fn restarted(
        self,
        copy: Database,
        meanwhile: impl FnOnce() -> Result<Id>,
    ) -> Result<(Self, Option<Database>, Id)> {
        let (id, device, key) = (*copy.root_id(), self.node.peer(), self.node.key()?);
        let before = exported(&copy)?;
        drop(copy);
        let Self { file, node, .. } = self;
        node.instance.close()?;
        drop(node);
        let missed = meanwhile()?;

        let again = Self::by(&file).await?;
        if !again.node.instance.has_database(id)? {
            assert!(!again.chosen.backend.capabilities().durable, "a durable backend has lost the database");
            // Somebody else, who knows nobody.
            assert_ne!(again.node.peer(), device);
            assert_ne!(again.node.key()?, key);
            assert!(again.node.instance.list_databases()?.is_empty());
            assert!(again.node.instance.sync()?.list_peers()?.is_empty());
            return Ok((again, None, missed));
        }
        assert_eq!((again.node.peer(), again.node.key()?), (device, key));
        let copy = again.node.user.open_database(id)?;
        let after = exported(&copy)?;
        for (store, before) in before {
            // What it missed may have come already.
            let kept = match (&before, &after[&store]) {
                (Value::Object(before), Value::Object(after)) => {
                    before.iter().all(|(key, value)| after.get(key) == Some(value))
                }
                (before, after) => before == after,
            };
            assert!(kept, "{store} isn't what it was");
        }
        Ok((again, Some(copy), missed))
    }
}

/// Two nodes, each with its copy of a database of A's. Only B knows where the other is.
struct Pair {
    a: Opened,
    b: Opened,
    here: Database,
    there: Database,
}

impl Pair {
    /// What either writes is seen by the other.
    async fn live(&self, when: &str) -> Result<()> {
        for (from, to, who) in [(&self.here, &self.there, "A"), (&self.there, &self.here, "B")] {
            let key = format!("{when}, from {who}");
            let entry = set(from, &key, who)?;
            if !self.syncs_by_itself() {
                let early = to.entry(entry);
                assert!(early.is_err_and(|error| error.is_not_found()), "{key}: nobody asked for it yet");
            }
            self.sync_if_nobody_does().await?;
            arrival(to, entry, &key).await?;
            assert_eq!(get(to, &key)?.as_str(), Some(who));
        }
        Ok(())
    }

    fn syncs_by_itself(&self) -> bool {
        self.a.syncs_by_itself() || self.b.syncs_by_itself()
    }

    async fn sync_if_nobody_does(&self) -> Result<()> {
        if self.syncs_by_itself() {
            return Ok(());
        }
        let asked = self.b.node.instance.sync()?.sync_tree_with_peer(self.a.node.peer(), self.here.root_id());
        within("a sync that was asked for", asked).await
    }

    async fn with_b_restarted(self) -> Result<Self> {
        let Self { a, b, here, there } = self;
        let (b, there, missed) = b.restarted(there, || set(&here, "while B was away", "A")).await?;
        let there = match there {
            Some(there) => there,
            None => join(&b, &a, &here).await?,
        };
        let pair = Self { a, b, here, there };
        pair.sync_if_nobody_does().await?;
        arrival(&pair.there, missed, "what B missed").await?;
        Ok(pair)
    }

    async fn with_a_restarted(self) -> Result<Self> {
        let Self { a, b, here, there } = self;
        let (a, here, missed) = a.restarted(here, || set(&there, "while A was away", "B")).await?;
        let here = here.expect("a durable backend keeps what was committed");
        // Not every transport listens where it did before.
        b.node.instance.sync()?.add_peer_address(a.node.peer(), a.node.at()?)?;
        let pair = Self { a, b, here, there };
        pair.sync_if_nobody_does().await?;
        arrival(&pair.here, missed, "what A missed").await?;
        Ok(pair)
    }
}

/// B asks for access to a database of A's, and gets it in the way that A's admission leaves.
async fn join(b: &Opened, a: &Opened, here: &Database) -> Result<Database> {
    let (id, key) = (here.root_id(), b.node.key()?);
    let (at, sync) = (a.node.at()?, b.node.instance.sync()?);
    let ask = |permission| {
        within("an answer", sync.sync_with_peer_for_bootstrap(&at, id, key.to_string(), permission))
    };
    assert_eq!(here.permission_of(key)?, None);
    match a.chosen.admission {
        Admission::Automatic { cap } => {
            assert_eq!(cap, Permission::Write);
            let refused = ask(Permission::Admin).await.unwrap_err();
            assert!(refused.is_permission_denied(), "{refused}");
            ask(Permission::Write).await?;
        }
        Admission::Manual => {
            let held = ask(Permission::Write).await.unwrap_err();
            let Some(SyncError::BootstrapPending { request_id, .. }) = held.sync_error() else {
                panic!("it doesn't wait for a person: {held}")
            };
            assert_eq!(here.permission_of(key)?, None);
            a.node.instance.sync()?.approve_bootstrap_request(request_id, a.node.key()?)?;
            ask(Permission::Write).await?;
        }
        Admission::Deny => {
            let refused = ask(Permission::Write).await.unwrap_err();
            assert!(refused.is_permission_denied(), "{refused}");
            assert!(a.node.instance.sync()?.pending_bootstrap_requests()?.is_empty());
            here.grant(key, Permission::Write, 100)?;
            within("the first sync", sync.sync_with_peer(&at, Some(id))).await?;
        }
        other => panic!("the scenario doesn't know how to join under {other:?}"),
    }
    assert_eq!(here.permission_of(key)?, Some(Permission::Write));
    b.node.user.open_database(id)
}

/// Puts a document from this machine into a store, as `eidetica import` does, and returns it.
fn import(into: &Database, store: &str) -> Result<Value> {
    let text = std::fs::read_to_string(COUNTRIES);
    let text =
        text.unwrap_or_else(|error| panic!("{COUNTRIES}: {error}; install Debian's package iso-codes"));
    let transaction = into.new_transaction()?;
    transaction.get_store::<DocStore>(store)?.set_root(json::from_str(&text)?)?;
    transaction.commit()?;
    Ok(serde_json::from_str(&text).unwrap())
}

/// Every document, by its store's name.
fn exported(database: &Database) -> Result<BTreeMap<String, Value>> {
    let mut documents = BTreeMap::new();
    for (store, _) in database.stores()?.into_iter().filter(|(_, kind)| kind.starts_with("doc/")) {
        let mut text = Vec::new();
        database.export_json(&store, &mut text)?;
        documents.insert(store, serde_json::from_slice(&text).unwrap());
    }
    Ok(documents)
}

/// Waits until an entry of the other node's is here.
async fn arrival(at: &Database, entry: Id, what: &str) -> Result<()> {
    let mut changes = at.subscribe()?;
    loop {
        match at.entry(entry) {
            Ok(entry) => {
                assert_eq!(entry.origin, Origin::Peer);
                return Ok(());
            }
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error),
        }
        within(what, changes.next()).await.expect("the database is open")?;
    }
}
