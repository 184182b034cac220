//! More concurrent entries of one author than a header or an operation can name: what somebody might do on purpose.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use eidetica::auth::Permission;
use eidetica::backend::InMemory;
use eidetica::testing::{self, RawEntry};
use eidetica::{Database, Id, Instance, Result, User};
use eidetica_kernel::entry::{FORMAT_VERSION, Header, SignedEntry, StoreRef, Tree, payload_hash};
use eidetica_kernel::{Envelope, HybridClock, SecretKey};
use eidetica_system_tests::node::{get, set};
use eidetica_system_tests::seeded::key;
use eidetica_system_tests::state::{assert_clean, state};

const MERGE: (&str, &str, &[u8]) = ("_rights", "keys/1", &[2]);
const NOTE: (&str, &str, &[u8]) = ("note", "test/1", &[]);

fn node() -> Result<(Instance, User)> {
    let instance = Instance::open(Box::new(InMemory::new()))?;
    instance.create_user("user", None)?;
    let user = instance.login_user("user", None)?;
    Ok((instance, user))
}

/// Makes entries by hand, each with a clock of its own.
struct Forge<'a> {
    database: &'a Database,
    clock: u64,
    made: Vec<RawEntry>,
}

impl<'a> Forge<'a> {
    fn new(database: &'a Database) -> Self {
        let entries = testing::export_entries(database).unwrap();
        let clock = Header::decode(&entries.last().unwrap().header).unwrap().clock.to_bits();
        Self { database, clock, made: Vec::new() }
    }

    fn make(
        &mut self,
        by: &SecretKey,
        after: Option<(Id, u64)>,
        mut parents: Vec<Id>,
        mut rights: Vec<Id>,
        (name, kind, body): (&str, &str, &[u8]),
    ) -> Id {
        self.clock += 1;
        parents.sort_unstable();
        rights.sort_unstable();
        let salt = u128::from(self.clock).to_be_bytes();
        let payload = Envelope::plain(salt, 1, body.to_vec()).encode().unwrap();
        let store = StoreRef {
            name: name.to_owned(),
            kind: kind.to_owned(),
            payload_hash: payload_hash(&payload),
            payload_bytes: payload.len() as u32,
        };
        let header = Header {
            version: FORMAT_VERSION,
            tree: Tree::Of(*self.database.root_id()),
            parents,
            clock: HybridClock::from_bits(self.clock),
            author: by.public_key(),
            author_prev: after.map(|(id, _)| id),
            author_seq: after.map_or(0, |(_, seq)| seq + 1),
            rights,
            stores: vec![store],
            ext: vec![],
        };
        let entry = SignedEntry::sign(header, by).unwrap();
        self.made.push(RawEntry {
            header: entry.header_bytes().clone(),
            signature: *entry.signature(),
            payloads: vec![Some(payload)],
        });
        entry.id()
    }

    /// One entry with this many heads of rights operations, over layers of joins.
    fn crowd(&mut self, by: &SecretKey, from: Id, heads: usize) -> Id {
        let ops: Vec<Id> = (0..heads).map(|_| self.make(by, None, vec![from], vec![from], MERGE)).collect();
        let joins: Vec<Id> =
            ops.chunks(32).map(|ops| self.make(by, None, ops.to_vec(), ops.to_vec(), NOTE)).collect();
        self.make(by, None, joins, ops, NOTE)
    }

    fn ingest(self, instance: &Instance) {
        let count = self.made.len();
        let report = testing::ingest(instance, self.database.root_id(), self.made).unwrap();
        assert_eq!(report.accepted.len(), count, "{:?}", report.refused);
    }
}

/// The same database on a second node.
fn copy(database: &Database, instance: &Instance, user: &User) -> Result<Database> {
    let entries = testing::export_entries(database)?;
    let report = testing::ingest(instance, database.root_id(), entries)?;
    assert!(report.refused.is_empty() && report.waiting.is_empty(), "{report:?}");
    user.open_database(database.root_id())
}

