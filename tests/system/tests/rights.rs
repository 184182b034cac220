//! Who may write and read, on every replica, while grants and revocations travel.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use eidetica::auth::Permission;
use eidetica::sync::{InviteOptions, SyncError};
use eidetica::testing::{self, RawEntry};
use eidetica::{Database, Error, Id, Instance, Result};
use eidetica_kernel::entry::{FORMAT_VERSION, Header, SignedEntry, StoreRef, Tree, payload_hash};
use eidetica_kernel::{Envelope, HybridClock, SecretKey};
use eidetica_system_tests::node::{Node, get, set, until, within};
use eidetica_system_tests::over::Over;
use eidetica_system_tests::seeded::key;
use eidetica_system_tests::state::{assert_clean, state};

eidetica_system_tests::over_every_transport! {
    a_revoked_key_can_write_on_no_replica_any_more,
    a_key_that_may_only_read_gets_everything_and_writes_nothing,
    a_database_granted_to_everybody_opens_by_its_id_and_others_do_not,
    writes_concurrent_with_their_keys_revocation_are_void_on_every_replica,
    a_removed_database_is_not_brought_back_by_peers,
    an_invite_admits_as_many_keys_as_it_says_and_no_longer_than_it_says,
    a_revoked_invite_admits_nobody_any_more_and_whom_it_admitted_stays,
    a_follower_whose_right_is_taken_learns_of_it_and_of_nothing_after,
    a_key_that_is_granted_again_follows_again,
}

/// Nodes that can all reach each other, and a database of the first one's.
struct World {
    nodes: Vec<Node>,
    database: Database,
}

impl World {
    fn new(over: Over, count: usize) -> Result<Self> {
        let nodes = (0..count).map(|_| over.node()).collect::<Result<Vec<_>>>()?;
        let database = nodes[0].create()?;
        Ok(Self { nodes, database })
    }

    fn id(&self) -> &Id {
        self.database.root_id()
    }

    fn grant(&self, to: usize, permission: Permission, seniority: u32) -> Result<Id> {
        self.database.grant(self.nodes[to].key()?, permission, seniority)
    }

    fn address(&self, of: usize) -> String {
        self.nodes[of].instance.sync().unwrap().get_server_addresses().unwrap()[0].to_string()
    }

    /// One exchange of the database between two nodes.
    async fn sync(&self, from: usize, with: usize) -> Result<Database> {
        let address = self.address(with);
        within("a sync", self.nodes[from].fetch(&address, self.id())).await
    }

    fn at(&self, node: usize) -> Database {
        self.nodes[node].user.open_database(self.id()).unwrap()
    }

    /// Waits until these replicas are equal, and re-checks each.
    async fn converge(&self, nodes: impl IntoIterator<Item = usize> + Clone) {
        until("the replicas converge", || {
            let mut states = nodes.clone().into_iter().map(|node| state(&self.at(node)).unwrap());
            let first = states.next().unwrap();
            states.all(|other| other == first)
        })
        .await;
        nodes.into_iter().for_each(|node| assert_clean(&self.at(node)));
    }
}

fn assert_denied<T: std::fmt::Debug>(done: Result<T>) {
    let error: Error = done.unwrap_err();
    assert!(error.is_permission_denied(), "{error}");
}

async fn a_revoked_key_can_write_on_no_replica_any_more(over: Over) -> Result<()> {
    let world = World::new(over, 3)?;
    world.grant(1, Permission::Write, 100)?;
    world.grant(2, Permission::Write, 100)?;
    for node in [1, 2] {
        world.sync(node, 0).await?;
    }
    set(&world.at(1), "before", 1)?;
    world.converge([0, 1, 2]).await;
    world.database.revoke(world.nodes[1].key()?)?;
    let revoked = || {
        let key = world.nodes[1].key().unwrap();
        world.at(2).permission_of(key).unwrap().is_none()
    };
    until("the revocation reaches a third", revoked).await;
    // At its own replica, as soon as that has the revocation; at others with the same key.
    testing::ingest(&world.nodes[1].instance, world.id(), testing::export_entries(&world.database)?)?;
    assert_denied(set(&world.at(1), "after", 1));
    let exported = world.nodes[1].user.export_key(world.nodes[1].key()?)?;
    let elsewhere = world.nodes[2].instance.clone();
    elsewhere.create_user("revoked", None)?;
    let user = elsewhere.login_user("revoked", None)?;
    user.import_key(&exported, None)?;
    let imported = user.list_keys()?[1].0;
    assert_eq!(imported, world.nodes[1].key()?);
    elsewhere.logout("user")?;
    assert_denied(set(&elsewhere.load_database(world.id())?, "after", 1));
    // What it wrote before stands.
    assert_eq!(get(&world.database, "before")?.as_i64(), Some(1));
    Ok(())
}

