//! Values and documents, with a running node and without.

use std::io::Read;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::support::Home;

/// Runs `check` twice: without a running node, and with one.
fn with_and_without_a_node(check: impl Fn(&Home)) {
    let home = Home::new();
    check(&home);
    let home = Home::new();
    let node = home.serve();
    check(&home);
    assert_eq!(node.stop(), Some(0));
}

#[test]
fn what_is_set_is_got() {
    with_and_without_a_node(|home| {
        home.ok(&["db", "create", "notes"]);
        home.ok(&["set", "notes", "tasks", "list", r#"[1, {"a.b": -5}, null]"#]);
        home.ok(&["set", "notes", "tasks", "list.0", "-7"]);
        home.ok(&["set", "notes", "tasks", r"dots.a\.b", "\"é\""]);
        assert_eq!(home.ok(&["get", "notes", "tasks", "list"]), r#"[-7,{"a.b":-5},null]"#);
        assert_eq!(home.ok(&["get", "notes", "tasks", r"list.1.a\.b"]), "-5");
        assert_eq!(home.ok(&["get", "notes", "tasks", "dots"]), r#"{"a.b":"é"}"#);
        assert_eq!(
            home.ok(&["get", "notes", "tasks"]),
            r#"{"dots":{"a.b":"é"},"list":[-7,{"a.b":-5},null]}"#
        );
        let missing = home.run(&["get", "notes", "tasks", "nothing"]).fails(1);
        assert!(missing.contains("nothing"), "{missing}");
        home.run(&["get", "notes", "nothing"]).fails(1);
        home.run(&["get", "nothing", "tasks"]).fails(1);
    });
}

#[test]
fn values_are_appended_to_lists_and_deleted() {
    with_and_without_a_node(|home| {
        home.ok(&["db", "create", "notes"]);
        for value in ["-1", "\"two\"", "{\"three\": [3]}"] {
            home.ok(&["append", "notes", "tasks", "list", value]);
        }
        assert_eq!(home.ok(&["get", "notes", "tasks", "list"]), r#"[-1,"two",{"three":[3]}]"#);
        home.ok(&["append", "notes", "tasks", "list.2.three", "4"]);
        home.ok(&["delete", "notes", "tasks", "list.1"]);
        assert_eq!(home.ok(&["get", "notes", "tasks", "list"]), r#"[-1,{"three":[3,4]}]"#);
        let entries = home.json(&["db", "show", "notes"])["entries"].clone();
        for missing in ["list.2", "nothing", "list.1.four"] {
            let said = home.run(&["delete", "notes", "tasks", missing]).fails(1);
            assert!(said.contains(missing), "{said}");
        }
        home.run(&["delete", "notes", "nothing", "list"]).fails(1);
        home.run(&["append", "notes", "tasks", "list", "{"]).fails(1);
        assert_eq!(home.json(&["db", "show", "notes"])["entries"], entries);
        home.ok(&["delete", "notes", "tasks", "list"]);
        assert_eq!(home.ok(&["get", "notes", "tasks"]), "{}");
    });
}

#[test]
fn a_database_keeps_a_usable_name() {
    with_and_without_a_node(|home| {
        home.ok(&["db", "create", "notes"]);
        let file = home.file("nameless.json", "{\"a\": 1}");
        for args in [
            &["set", "notes", "_settings", "name", "5"][..],
            &["set", "notes", "_settings", "name", "\" \""],
            &["set", "notes", "_settings", "name.first", "\"n\""],
            &["delete", "notes", "_settings", "name"],
            &["append", "notes", "_settings", "name", "\"n\""],
            &["import", "notes", "_settings", &file],
        ] {
            let said = home.run(args).fails(2);
            assert!(said.contains("_settings name"), "{said}");
        }
        home.ok(&["set", "notes", "_settings", "colour", "\"red\""]);
        home.ok(&["set", "notes", "_settings", "name", "\"diary\""]);
        assert_eq!(home.ok(&["get", "diary", "_settings", "name"]), "\"diary\"");
    });
}

#[test]
fn documents_come_back_as_they_were() {
    let documents = [
        json!({"a.b/c": {"": [[], {}, [{}]], "\\": "\"\n\u{1F600}"}, "n": [0, -1, 9223372036854775807_i64, 0.1, 1e300]}),
        json!([[], [1, [2, [3]]], {"x": null}, true]),
        json!("text"),
        json!(null),
        json!({}),
        json!([]),
    ];
    with_and_without_a_node(|home| {
        home.ok(&["db", "create", "notes"]);
        for document in &documents {
            let file = home.file("document.json", &document.to_string());
            home.ok(&["import", "notes", "store", &file]);
            for export in [&["export", "notes", "store"][..], &["export", "notes", "store", "--pretty"]] {
                let back: Value = serde_json::from_str(&home.ok(export)).unwrap();
                assert_eq!(back, *document);
            }
            let all: Value = serde_json::from_str(&home.ok(&["export", "notes"])).unwrap();
            assert_eq!(all, json!({ "store": document }));
        }
    });
}

#[test]
fn a_document_larger_than_an_entry_comes_back() {
    let document = json!({ "many": (0..20_000).collect::<Vec<_>>(), "long": vec!["x".repeat(3_000_000); 6] });
    let home = Home::new();
    let _node = home.serve();
    home.ok(&["db", "create", "notes"]);
    let done = home.run_with_input(&["--json", "import", "notes", "store", "-"], &document.to_string());
    let said: Value = serde_json::from_str(&done.ok()).unwrap();
    assert!(said["entries"].as_u64() > Some(1), "{said}");
    assert!(serde_json::from_str::<Value>(&home.ok(&["export", "notes", "store"])).unwrap() == document);
    home.run_with_input(&["import", "notes", "store", "-"], &format!("\"{}\"", "x".repeat(17 << 20)))
        .fails(1);
    assert_eq!(home.ok(&["get", "notes", "store", "many.0"]), "0");
}

#[test]
fn who_has_read_enough_of_an_answer_ends_it_without_an_error() {
    with_and_without_a_node(|home| {
        home.ok(&["db", "create", "notes"]);
        // More than pipes hold, so that writing goes on once the reader has gone.
        let document = json!(vec!["x".repeat(1_000); 500]).to_string();
        home.run_with_input(&["import", "notes", "store", "-"], &document).ok();
        for args in
            [&["export", "notes", "store"][..], &["get", "notes", "store"], &["--json", "export", "notes"]]
        {
            let mut child = home.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
            let mut begun = [0; 3];
            child.stdout.take().unwrap().read_exact(&mut begun).unwrap();
            let done = crate::support::done(child);
            assert_eq!((done.code, &done.err[..]), (Some(0), ""), "{args:?}");
        }
        assert!(home.ok(&["get", "notes", "store", "499"]).starts_with("\"xx"));
    });
}

#[test]
fn newline_delimited_json_is_a_list() {
    with_and_without_a_node(|home| {
        home.ok(&["db", "create", "notes"]);
        let file = home.file("list.ndjson", "1\n\n{\"a\": 2}\n[]");
        home.ok(&["import", "notes", "store", &file]);
        assert_eq!(home.ok(&["export", "notes", "store"]), r#"[1,{"a":2},[]]"#);
        home.run_with_input(&["import", "notes", "store", "-", "--ndjson"], "").ok();
        assert_eq!(home.ok(&["export", "notes", "store"]), "[]");
    });
}

#[test]
fn a_malformed_document_is_refused_where_it_is_wrong_and_changes_nothing() {
    with_and_without_a_node(|home| {
        home.ok(&["db", "create", "notes"]);
        home.ok(&["set", "notes", "store", "kept", "true"]);
        let entries = home.json(&["db", "show", "notes"])["entries"].clone();
        for (document, line, column) in [
            ("{\"a\": 1,\n  \"b\": }", 2, 8),
            ("{\"a\": 1,\n\"b\": 2, \"a\": 3}", 2, 9),
            ("[1,\n 9223372036854775808]", 2, 2),
            ("[1, 2", 1, 6),
            ("", 1, 1),
            ("1 2", 1, 3),
        ] {
            let file = home.file("wrong.json", document);
            let said = home.run(&["import", "notes", "store", &file]).fails(1);
            let place = format!("line {line}, column {column}");
            assert!(said.contains(&place), "{document}: {said} isn't at {place}");
            assert!(said.starts_with(&format!("error: reading {file}: ")), "{said}");
        }
        let said = home.run_with_input(&["import", "notes", "store", "-"], "[1,").fails(1);
        assert!(said.starts_with("error: reading standard input: it ends"), "{said}");
        let file = home.file("wrong.ndjson", "{\"a\": 1}\n{\"a\"}\n");
        let said = home.run(&["import", "notes", "store", &file]).fails(1);
        assert!(said.contains("wrong.ndjson") && said.contains("line 2"), "{said}");
        let said = home.run(&["set", "notes", "store", "kept", "tru"]).fails(1);
        assert!(said.contains("line 1"), "{said}");
        home.run(&["import", "notes", "store", "/nowhere/at/all.json"]).fails(1);
        assert_eq!(home.ok(&["get", "notes", "store"]), r#"{"kept":true}"#);
        assert_eq!(home.json(&["db", "show", "notes"])["entries"], entries);
    });
}

#[test]
fn databases_go_by_name_id_and_unique_beginnings() {
    with_and_without_a_node(|home| {
        let first = home.ok(&["db", "create", "notes"]);
        let said = home.run(&["db", "create", "notes"]).fails(2);
        assert!(said.contains(&first) && said.contains("--allow-duplicate"), "{said}");
        let second = home.ok(&["db", "create", "notes", "--allow-duplicate"]);
        let said = home.run(&["db", "show", "notes"]).fails(2);
        assert!(said.contains(&first) && said.contains(&second), "{said}");
        assert_eq!(home.json(&["db", "show", &first])["id"], first);
        assert_eq!(home.json(&["db", "show", &second[..24]])["id"], second);
        home.run(&["db", "show", "other"]).fails(1);
        home.ok(&["db", "drop", &first]);
        assert_eq!(home.json(&["db", "show", "notes"])["id"], second);
        assert_eq!(home.json(&["db", "list"]).as_array().unwrap().len(), 1);
    });
}

#[test]
fn users_with_passwords_act_by_them() {
    with_and_without_a_node(|home| {
        let with = |password: &str, args: &[&str]| {
            crate::support::finish(home.command(args).env("EIDETICA_PASSWORD", password).stdin(Stdio::null()))
        };
        with("secret", &["user", "add", "bob"]).ok();
        assert_eq!(home.ok(&["user", "list"]), "bob\nnode");
        let database = with("secret", &["--user", "bob", "db", "create", "bobs"]).ok();
        home.run(&["--user", "bob", "set", "bobs", "s", "k", "1"]).fails(3);
        with("wrong", &["--user", "bob", "set", "bobs", "s", "k", "1"]).fails(3);
        for reads in [&["db", "list"][..], &["status"], &["peer", "list"], &["user", "list"], &["verify"]] {
            let as_user = |name| [&["--user", name], reads].concat();
            let wrong = with("wrong", &as_user("bob")).fails(3);
            assert_eq!(wrong, with("wrong", &as_user("nobody")).fails(3), "{reads:?}");
            with("secret", &as_user("bob")).ok();
        }
        home.run(&["set", "bobs", "s", "k", "1"]).fails(3);
        let locked = &home.json(&["status"])["databases"][0];
        assert_eq!((&locked["id"], &locked["locked"]), (&json!(database), &json!(true)));
        with("secret", &["--user", "bob", "set", "bobs", "s", "k", "1"]).ok();
        with("secret", &["user", "passwd", "bob", "--no-password"]).ok();
        home.ok(&["--user", "bob", "set", "bobs", "s", "k", "2"]);
        let secret = home.ok(&["--user", "bob", "key", "export"]);
        home.run_with_input(&["key", "import", "--name", "bobs"], &secret).ok();
        home.ok(&["set", "bobs", "s", "k", "3"]);
        assert_eq!(home.json(&["status"])["databases"][0]["locked"], false);
    });
}

#[test]
fn rights_are_given_taken_and_explained() {
    let home = Home::new();
    home.ok(&["db", "create", "notes"]);
    let key = format!("ed25519:{}", "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a");
    home.ok(&["grant", "notes", &key, "write", "--store", "tasks", "--seniority", "200"]);
    let shown = home.ok(&["db", "show", "notes"]);
    assert!(shown.contains(&format!("{key} write, seniority 200, stores tasks")), "{shown}");
    home.ok(&["revoke", "notes", &key]);
    assert!(home.ok(&["db", "show", "notes"]).contains(&format!("{key} revoked")));
    let file = home.file("rights.json", "{}");
    for args in [
        &["get", "notes", "_rights"][..],
        &["export", "notes", "_rights"],
        &["set", "notes", "_rights", "a", "1"],
        &["append", "notes", "_rights", "a", "1"],
        &["delete", "notes", "_rights", "a"],
        &["import", "notes", "_rights", &file],
    ] {
        let said = home.run(args).fails(2);
        for command in ["`eidetica db show DB`", "`eidetica grant`", "`eidetica revoke`"] {
            assert!(said.contains(command) && !said.contains("()"), "{args:?}: {said}");
        }
    }
    let entry = home.json(&["set", "notes", "tasks", "a", "1"])["entry"].as_str().unwrap().to_owned();
    let why = home.json(&["why", "notes", &entry[..20]]);
    assert_eq!((&why["entry"], &why["counts"]), (&json!(entry), &json!(true)));
    home.run(&["why", "notes", "not hex"]).fails(2);
    home.run(&["why", "notes", "ffffffffffff"]).fails(1);
    home.run(&["grant", "notes", "nobody", "write"]).fails(2);
    home.ok(&["verify"]);
    home.ok(&["rebuild", "notes"]);
    assert_eq!(home.ok(&["get", "notes", "tasks", "a"]), "1");
}