#[test]
fn three_hundred_concurrent_rights_operations_stop_neither_an_admin_nor_a_writer() -> Result<()> {
    let (instance, user) = node()?;
    let (writers, writer) = node()?;
    let database = user.create_database(eidetica::crdt::Doc::new(), user.get_default_key()?)?;
    database.grant(writer.get_default_key()?, Permission::Write, 200)?;
    let forker = key(5);
    let from = database.grant(forker.public_key(), Permission::Write, 100)?;
    let mut forge = Forge::new(&database);
    for _ in 0..300 {
        forge.make(&forker, None, vec![from], vec![from], MERGE);
    }
    forge.ingest(&instance);
    let theirs = copy(&database, &writers, &writer)?;
    for (database, name) in [(&database, "admin"), (&theirs, "writer")] {
        for round in 0..16 {
            set(database, name, round)?;
        }
        assert_eq!(database.tips().len(), 1, "the {name}'s entries join what is concurrent");
        assert_clean(database);
    }
    database.revoke(forker.public_key())?;
    let theirs = {
        copy(&database, &writers, &writer)?;
        copy(&theirs, &instance, &user)?;
        set(&theirs, "after", 1)?;
        copy(&theirs, &instance, &user)?;
        theirs
    };
    assert_eq!(state(&database)?, state(&theirs)?);
    assert_eq!(get(&database, "after")?, get(&theirs, "after")?);
    assert_clean(&database);
    Ok(())
}

/// A database with three tips that each name as many heads as an entry can.
fn crowded() -> Result<(Instance, Database)> {
    let (instance, user) = node()?;
    let database = user.create_database(eidetica::crdt::Doc::new(), user.get_default_key()?)?;
    let forker = key(5);
    let from = database.grant(forker.public_key(), Permission::Write, 100)?;
    let mut forge = Forge::new(&database);
    for _ in 0..3 {
        forge.crowd(&forker, from, 256);
    }
    forge.ingest(&instance);
    assert_eq!(database.tips().len(), 3);
    Ok((instance, database))
}

#[test]
fn tips_that_each_name_as_many_heads_as_an_entry_can_are_joined() -> Result<()> {
    let (_instance, database) = crowded()?;
    set(&database, "a", 1)?;
    assert_eq!(database.tips().len(), 1);
    assert_clean(&database);
    Ok(())
}

#[test]
fn a_step_of_several_entries_is_possible_beside_crowds_of_rights_operations() -> Result<()> {
    let (_instance, database) = crowded()?;
    database.atomically(|database| {
        set(database, "a", 1)?;
        set(database, "b", 2)
    })?;
    assert_eq!(get(&database, "b")?, eidetica::crdt::Value::from(2));
    set(&database, "c", 3)?;
    assert_eq!(database.tips().len(), 1, "the next entry joins what is concurrent");
    assert_clean(&database);
    Ok(())
}

#[test]
fn whoever_forks_its_chain_three_hundred_times_can_be_revoked_and_its_longest_chains_stand() -> Result<()> {
    let (instance, user) = node()?;
    let (others, other) = node()?;
    let database = user.create_database(eidetica::crdt::Doc::new(), user.get_default_key()?)?;
    let forker = key(6);
    let from = database.grant(forker.public_key(), Permission::Write, 100)?;
    let mut forge = Forge::new(&database);
    let forks: Vec<Id> = (0..300).map(|_| forge.make(&forker, None, vec![from], vec![from], NOTE)).collect();
    // The oldest ones are the longest.
    let longest: Vec<Id> = forks[..10]
        .iter()
        .map(|first| forge.make(&forker, Some((*first, 0)), vec![*first], vec![from], NOTE))
        .collect();
    forge.ingest(&instance);
    let theirs = copy(&database, &others, &other)?;
    database.revoke(forker.public_key())?;
    let counts = |id: &Id| database.why(*id).unwrap().counts;
    assert!(longest.iter().chain(&forks[..10]).all(counts), "the longest chains stand");
    assert!(forks[54..].iter().all(counts), "and then the newest");
    assert!(!forks[10..54].iter().any(counts), "what there was no room for is void");
    assert_clean(&database);
    copy(&database, &others, &other)?;
    assert_eq!(state(&database)?, state(&theirs)?);
    set(&database, "after", 1)?;
    Ok(())
}
