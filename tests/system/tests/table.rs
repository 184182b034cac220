//! A table through the engine: committed, found again after the files were opened anew, exported.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use eidetica::Instance;
use eidetica::backend::File;
use eidetica::crdt::Doc;
use eidetica::store::Table;
use serde::{Deserialize, Serialize};

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Person {
    name: String,
    age: u32,
}

#[test]
fn a_table_is_found_again_after_its_files_are_opened_anew() {
    let folder = tempfile::tempdir().unwrap();
    let person = |age| Person { name: format!("p{age}"), age };
    let (id, row) = {
        let instance = Instance::open(Box::new(File::open(folder.path()).unwrap())).unwrap();
        instance.create_user("alice", None).unwrap();
        let user = instance.login_user("alice", None).unwrap();
        let database = user.create_database(Doc::new(), user.get_default_key().unwrap()).unwrap();
        let transaction = database.new_transaction().unwrap();
        let people = transaction.get_store::<Table<Person>>("people").unwrap();
        let rows: Vec<_> = (0..100).map(|age| people.insert(&person(age)).unwrap()).collect();
        transaction.commit().unwrap();
        let id = *database.root_id();
        instance.close().unwrap();
        (id, rows[42])
    };
    let instance = Instance::open(Box::new(File::open(folder.path()).unwrap())).unwrap();
    let database = instance.load_database(id).unwrap();
    let people = database.get_store_viewer::<Table<Person>>("people").unwrap();
    assert_eq!(people.find("age", 42).unwrap(), [(row, person(42))]);
    assert_eq!(people.count().unwrap(), 100);
    assert!(people.insert(&person(1)).unwrap_err().is_permission_denied());
    let mut json = Vec::new();
    database.export_json("people", &mut json).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    assert_eq!(json[row.to_string()]["age"], 42);
}