async fn a_key_that_may_only_read_gets_everything_and_writes_nothing(over: Over) -> Result<()> {
    let world = World::new(over, 2)?;
    world.grant(1, Permission::Read, 100)?;
    set(&world.database, "read", "me")?;
    let there = world.sync(1, 0).await?;
    assert_eq!(get(&there, "read")?, "me");
    assert_denied(set(&there, "write", 1));
    assert_denied(there.grant(world.nodes[1].key()?, Permission::Write, 100));
    set(&world.database, "read", "more")?;
    until("a change arrives", || get(&there, "read").is_ok_and(|value| value == "more")).await;
    Ok(())
}

/// An entry that a changed program might make: signed, well-formed, and against the rules.
fn forged(database: &Database, by: &SecretKey, name: &str) -> RawEntry {
    let entries = testing::export_entries(database).unwrap();
    let last = Header::decode(&entries.last().unwrap().header).unwrap();
    let rights = match last.store("_rights") {
        Some(_) => vec![entries.last().unwrap().id()],
        None => last.rights.clone(),
    };
    let payload = Envelope::plain([1; 16], 1, Vec::new()).encode().unwrap();
    let store = StoreRef {
        name: name.to_owned(),
        kind: "doc/1".to_owned(),
        payload_hash: payload_hash(&payload),
        payload_bytes: payload.len() as u32,
    };
    let header = Header {
        version: FORMAT_VERSION,
        tree: Tree::Of(*database.root_id()),
        parents: vec![entries.last().unwrap().id()],
        clock: HybridClock::from_bits(last.clock.to_bits() + 1),
        author: by.public_key(),
        author_prev: None,
        author_seq: 0,
        rights,
        stores: vec![store],
        ext: vec![],
    };
    let entry = SignedEntry::sign(header, by).unwrap();
    RawEntry {
        header: entry.header_bytes().clone(),
        signature: *entry.signature(),
        payloads: vec![Some(payload)],
    }
}

#[test]
fn entries_of_strangers_readers_and_revoked_keys_are_refused_by_every_replica() -> Result<()> {
    let instance = Instance::open(Box::new(eidetica::backend::InMemory::new()))?;
    instance.create_user("user", None)?;
    let user = instance.login_user("user", None)?;
    let database = user.create_database(eidetica::crdt::Doc::new(), user.get_default_key()?)?;
    let (stranger, reader, revoked, writer) = (key(1), key(2), key(3), key(4));
    database.grant(reader.public_key(), Permission::Read, 100)?;
    database.grant(revoked.public_key(), Permission::Write, 100)?;
    database.grant(writer.public_key(), Permission::Write, 100)?;
    database.revoke(revoked.public_key())?;
    let before = state(&database)?;
    let forge = |by: &SecretKey, name: &str| forged(&database, by, name);
    let bad = [
        ("a stranger's", forge(&stranger, "data")),
        ("a reader's", forge(&reader, "data")),
        ("a revoked key's", forge(&revoked, "data")),
        ("a writer's in a system store", forge(&writer, "_settings")),
    ];
    for (whose, entry) in bad {
        let id = entry.id();
        let report = testing::ingest(&instance, database.root_id(), vec![entry])?;
        assert_eq!(report.refused.len(), 1, "{whose} entry: {report:?}");
        assert_eq!(report.refused[0].0, id);
    }
    let mut copy = forge(&writer, "data");
    copy.signature = forge(&stranger, "data").signature;
    let report = testing::ingest(&instance, database.root_id(), vec![copy])?;
    assert_eq!(report.bad_copies.len(), 1, "with another's signature: {report:?}");
    assert_eq!(state(&database)?, before);
    // The wrong copy says nothing against the entry itself.
    let report = testing::ingest(&instance, database.root_id(), vec![forge(&writer, "data")])?;
    assert_eq!(report.accepted.len(), 1, "{report:?}");
    assert_clean(&database);
    Ok(())
}

