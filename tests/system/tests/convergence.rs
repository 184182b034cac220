//! Replicas that hold the same entries hold the same state, whatever the order in which the entries came.
#![allow(clippy::print_stdout, reason = "the distribution of what was generated is for people")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use eidetica::auth::Permission;
use eidetica::backend::{Backend, InMemory};
use eidetica::crdt::{Doc, Value};
use eidetica::store::DocStore;
use eidetica::testing::{self, RawEntry};
use eidetica::{Database, Error, ErrorKind, Id, Instance, KeyId, User};
use eidetica_system_tests::seeded::{Dice, VirtualTime};
use eidetica_system_tests::state::{assert_clean, state};

/// Paths that every replica writes to.
const MAPS: [&str; 6] = ["m", "m.x", "m.x.y", "m.x.z", "m.n", "k"];
const LISTS: [&str; 2] = ["l", "m.list"];
const STORES: [&str; 3] = ["a", "b", "c"];

/// One replica: its clock may run ahead or behind by minutes.
struct Replica {
    backend: Arc<dyn Backend>,
    seed: u64,
    skew_ms: i64,
    instance: Instance,
    user: User,
    key: KeyId,
    database: Option<Database>,
}

impl Replica {
    fn new(time: &VirtualTime, seed: u64, skew_ms: i64) -> Self {
        let backend: Arc<dyn Backend> = Arc::new(InMemory::new());
        let open = Instance::builder().shared_backend(backend.clone()).context(time.context(seed, skew_ms));
        let instance = open.open().unwrap();
        instance.create_user("user", None).unwrap();
        let user = instance.login_user("user", None).unwrap();
        let key = user.get_default_key().unwrap();
        Self { backend, seed, skew_ms, instance, user, key, database: None }
    }

    /// The process ends and starts again: what was only in memory is gone.
    fn restart(&mut self, time: &VirtualTime) {
        self.seed += 1_000_003;
        let context = time.context(self.seed, self.skew_ms);
        self.instance =
            Instance::builder().shared_backend(self.backend.clone()).context(context).open().unwrap();
        self.user = self.instance.login_user("user", None).unwrap();
        self.database = self.database.as_ref().map(|held| self.user.open_database(held.root_id()).unwrap());
    }

    fn ingest(&mut self, database: &Id, entries: Vec<RawEntry>) {
        let report = testing::ingest(&self.instance, database, entries).unwrap();
        assert_eq!(report.refused, [], "replicas that keep to the rules refuse each other nothing");
        assert_eq!(report.bad_copies, []);
        assert_eq!(report.not_before, []);
        self.database.get_or_insert_with(|| self.user.open_database(database).unwrap());
    }

    fn database(&self) -> &Database {
        self.database.as_ref().unwrap()
    }
}

/// What a run did, counted.
#[derive(Debug, Default)]
struct Mix {
    /// Operations by what they are.
    kinds: BTreeMap<&'static str, u64>,
    /// Operations by the place they touch, and who touched it.
    places: BTreeMap<String, (u64, BTreeSet<usize>)>,
    /// Entries without effect in the end.
    void: u64,
}

impl Mix {
    fn count(&mut self, replica: usize, kind: &'static str, place: String) {
        *self.kinds.entry(kind).or_default() += 1;
        let (operations, replicas) = self.places.entry(place).or_default();
        *operations += 1;
        replicas.insert(replica);
    }

    /// All operations, and those on places that several replicas touched.
    fn operations(&self) -> (u64, u64) {
        let all = self.places.values().map(|(operations, _)| operations).sum();
        let shared = self.places.values().filter(|(_, replicas)| replicas.len() > 1);
        (all, shared.map(|(operations, _)| operations).sum())
    }

    fn add(&mut self, run: &Self) {
        self.void += run.void;
        for (kind, count) in &run.kinds {
            *self.kinds.entry(kind).or_default() += count;
        }
    }
}

/// An operation that doesn't fit what is there (a list where a map is) is left out.
fn fits(done: Result<(), Error>) -> bool {
    match done {
        Ok(()) => true,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::InvalidInput) => false,
        Err(error) => panic!("{error}"),
    }
}

