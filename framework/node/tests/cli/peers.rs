//! Several nodes: sharing, joining, following, syncing, refusing.

use std::process::Stdio;

use crate::support::{Home, done};

#[test]
fn a_shared_database_is_joined_and_followed_both_ways() {
    let (a, b) = (Home::new(), Home::new());
    let (at_a, _at_b) = (a.serve(), b.serve());
    let id = a.ok(&["db", "create", "notes"]);
    a.ok(&["set", "notes", "tasks", "first", "1"]);
    let ticket = a.ok(&["share", "notes", "--write"]);
    assert_eq!(b.json(&["join", &ticket])["id"], id);
    assert_eq!(b.ok(&["get", "notes", "tasks", "first"]), "1");
    a.ok(&["set", "notes", "tasks", "second", "2"]);
    b.until(&["get", "notes", "tasks", "second"], "2");
    b.ok(&["set", "notes", "tasks", "third", "3"]);
    a.until(&["get", "notes", "tasks", "third"], "3");
    b.ok(&["sync", "notes"]);
    let status = b.json(&["status"]);
    assert_eq!(status["running"], true);
    let peer = &status["databases"][0]["peers"][0];
    assert_eq!(peer["key"].as_str(), Some(&at_a.key[..]), "{status}");
    assert!(peer["received"].as_u64() > Some(0) && peer["last_sync"].is_string(), "{status}");
    assert!(b.ok(&["peer", "ping", &at_a.key]).ends_with(" ms"));
    a.ok(&["verify"]);
    b.ok(&["verify"]);
    let said = a.run(&["join", &ticket]).fails(2);
    assert!(said.contains("made the ticket itself"), "{said}");
    let other = "ed25519:d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
    let said = Home::new().run(&["join", &ticket.replace(&at_a.key, other)]).fails(4);
    assert!(said.contains(&at_a.key) && said.contains(other), "{said}");
    // Joining again is no harm; the invite's one use is gone for others.
    b.ok(&["join", &ticket]);
    Home::new().run(&["join", &ticket]).fails(3);
    // Blocked: refused both ways.
    a.ok(&["peer", "block", &status["key"].as_str().unwrap()[8..24]]);
    a.run(&["peer", "ping", status["key"].as_str().unwrap()]).fails(3);
}

#[test]
fn whoever_may_only_read_cant_write() {
    let (a, b) = (Home::new(), Home::new());
    let _at_a = a.serve();
    a.ok(&["db", "create", "notes"]);
    a.ok(&["set", "notes", "tasks", "first", "1"]);
    // A command joins too, with no node running.
    b.ok(&["join", &a.ok(&["share", "notes"])]);
    assert_eq!(b.ok(&["get", "notes", "tasks", "first"]), "1");
    b.run(&["set", "notes", "tasks", "first", "2"]).fails(3);
}

#[test]
fn a_join_goes_on_until_somebody_is_reached() {
    let (a, b) = (Home::new(), Home::new());
    let at_a = a.serve();
    a.ok(&["db", "create", "notes"]);
    a.ok(&["set", "notes", "tasks", "first", "1"]);
    let ticket = a.ok(&["share", "notes"]);
    let address = at_a.address.trim_start_matches("http:").to_owned();
    assert_eq!(at_a.stop(), Some(0));
    let _at_b = b.serve();
    let joining =
        b.command(&["join", &ticket]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let _at_a = a.serve_at(&address);
    done(joining).ok();
    assert_eq!(b.ok(&["get", "notes", "tasks", "first"]), "1");
}

#[test]
fn an_unreachable_peer_is_said_to_be() {
    let home = Home::new();
    home.ok(&["db", "create", "notes"]);
    let key = format!("ed25519:{}", "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a");
    home.run(&["sync", "notes"]).fails(1);
    home.ok(&["peer", "add", &key, "127.0.0.1:1", "--name", "nobody"]);
    home.run(&["sync", "notes", "nobody"]).fails(4);
    home.run(&["peer", "ping", "d75a98"]).fails(4);
    assert_eq!(home.json(&["peer", "list"])[0]["name"], "nobody");
    home.ok(&["peer", "remove", "nobody"]);
    home.run(&["peer", "ping", &key]).fails(1);
    home.run(&["peer", "add", &key, "nonsense"]).fails(2);
    home.run(&["peer", "add", "ed25519:00", "127.0.0.1:1"]).fails(2);
}
