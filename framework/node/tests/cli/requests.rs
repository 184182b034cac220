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
    ask(&peers[0]).unwrap();
    assert!(peers[0].has_database(&database).unwrap());
    assert!(ask(&peers[1]).unwrap_err().is_permission_denied());
    assert!(a.ok(&["db", "show", "notes"]).contains(&peers[0].device_key().to_string()));
}