/// Stages one random operation.
fn operate(store: &DocStore, name: &str, at: usize, dice: &mut Dice, number: u64, mix: &mut Mix) -> bool {
    let value = format!("{at}-{number}");
    let map = *dice.pick(&MAPS);
    let list = *dice.pick(&LISTS);
    let len = store.len(list).unwrap_or(0);
    let (kind, place, done) = match dice.below(100) {
        0..20 => ("own key", format!("own{at}.{}", dice.below(5)), None),
        20..35 => ("scalar, also where a map is", map.to_owned(), Some(store.set_path(map, value.as_str()))),
        35..47 => {
            let path = format!("{map}.n{}", dice.below(2));
            let done = store.set_path(path.as_str(), number as i64);
            ("nested set, also below what others delete", path, Some(done))
        }
        47..57 => ("delete of a shared path", map.to_owned(), Some(store.delete_path(map))),
        57..64 => {
            let mut fresh = Doc::new();
            fresh.set("x", Value::from(number as i64));
            fresh.set("by", Value::from(value.as_str()));
            ("map in place of what is there", map.to_owned(), Some(store.set_path(map, fresh)))
        }
        64..78 => ("list push", list.to_owned(), Some(store.push(list, value.as_str()))),
        78..86 => {
            let done = store.insert(list, dice.below(len + 1), value.as_str());
            ("list insert", list.to_owned(), Some(done))
        }
        86..92 if len > 0 => {
            let done = store.move_item(list, dice.below(len), dice.below(len));
            ("list move", list.to_owned(), Some(done))
        }
        92..98 if len > 0 => ("list delete", list.to_owned(), Some(store.remove(list, dice.below(len)))),
        _ => {
            let fresh = Value::List(vec![Value::from(value.as_str())]);
            ("list in place of what is there", list.to_owned(), Some(store.set_path(list, fresh)))
        }
    };
    let done = done.unwrap_or_else(|| store.set_path(place.as_str(), value.as_str()));
    let fitting = fits(done);
    if fitting {
        mix.count(at, kind, format!("{name}/{place}"));
    }
    fitting
}

struct Run {
    dice: Dice,
    time: VirtualTime,
    replicas: Vec<Replica>,
    root: Id,
    /// Grants and revocations are mixed in.
    rights: bool,
    mix: Mix,
    denied: u64,
    delivered_twice: u64,
}

impl Run {
    fn new(seed: u64, rights: bool) -> Self {
        let mut dice = Dice::new(seed);
        let time = VirtualTime::new();
        let count = 2 + (seed % 4) as usize;
        let mut replicas: Vec<Replica> = (0..count as u64)
            .map(|at| Replica::new(&time, seed * 100 + at, dice.below(480_000) as i64 - 240_000))
            .collect();
        let first = replicas[0].user.create_database(Doc::new(), replicas[0].key).unwrap();
        let root = *first.root_id();
        for (at, replica) in replicas.iter().enumerate().skip(1) {
            let (permission, seniority) = if at <= 2 && rights {
                (Permission::Admin, 10 * at as u32)
            } else {
                (Permission::Write, 100)
            };
            first.grant(replica.key, permission, seniority).unwrap();
        }
        let begun = testing::export_entries(&first).unwrap();
        replicas[0].database = Some(first);
        for replica in &mut replicas[1..] {
            replica.ingest(&root, begun.clone());
        }
        Self { dice, time, replicas, root, rights, mix: Mix::default(), denied: 0, delivered_twice: 0 }
    }

    fn step(&mut self, number: u64) {
        self.time.pass(*self.dice.pick(&[0, 0, 1, 40, 60_000]));
        let at = self.dice.below(self.replicas.len());
        match self.dice.below(100) {
            0..18 => self.deliver(at),
            18..20 => self.replicas[at].restart(&self.time),
            20..30 if self.rights => self.change_rights(at),
            _ => self.write(at, number),
        }
    }

    fn write(&mut self, at: usize, number: u64) {
        let transaction = self.replicas[at].database().new_transaction().unwrap();
        let mut staged = false;
        for _ in 0..=self.dice.below(3) {
            let name = *self.dice.pick(&STORES);
            let store = transaction.get_store::<DocStore>(name).unwrap();
            staged |= operate(&store, name, at, &mut self.dice, number, &mut self.mix);
        }
        if staged {
            self.allowed(transaction.commit());
        }
    }

    fn allowed(&mut self, committed: Result<Id, Error>) {
        match committed {
            Ok(_) => {}
            Err(error) if error.is_permission_denied() => self.denied += 1,
            Err(error) => panic!("{error}"),
        }
    }

    fn change_rights(&mut self, at: usize) {
        let of = self.dice.below(self.replicas.len());
        let key = self.replicas[of].key;
        let database = self.replicas[at].database().clone();
        let permission = *self.dice.pick(&[Permission::Read, Permission::Write, Permission::Admin]);
        let seniority = *self.dice.pick(&[0, 10, 20, 50, 100]);
        let done = match self.dice.below(10) {
            0..3 => database.grant(key, permission, seniority),
            3..5 => database.revoke(key),
            5 => {
                // As for a key that was stolen: from a random entry of its on.
                let theirs: Vec<Id> = testing::export_entries(&database)
                    .unwrap()
                    .into_iter()
                    .filter(|raw| eidetica_kernel::Header::decode(&raw.header).unwrap().author == key)
                    .map(|raw| raw.id())
                    .collect();
                match theirs.is_empty() {
                    true => return,
                    false => database.revoke_since(key, self.dice.pick(&theirs)),
                }
            }
            6 => database.grant("*", permission, 100),
            7 => database.revoke("*"),
            8 => database.merge_rights(),
            _ => {
                let none = eidetica::auth::Grant::new(permission, seniority);
                let only = eidetica::auth::StoreScope::Only(vec!["a".to_owned()]);
                database.grant_exactly(key, eidetica::auth::Grant { stores: only, ..none })
            }
        };
        self.allowed(done);
    }

