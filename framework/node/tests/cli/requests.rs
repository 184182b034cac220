//! Requests for access, decided on at the command line.

use eidetica::Instance;
use eidetica::auth::Permission;
use eidetica::backend::InMemory;
use eidetica::sync::SyncError;

use crate::support::Home;

#[test]
fn requests_are_listed_approved_and_rejected() {
    let a = Home::new();
    let at_a = a.serve();
    let database = a.ok(&["db", "create", "notes"]);
    a.ok(&["set", "notes", "tasks", "first", "1"]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let peers: Vec<Instance> = (0..2)
        .map(|_| {
            let peer = Instance::open(Box::new(InMemory::new())).unwrap().enable_sync().unwrap();
            peer.sync().unwrap().enable_http_transport().unwrap();
            peer
        })
        .collect();
    let ask = |peer: &Instance| {
        let sync = peer.sync().unwrap();
        let address = at_a.address.trim_start_matches("http:").to_owned();
        let asking = sync.sync_with_peer_for_bootstrap(address, &database, "device_key", Permission::Write);
        runtime.block_on(asking)
    };
    let mut ids = Vec::new();
    for peer in &peers {
        let held = ask(peer).unwrap_err();
        match held.sync_error() {
            Some(SyncError::BootstrapPending { request_id, .. }) => ids.push(request_id.clone()),
            _ => panic!("{held}"),
        }
    }
    let listed = a.json(&["request", "list"]);
    assert_eq!(listed.as_array().map(Vec::len), Some(2), "{listed}");
    assert!(a.ok(&["request", "list"]).contains(&ids[0]));
    a.run(&["request", "approve", "no-such-request"]).fails(1);
    a.ok(&["request", "approve", &ids[0], "--as", "read"]);
    a.ok(&["request", "reject", &ids[1][..12]]);
    a.run(&["request", "approve", &ids[1]]).fails(1);
    assert_eq!(a.json(&["request", "list"]).as_array().map(Vec::len), Some(0));
    assert_eq!(a.json(&["request", "list", "--all"]).as_array().map(Vec::len), Some(2));
    // Less than was asked for: it is told, and what was granted is synced.
    let less = ask(&peers[0]).unwrap_err();
    assert!(matches!(less.sync_error(), Some(SyncError::GrantedLess { .. })), "{less}");
    assert!(peers[0].has_database(&database).unwrap());
    assert!(ask(&peers[1]).unwrap_err().is_permission_denied());
    assert!(a.ok(&["db", "show", "notes"]).contains(&peers[0].device_key().to_string()));
}

#[test]
fn access_is_asked_for_held_granted_and_shows_in_the_history() {
    let (a, b) = (Home::new(), Home::new());
    let at_a = a.serve();
    let _b = b.serve();
    let database = a.ok(&["db", "create", "notes"]);
    a.ok(&["set", "notes", "tasks", "first", "1"]);
    b.run(&["sync", &database, "nobody-known"]).fails(1);
    b.run(&["request", "access", "no-database", &at_a.address]).fails(1);
    let held = b.run(&["request", "access", &database, &at_a.address, "--write"]).fails(3);
    let waiting = a.json(&["request", "list"]);
    let id = waiting[0]["id"].as_str().unwrap();
    assert!(held.contains(&id[..12]), "{held}");
    a.ok(&["request", "approve", id]);
    // Now with the peer named by its key, which is known from the first time.
    let peer = b.json(&["peer", "list"])[0]["key"].as_str().unwrap().to_owned();
    let granted = b.json(&["request", "access", &database, &peer, "--write"]);
    assert_eq!(granted["permission"], "write");
    assert_eq!(b.ok(&["get", "notes", "tasks", "first"]), "1");
    b.ok(&["set", "notes", "tasks", "second", "2"]);
    b.ok(&["sync", "notes", &peer]);
    assert_eq!(a.ok(&["get", "notes", "tasks", "second"]), "2");

    let history = b.json(&["peer", "history", &peer, "--last", "1"]);
    assert_eq!(history.as_array().map(Vec::len), Some(1), "{history}");
    assert_eq!((&history[0]["success"], &history[0]["database"]), (&true.into(), &database.clone().into()));
    assert!(b.ok(&["peer", "history", &peer]).contains("in sync"));
}

#[test]
fn invites_are_listed_and_ended() {
    let (a, b) = (Home::new(), Home::new());
    let _a = a.serve();
    a.ok(&["db", "create", "notes"]);
    let ticket = a.ok(&["share", "notes", "--write", "--uses", "2"]);
    let invites = a.json(&["invite", "list", "notes"]);
    assert_eq!((&invites[0]["good"], &invites[0]["uses_left"]), (&true.into(), &2.into()), "{invites}");
    let id = invites[0]["id"].as_str().unwrap();
    assert!(a.ok(&["invite", "list", "notes"]).starts_with(id));
    a.run(&["invite", "revoke", "notes", "no-such-invite"]).fails(1);
    a.ok(&["invite", "revoke", "notes", &id[..10]]);
    assert_eq!(a.json(&["invite", "list", "notes"])[0]["good"], false);
    b.run(&["join", &ticket]).fails(3);
}
