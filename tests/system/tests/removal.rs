//! Databases that are removed.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use eidetica::backend::{Backend, InMemory};
use eidetica::crdt::Doc;
use eidetica::{Database, ErrorKind, Id, Instance};
use eidetica_conformance::backend::FaultyBackend;
use eidetica_kernel::backend::Scan;
use eidetica_system_tests::node::set;

fn open(backend: &Arc<FaultyBackend>) -> Instance {
    Instance::builder().shared_backend(backend.clone()).open().unwrap()
}

fn create(instance: &Instance) -> Database {
    let user = instance.login_user("user", None).unwrap();
    let database = user.create_database(Doc::new(), user.get_default_key().unwrap()).unwrap();
    set(&database, "key", "a secret that has to go").unwrap();
    database
}

/// Whether anything of it is in the backend.
fn is_there(backend: &dyn Backend) -> bool {
    let page = backend.scan(&Scan::all()).unwrap();
    assert!(!page.more);
    page.rows.iter().any(|(_, row)| row.windows(8).any(|bytes| bytes == b"a secret"))
}

/// A removal that breaks off behind its mark.
fn broken_off(backend: &Arc<FaultyBackend>, instance: &Instance) -> Id {
    let id = *create(instance).root_id();
    backend.spare_next_commit();
    backend.fail_next_commit(ErrorKind::Full);
    assert_eq!(instance.remove_database(id).unwrap_err().kind(), ErrorKind::Full);
    assert!(!instance.has_database(id).unwrap());
    assert!(is_there(&**backend));
    id
}

#[test]
fn a_removal_that_broke_off_is_finished_by_the_next_or_when_the_instance_is_opened() {
    let backend = Arc::new(FaultyBackend::new(InMemory::new()));
    let instance = open(&backend);
    instance.create_user("user", None).unwrap();
    let id = broken_off(&backend, &instance);
    instance.remove_database(id).unwrap();
    assert!(!is_there(&*backend));
    assert!(instance.remove_database(id).unwrap_err().is_not_found(), "there is nothing left to remove");

    let id = broken_off(&backend, &instance);
    drop(instance);
    let instance = open(&backend);
    assert!(!is_there(&*backend));
    assert!(!instance.has_database(id).unwrap());
}
