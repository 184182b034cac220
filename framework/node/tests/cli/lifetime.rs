//! Starting, stopping, dying.

use std::os::unix::fs::{FileTypeExt, PermissionsExt};

use crate::support::Home;

#[test]
fn a_node_stops_cleanly_when_asked() {
    let home = Home::new();
    let node = home.serve();
    home.ok(&["db", "create", "notes"]);
    let socket = std::fs::metadata(home.data.join("control.sock")).unwrap();
    assert!(socket.file_type().is_socket());
    assert_eq!(socket.permissions().mode() & 0o777, 0o600);
    assert_eq!(std::fs::metadata(&home.data).unwrap().permissions().mode() & 0o777, 0o700);
    let status = home.json(&["status"]);
    assert_eq!((&status["running"], status["key"].as_str()), (&true.into(), Some(&node.key[..])));
    assert_eq!(status["addresses"][0].as_str(), Some(&node.address[..]));
    assert_eq!(node.stop(), Some(0));
    assert!(!home.data.join("control.sock").exists());
    assert_eq!(home.json(&["status"])["running"], false);
}

#[test]
fn what_a_killed_node_leaves_behind_is_no_obstacle() {
    let home = Home::new();
    let node = home.serve();
    let key = node.key.clone();
    home.ok(&["db", "create", "notes"]);
    home.ok(&["set", "notes", "tasks", "first", "1"]);
    node.kill();
    assert!(home.data.join("control.sock").exists());
    assert_eq!(home.ok(&["get", "notes", "tasks", "first"]), "1");
    assert!(!home.data.join("control.sock").exists());
    home.serve().kill();
    let node = home.serve();
    assert_eq!(node.key, key);
    assert_eq!(home.ok(&["get", "notes", "tasks", "first"]), "1");
    assert_eq!(node.stop(), Some(0));
}

#[test]
fn a_second_node_on_the_folder_is_told() {
    let home = Home::new();
    let _node = home.serve();
    let said = home.run(&["serve", "--listen", "127.0.0.1:0"]).fails(1);
    assert!(said.contains("a node runs on the data folder"), "{said}");
    home.ok(&["status"]);
}

#[test]
fn a_port_in_use_is_told() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let said = Home::new().run(&["serve", "--listen", &address]).fails(1);
    assert!(said.contains(&address), "{said}");
}

#[test]
fn a_folder_too_deep_for_a_socket_has_it_elsewhere() {
    let home = Home::below(&format!("deep/{}", "d".repeat(90)));
    let node = home.serve();
    let pointer = home.data.join("control.path");
    let socket = std::fs::read_to_string(&pointer).unwrap();
    let folder = std::path::Path::new(&socket).parent().unwrap();
    assert_eq!(std::fs::metadata(folder).unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(home.json(&["status"])["running"], true);
    node.kill();
    home.ok(&["db", "create", "notes"]);
    let node = home.serve();
    home.ok(&["get", "notes", "_settings", "name"]);
    assert_eq!(node.stop(), Some(0));
    assert!(!pointer.exists() && !std::path::Path::new(&socket).exists());
    std::fs::remove_dir(folder).unwrap();
}

#[test]
fn a_restarted_node_is_where_it_was() {
    let home = Home::new();
    let before = home.serve();
    let address = before.address.clone();
    assert_eq!(before.stop(), Some(0));
    assert_eq!(home.serve().address, address);
}

#[test]
fn a_node_killed_fifty_times_has_what_it_reported_and_goes_on_syncing() {
    let (here, there) = (Home::new(), Home::new());
    let mut node = here.serve();
    let _there = there.serve();
    here.ok(&["db", "create", "notes"]);
    there.ok(&["join", &here.ok(&["share", "notes"])]);
    let mut reported = 0;
    for round in 0..50 {
        // A command that finds no node any more opens the folder itself; the one under way when the node dies may fail,
        // or have succeeded: each is right, as long as what was reported is there.
        let (progress, written) = std::sync::mpsc::channel();
        let stopped = std::sync::atomic::AtomicBool::new(false);
        reported = std::thread::scope(|scope| {
            let (here, stopped) = (&here, &stopped);
            let writer = scope.spawn(move || {
                let mut next = reported;
                while !stopped.load(std::sync::atomic::Ordering::Acquire) {
                    let (path, value) = (format!("entry{next}"), next.to_string());
                    if here.run(&["set", "notes", "log", &path, &value]).code != Some(0) {
                        break;
                    }
                    next += 1;
                    let _ = progress.send(());
                }
                next
            });
            for _ in 0..=round % 5 {
                written.recv().unwrap();
            }
            node.kill();
            stopped.store(true, std::sync::atomic::Ordering::Release);
            writer.join().unwrap()
        });
        node = here.serve();
        let entries = here.json(&["get", "notes", "log"]);
        for entry in 0..reported {
            assert_eq!(entries[format!("entry{entry}")], entry, "round {round}");
        }
    }
    here.ok(&["verify"]);
    there.ok(&["sync", "notes"]);
    assert_eq!(there.ok(&["get", "notes", "log"]), here.ok(&["get", "notes", "log"]));
}