async fn a_database_granted_to_everybody_opens_by_its_id_and_others_do_not(over: Over) -> Result<()> {
    let world = World::new(over, 2)?;
    set(&world.database, "open", true)?;
    assert!(world.sync(1, 0).await.is_err(), "an id alone opens nothing");
    assert!(!world.nodes[1].instance.has_database(world.id())?);
    world.database.grant("*", Permission::Write, 100)?;
    let there = world.sync(1, 0).await?;
    set(&there, "back", 1)?;
    until("a stranger's change arrives", || get(&world.database, "back").is_ok()).await;
    world.database.revoke("*")?;
    testing::ingest(&world.nodes[1].instance, world.id(), testing::export_entries(&world.database)?)?;
    assert_denied(set(&there, "late", 1));
    assert_eq!(get(&world.database, "back")?.as_i64(), Some(1), "what was there before stands");
    Ok(())
}

async fn writes_concurrent_with_their_keys_revocation_are_void_on_every_replica(over: Over) -> Result<()> {
    let world = World::new(over, 4)?;
    for node in [1, 2, 3] {
        world.grant(node, Permission::Write, 100)?;
    }
    for node in [1, 2, 3] {
        world.sync(node, 0).await?;
    }
    set(&world.at(1), "kept", "by 1")?;
    world.converge([0, 1, 2, 3]).await;
    // Node 1 goes away and writes; meanwhile its key is revoked; node 2 still takes its writes in, and builds on them.
    let copy = Instance::open(Box::new(eidetica::backend::InMemory::new()))?;
    copy.create_user("user", None)?;
    let user = copy.login_user("user", None)?;
    user.import_key(&world.nodes[1].user.export_key(world.nodes[1].key()?)?, None)?;
    testing::ingest(&copy, world.id(), testing::export_entries(&world.database)?)?;
    let away = user.open_database(world.id())?;
    for number in 0..5 {
        set(&away, "void", number)?;
        set(&away, "kept", "changed while revoked")?;
    }
    world.database.revoke(world.nodes[1].key()?)?;
    world.converge([0, 2, 3]).await;
    let entries = testing::export_entries(&away)?;
    for node in [0, 2, 3] {
        testing::ingest(&world.nodes[node].instance, world.id(), entries.clone())?;
    }
    set(&world.at(2), "after", "by 2")?;
    world.converge([0, 2, 3]).await;
    for node in [0, 2, 3] {
        let database = world.at(node);
        assert!(get(&database, "void").unwrap_err().is_not_found());
        assert_eq!(get(&database, "kept")?, "by 1");
        assert_eq!(get(&database, "after")?, "by 2");
        let voided = entries.last().unwrap().id();
        assert!(!database.why(voided)?.counts);
    }
    Ok(())
}

async fn a_removed_database_is_not_brought_back_by_peers(over: Over) -> Result<()> {
    let world = World::new(over, 2)?;
    world.grant(1, Permission::Write, 100)?;
    world.sync(1, 0).await?;
    world.nodes[1].instance.remove_database(world.id())?;
    set(&world.database, "news", 1)?;
    // The owner offers it again, on a link of its own and on the old one.
    let sync = world.nodes[0].instance.sync()?;
    let offered = within("an offer", sync.sync_with_peer(world.address(1), Some(world.id()))).await;
    assert!(offered.is_err());
    assert!(!world.nodes[1].instance.has_database(world.id())?);
    assert!(world.nodes[1].instance.list_databases()?.is_empty());
    // Its user brings it back by joining again.
    let ticket = world.database.invite(Permission::Write, InviteOptions::default())?;
    let joined = within("joining again", world.nodes[1].user.join(&ticket)).await?;
    assert_eq!(get(&joined, "news")?.as_i64(), Some(1));
    Ok(())
}

