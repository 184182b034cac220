//! Stores of a kind that a program doesn't know: kept and passed on, and folded by one that does.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::any::Any;
use std::sync::Arc;

use eidetica::auth::Permission;
use eidetica::backend::{Backend, InMemory};
use eidetica::crdt::Doc;
use eidetica::{Database, Event, Id, Instance, Result, User, testing};
use eidetica_conformance::store::Reference;
use eidetica_kernel::StoreHandle;
use eidetica_kernel::store::{Draft, RowTable, StoreTx};
use eidetica_system_tests::node::set;
use eidetica_system_tests::state::{assert_clean, state};

/// A handle on 256 registers of one byte.
struct Registers(Arc<dyn StoreTx>);

struct Set([u8; 2]);

impl Draft for Set {
    fn encode(&mut self) -> Result<Option<(u16, Vec<u8>)>> {
        Ok(Some((1, self.0.to_vec())))
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}

impl StoreHandle for Registers {
    const KIND: &'static str = "reference/1";

    fn open(store: Arc<dyn StoreTx>) -> Result<Self> {
        Ok(Self(store))
    }
}

impl Registers {
    fn set(&self, register: u8, value: u8) {
        *self.0.draft_mut().unwrap() = Some(Box::new(Set([register, value])));
    }

    fn get(&self, register: u8) -> Option<u8> {
        self.0.rows().unwrap().get(RowTable::State, &[register]).unwrap().map(|row| row[40])
    }
}

fn write(database: &Database, register: u8, value: u8) -> Id {
    let transaction = database.new_transaction().unwrap();
    transaction.get_store::<Registers>("registers").unwrap().set(register, value);
    transaction.commit().unwrap()
}

fn registers(database: &Database) -> Vec<Option<u8>> {
    let registers = database.get_store_viewer::<Registers>("registers").unwrap();
    (0..4).map(|register| registers.get(register)).collect()
}

/// An instance on the backend that knows the kind, or doesn't, with its only user.
fn open(backend: &Arc<dyn Backend>, knows: bool) -> (Instance, User) {
    let mut builder = Instance::builder().shared_backend(backend.clone());
    if knows {
        builder = builder.store_kind(Arc::new(Reference));
    }
    let instance = builder.open().unwrap();
    if instance.list_users().unwrap().is_empty() {
        instance.create_user("user", None).unwrap();
    }
    let user = instance.login_user("user", None).unwrap();
    (instance, user)
}

fn memory() -> Arc<dyn Backend> {
    Arc::new(InMemory::new())
}

fn copy(from: &Database, to: &Instance) {
    testing::ingest(to, from.root_id(), testing::export_entries(from).unwrap()).unwrap();
}

#[test]
fn what_came_while_a_kind_was_unknown_is_folded_once_it_is_known() {
    let (_writer, user) = open(&memory(), true);
    let here = user.create_database(Doc::new(), user.get_default_key().unwrap()).unwrap();
    write(&here, 0, 1);
    let backend = memory();
    {
        let (replica, _user) = open(&backend, true);
        copy(&here, &replica);
        assert_eq!(registers(&replica.load_database(here.root_id()).unwrap())[0], Some(1));
    }
    let told;
    write(&here, 0, 2);
    write(&here, 1, 3);
    set(&here, "beside", 1).unwrap();
    {
        let (replica, _user) = open(&backend, false);
        copy(&here, &replica);
        let there = replica.load_database(here.root_id()).unwrap();
        assert_eq!(testing::export_entries(&there).unwrap(), testing::export_entries(&here).unwrap());
        assert_clean(&there);
        told = there.subscribe().unwrap().position();
    }
    let (replica, _user) = open(&backend, true);
    let there = replica.load_database(here.root_id()).unwrap();
    let mut changes = there.subscribe_from(told).unwrap();
    assert!(
        matches!(changes.try_next().unwrap(), Some(Event::Reset { .. })),
        "what was told then has changed"
    );
    assert!(changes.try_next().unwrap().is_none());
    assert_eq!(registers(&there), [Some(2), Some(3), None, None]);
    assert_eq!(state(&there).unwrap(), state(&here).unwrap());
    assert_clean(&there);
}

#[test]
fn what_became_void_while_a_kind_was_unknown_has_no_effect_once_it_is_known() {
    let backend = memory();
    let (admin, user) = open(&backend, true);
    let here = user.create_database(Doc::new(), user.get_default_key().unwrap()).unwrap();
    let (member, member_user) = open(&memory(), true);
    let key = member_user.get_default_key().unwrap();
    here.grant(key, Permission::Write, 100).unwrap();
    copy(&here, &member);
    let theirs = member_user.open_database(here.root_id()).unwrap();
    let first = write(&theirs, 2, 7);
    write(&theirs, 3, 8);
    copy(&theirs, &admin);
    assert_eq!(registers(&here)[2..], [Some(7), Some(8)]);
    drop((here, user, admin));
    {
        let (_admin, user) = open(&backend, false);
        let here = user.open_database(theirs.root_id()).unwrap();
        here.revoke_since(key, first).unwrap();
        assert_clean(&here);
    }
    let (_admin, user) = open(&backend, true);
    let here = user.open_database(theirs.root_id()).unwrap();
    assert_eq!(registers(&here)[2..], [None, None]);
    assert_clean(&here);
}