    /// Hands a replica some of another one's entries, in random order, some of them twice.
    fn deliver(&mut self, to: usize) {
        let from = self.dice.below(self.replicas.len());
        let mut entries = testing::export_entries(self.replicas[from].database()).unwrap();
        let percent = *self.dice.pick(&[20, 60, 100]);
        entries.retain(|_| self.dice.chance(percent));
        self.hand_in(to, entries);
    }

    fn hand_in(&mut self, to: usize, mut entries: Vec<RawEntry>) {
        for at in 0..entries.len() {
            if self.dice.chance(15) {
                entries.push(entries[at].clone());
                self.delivered_twice += 1;
            }
        }
        self.dice.shuffle(&mut entries);
        while !entries.is_empty() {
            let rest = entries.split_off(entries.len().min(1 + self.dice.below(30)));
            self.replicas[to].ingest(&self.root, entries);
            entries = rest;
        }
    }

    /// Everybody gets everything, and is compared.
    fn settle(mut self) -> Mix {
        let mut all: BTreeMap<Id, RawEntry> = BTreeMap::new();
        for replica in &self.replicas {
            let entries = testing::export_entries(replica.database()).unwrap();
            all.extend(entries.into_iter().map(|raw| (raw.id(), raw)));
        }
        for to in 0..self.replicas.len() {
            self.hand_in(to, all.values().cloned().collect());
        }
        let first = state(self.replicas[0].database()).unwrap();
        let compare = |replica: &Replica, whose: &str| {
            let own = state(replica.database()).unwrap();
            for (store, json) in &first.json {
                assert_eq!(Some(json), own.json.get(store), "{whose}: {store}");
            }
            assert_eq!(first, own, "{whose}");
            assert_clean(replica.database());
        };
        for (at, replica) in self.replicas.iter().enumerate() {
            assert_eq!(testing::export_entries(replica.database()).unwrap().len(), all.len());
            compare(replica, &format!("replica {at}"));
        }
        // Who joins late gets only what is offered: void entries that nothing depends on stay behind.
        let offered = testing::export_offered(self.replicas[0].database()).unwrap();
        self.mix.void = (all.len() - offered.len()) as u64;
        let mut late = Replica::new(&self.time, 999, 0);
        let (root, mut rest): (Vec<_>, Vec<_>) = offered.into_iter().partition(|raw| raw.id() == self.root);
        self.dice.shuffle(&mut rest);
        late.ingest(&self.root, root.into_iter().chain(rest).collect());
        compare(&late, "who joined late");
        // What is derived anew is what was derived step by step.
        late.restart(&self.time);
        compare(&late, "after a restart");
        self.replicas[0].database().rebuild().unwrap();
        compare(&self.replicas[0], "after a rebuild");
        self.mix
    }
}

fn run(seeds: std::ops::Range<u64>, steps: u64, rights: bool) {
    let (mut mix, mut all, mut shared) = (Mix::default(), 0, 0);
    for seed in seeds {
        let mut run = Run::new(seed, rights);
        println!("seed {seed}: {} replicas", run.replicas.len());
        for number in 0..steps {
            run.step(number);
        }
        let (denied, twice) = (run.denied, run.delivered_twice);
        let done = run.settle();
        let (operations, on_shared) = done.operations();
        println!(
            "  {operations} operations, {on_shared} on shared paths; {denied} denied, {twice} delivered twice, {} void",
            done.void
        );
        all += operations;
        shared += on_shared;
        mix.add(&done);
    }
    println!("{all} operations, {}% of them on paths that several replicas write to", shared * 100 / all);
    for (kind, count) in &mix.kinds {
        println!("  {:>3}% {kind}", count * 100 / all);
        assert!(*count > 0);
    }
    assert_eq!(mix.void > 0, rights, "revocations void entries, and nothing else does");
    assert_eq!(mix.kinds.len(), 10, "every kind of operation took place");
    assert!(shared * 100 >= all * 30, "at least 30 % of the operations are on shared paths");
}

#[test]
fn random_concurrent_histories_converge_in_any_order_of_delivery() {
    run(0..16, 70, false);
}

#[test]
fn they_converge_with_grants_and_revocations_among_them() {
    run(100..132, 70, true);
}