async fn an_invite_admits_as_many_keys_as_it_says_and_no_longer_than_it_says(over: Over) -> Result<()> {
    let world = World::new(over, 4)?;
    let ticket =
        world.database.invite(Permission::Write, InviteOptions { expires_in: None, uses: Some(2) })?;
    for node in [1, 2] {
        let joined = within("joining", world.nodes[node].user.join(&ticket)).await?;
        set(&joined, &format!("by {node}"), 1)?;
        // Joining again uses nothing up.
        within("joining again", world.nodes[node].user.join(&ticket)).await?;
    }
    let spent = within("a third", world.nodes[3].user.join(&ticket)).await.unwrap_err();
    assert!(matches!(spent.sync_error(), Some(SyncError::InviteSpent)), "{spent}");
    let expired = InviteOptions { expires_in: Some(Duration::ZERO), uses: None };
    let ticket = world.database.invite(Permission::Write, expired)?;
    let late = within("too late", world.nodes[3].user.join(&ticket)).await.unwrap_err();
    assert!(matches!(late.sync_error(), Some(SyncError::InviteExpired { .. })), "{late}");
    assert!(!world.nodes[3].instance.has_database(world.id())?);
    // An invite doesn't bring a revoked key back.
    let forever = InviteOptions { expires_in: None, uses: None };
    let ticket = world.database.invite(Permission::Write, forever)?;
    world.database.revoke(world.nodes[1].key()?)?;
    assert!(within("a revoked key", world.nodes[1].user.join(&ticket)).await.is_err());
    assert!(within("another key", world.nodes[3].user.join(&ticket)).await.is_ok());
    Ok(())
}

async fn a_revoked_invite_admits_nobody_any_more_and_whom_it_admitted_stays(over: Over) -> Result<()> {
    let world = World::new(over, 3)?;
    let ticket = world.database.invite(Permission::Write, InviteOptions { expires_in: None, uses: None })?;
    let joined = within("joining", world.nodes[1].user.join(&ticket)).await?;
    let id = ticket.invite_id().unwrap();
    let invites = world.database.invites()?;
    assert_eq!((&invites[0].invite_id, invites[0].good, invites.len()), (&id, true, 1));
    assert!(joined.revoke_invite(&id).unwrap_err().is_permission_denied(), "a writer ends no invites");
    for unknown in ["nonsense", &"00".repeat(32)] {
        assert!(world.database.revoke_invite(unknown).unwrap_err().is_not_found());
    }
    world.database.revoke_invite(&id)?;
    assert!(!world.database.invites()?[0].good);
    let late = within("too late", world.nodes[2].user.join(&ticket)).await.unwrap_err();
    assert!(matches!(late.sync_error(), Some(SyncError::InviteExpired { .. })), "{late}");
    set(&joined, "still", 1)?;
    within("joining again", world.nodes[1].user.join(&ticket)).await.map(drop)
}

async fn a_follower_whose_right_is_taken_learns_of_it_and_of_nothing_after(over: Over) -> Result<()> {
    let world = World::new(over, 2)?;
    world.grant(1, Permission::Read, 100)?;
    let there = world.sync(1, 0).await?;
    set(&world.database, "before", 1)?;
    until("the commit before arrives", || get(&there, "before").is_ok()).await;
    world.database.revoke(world.nodes[1].key()?)?;
    set(&world.database, "after", 2)?;
    until("the revocation arrives", || there.permission_of(world.nodes[1].key().unwrap()).unwrap().is_none())
        .await;
    assert_denied(world.sync(1, 0).await);
    assert!(get(&there, "after").unwrap_err().is_not_found());
    Ok(())
}

async fn a_key_that_is_granted_again_follows_again(over: Over) -> Result<()> {
    let world = World::new(over, 2)?;
    world.grant(1, Permission::Write, 100)?;
    let there = world.sync(1, 0).await?;
    let key = world.nodes[1].key()?;
    world.database.revoke(key)?;
    until("the revocation arrives", || there.permission_of(key).unwrap().is_none()).await;
    world.grant(1, Permission::Write, 100)?;
    set(&world.database, "again", 1)?;
    world.sync(1, 0).await?;
    assert_eq!(get(&there, "again")?.as_i64(), Some(1));
    set(&there, "back", 2)?;
    until("the follower's commit arrives", || get(&world.database, "back").is_ok()).await;
    Ok(())
}
