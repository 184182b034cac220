//! Exit codes and messages for what can be got wrong.

use serde_json::Value;

use crate::support::Home;

#[test]
fn mistakes_have_their_exit_codes() {
    let home = Home::new();
    let config = home.file("wrong.toml", "[default.backend.file]\npth = \"x\"\ncache_bytes = \"many\"\n");
    let occupied = home.file("occupied", "");
    let ticket = format!("eidetica:?db={}&peer=ed25519:{}", "0".repeat(63), "1".repeat(64));
    let key = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
    let misaddressed = format!("eidetica:?db={}&peer=ed25519:{key}&at=http:127.0.0.1:99999", "0".repeat(64));
    for (args, code, about) in [
        (&["frobnicate"][..], 2, "frobnicate"),
        (&["get"], 2, "<DB>"),
        (&["--profile", "pord", "status"], 2, "did you mean \"prod\""),
        (&["--config", &config, "status"], 2, "pth"),
        (&["--config", &config, "config", "check"], 2, "cache_bytes"),
        (&["--config", "/nowhere/at/all.toml", "status"], 2, "/nowhere/at/all.toml"),
        (&["--set", "backend.use=flie", "status"], 2, "flie"),
        (&["--set", "scheduler.standard.jitter=much", "status"], 2, "scheduler.standard.jitter"),
        (&["--set", "node.listen=nonsense", "config", "check"], 2, "node.listen (flag --set node.listen)"),
        (&["serve", "--listen", "nonsense"], 2, "node.listen (flag --listen)"),
        (&["serve", "--listen", "http:localhost:many"], 2, "node.listen (flag --listen)"),
        (&["join", &ticket], 2, "ticket"),
        (&["join", "eidetica:?db"], 2, "ticket"),
        (&["join", &misaddressed], 2, "the ticket: "),
        (&["share", "notes", "--expires", "soon"], 2, "soon"),
        (&["share", "notes", "--uses", "0"], 2, "0"),
        (&["share", "notes", "--read", "--write"], 2, "--write"),
        (&["plugins", "show", "backend", "flie"], 2, "file"),
        (&["plugins", "show", "backends", "file"], 2, "kinds: auth, backend, scheduler, store, transport"),
        (&["db", "create", " "], 2, "name"),
        (&["db", "show", "notes"], 1, "notes"),
        (&["user", "add", "bob"], 2, "password"),
        (&["--user", "nobody", "db", "create", "x"], 3, "logging in"),
    ] {
        let done = home.run(args);
        assert_eq!(done.code, Some(code), "{args:?}: {done:?}");
        assert!(done.err.contains(about) && done.err.starts_with("error: "), "{args:?}: {done:?}");
        assert_eq!(done.out, "", "{args:?}");
    }
    for args in [&["status"][..], &["serve", "--listen", "127.0.0.1:0"]] {
        let below = format!("{occupied}/data");
        for data in [&occupied, &below] {
            let run = &mut crate::support::program(&["--data", data], args);
            let said = crate::support::finish(run).fails(1);
            assert!(said.contains(data), "{said}");
            assert!(said.contains("is a file, not a folder"), "{said}");
        }
    }
}

#[test]
fn errors_as_json_have_code_and_message() {
    let home = Home::new();
    let done = home.run(&["--json", "db", "show", "notes"]);
    assert_eq!(done.code, Some(1));
    let said: Value = serde_json::from_str(&done.err).unwrap();
    assert_eq!(said["error"]["code"], 1);
    assert!(said["error"]["message"].as_str().unwrap().contains("notes"), "{said}");
}

#[test]
fn usage_errors_are_json_too_where_json_is_asked_for() {
    let home = Home::new();
    for args in [&["--json", "get"][..], &["frobnicate", "--json"], &["--json", "share", "x", "--uses", "0"]]
    {
        let done = home.run(args);
        assert_eq!((done.code, &done.out[..]), (Some(2), ""), "{done:?}");
        let said: Value = serde_json::from_str(&done.err).unwrap();
        assert_eq!(said["error"]["code"], 2);
        let message = said["error"]["message"].as_str().unwrap();
        assert!(
            !message.is_empty() && !message.starts_with("error") && !message.contains('\u{1b}'),
            "{said}"
        );
    }
    assert!(home.ok(&["--json", "--help"]).contains("Usage"));
}

#[test]
fn a_ticket_that_nobody_could_follow_isnt_made() {
    let home = Home::new();
    home.ok(&["db", "create", "notes"]);
    let said = home.run(&["share", "notes"]).fails(1);
    assert!(said.contains("serve"), "{said}");
    let advertised = home.ok(&["--set", "node.advertise=[\"https://db.example.org\"]", "share", "notes"]);
    assert!(advertised.contains("db.example.org"), "{advertised}");
}

#[test]
fn the_configuration_is_checked_and_shown_without_opening_anything() {
    let home = Home::new();
    home.ok(&["config", "check"]);
    let shown = home.ok(&["--set", "scheduler.standard.jitter=0.5", "config", "show"]);
    assert!(shown.contains("scheduler.standard.jitter = 0.5  # flag --set"), "{shown}");
    assert!(shown.contains("# flag --data"), "{shown}");
    assert!(home.json(&["config", "schema"])["$defs"].is_object());
    assert!(home.ok(&["plugins", "list"]).contains("file"));
    assert_eq!(home.json(&["plugins", "show", "backend", "file"])["kind"], "backend");
    assert!(home.ok(&["completions", "bash"]).contains("eidetica"));
    assert!(!home.data.exists());
}

#[test]
fn a_full_disk_is_told_and_loses_nothing() {
    let home = Home::new();
    home.ok(&["db", "create", "notes"]);
    home.ok(&["set", "notes", "list", "milk", "2"]);
    // As much must stay free as no disk has: to the node that is a full one.
    let full = ["--set", "backend.file.free_bytes_min=1000000000000000000"];
    let said = home.run(&[&full[..], &["set", "notes", "list", "bread", "1"]].concat()).fails(1);
    assert!(said.contains("free") && said.contains("make room"), "{said}");
    let missing = home.file("missing.json", "{\"a\": 1}");
    home.run(&[&full[..], &["import", "notes", "list", &missing]].concat()).fails(1);
    assert_eq!(home.ok(&["get", "notes", "list"]), "{\"milk\":2}");
    home.ok(&["verify"]);
}
