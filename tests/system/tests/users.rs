//! Users, their keys and their passwords.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use eidetica::backend::{Backend, InMemory};
use eidetica::crdt::Doc;
use eidetica::{ErrorKind, Instance};
use eidetica_kernel::backend::{Scan, for_each_row};
use eidetica_system_tests::node::{get, set};

/// What rests in the backend, one row after the other.
fn at_rest(backend: &dyn Backend) -> Vec<u8> {
    let mut bytes = Vec::new();
    let page = |scan: &Scan| backend.scan(scan);
    for_each_row(Scan::all(), page, |(_, row)| {
        bytes.extend_from_slice(&row);
        Ok(())
    })
    .unwrap();
    bytes
}

#[test]
fn keys_added_after_a_password_was_changed_open_with_the_new_one() {
    for (old, new) in [(Some("old"), Some("new")), (None, Some("new")), (Some("old"), None)] {
        let backend: Arc<dyn Backend> = Arc::new(InMemory::new());
        let instance = Instance::builder().shared_backend(backend.clone()).open().unwrap();
        instance.create_user("alice", old).unwrap();
        let user = instance.login_user("alice", old).unwrap();
        let database = user.create_database(Doc::new(), user.get_default_key().unwrap()).unwrap();
        let wrong = instance.change_password("alice", Some("wrong"), new).unwrap_err();
        assert_eq!(wrong.kind(), ErrorKind::PermissionDenied);
        instance.change_password("alice", old, new).unwrap();
        // Who is logged in goes on.
        set(&database, "after", 1).unwrap();
        let added = user.add_private_key(Some("second")).unwrap();
        let keys = user.list_keys().unwrap();
        assert!(instance.login_user("alice", old).is_err(), "{old:?} to {new:?}");
        let again = instance.login_user("alice", new).unwrap();
        assert_eq!(again.list_keys().unwrap(), keys);
        for (key, _) in keys {
            let text = again.export_key(key).unwrap();
            let byte = |at: usize| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap();
            let seed: Vec<u8> = (0..32).map(byte).collect();
            let plain = at_rest(&*backend).windows(32).any(|bytes| bytes == seed);
            assert_eq!(plain, new.is_none(), "a password seals every key, {added} too");
        }
        assert_eq!(
            get(&again.open_database(database.root_id()).unwrap(), "after").unwrap().as_i64(),
            Some(1)
        );
        instance.change_password("alice", new, Some("third")).unwrap();
    }
}

#[test]
fn a_key_is_refused_where_the_password_was_changed_elsewhere() {
    let backend: Arc<dyn Backend> = Arc::new(InMemory::new());
    let open = || Instance::builder().shared_backend(backend.clone()).open().unwrap();
    let (here, elsewhere) = (open(), open());
    here.create_user("alice", Some("old")).unwrap();
    let user = here.login_user("alice", Some("old")).unwrap();
    elsewhere.change_password("alice", Some("old"), Some("new")).unwrap();
    let refused = user.add_private_key(None).unwrap_err();
    assert!(refused.to_string().contains("log in again"), "{refused}");
    assert_eq!(here.login_user("alice", Some("new")).unwrap().list_keys().unwrap().len(), 1);
}
