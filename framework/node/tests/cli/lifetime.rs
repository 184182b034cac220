//! Starting, stopping, dying.

use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;

use crate::support::{Home, PATIENCE};

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

/// Commands that are under way at the same time, so that a kill is likely to meet one in the node.
const WRITERS: usize = 3;

/// Sets one entry after the other until it is told to stop, or one fails.
///
/// How many are reported done by then, and whether the last was cut off.
fn write_until(
    stopped: &AtomicBool,
    home: &Home,
    writer: usize,
    first: u64,
    done: &Sender<()>,
) -> (u64, bool) {
    let mut next = first;
    while !stopped.load(Ordering::Acquire) {
        let path = format!("writer{writer}.entry{next}");
        if home.run(&["set", "notes", "log", &path, &next.to_string()]).code != Some(0) {
            return (next, true);
        }
        next += 1;
        let _ = done.send(());
    }
    (next, false)
}

#[test]
fn a_node_killed_fifty_times_has_what_it_reported_and_goes_on_syncing() {
    let (here, there) = (Home::new(), Home::new());
    let mut node = here.serve();
    let _there = there.serve();
    here.ok(&["db", "create", "notes"]);
    there.ok(&["join", &here.ok(&["share", "notes"])]);
    let mut reported = [0; WRITERS];
    let mut cut_off = 0;
    for round in 0..50 {
        // A command that finds no node any more opens the folder itself; the one under way when the node dies may fail,
        // or have succeeded: each is right, as long as what was reported is there.
        let (progress, written) = std::sync::mpsc::channel();
        let stopped = AtomicBool::new(false);
        let ended: Vec<(u64, bool)> = std::thread::scope(|scope| {
            let (here, stopped, progress) = (&here, &stopped, &progress);
            let writers = reported.iter().enumerate().map(|(writer, first)| {
                scope.spawn(move || write_until(stopped, here, writer, *first, &progress.clone()))
            });
            let writers: Vec<_> = writers.collect();
            for _ in 0..=round % 5 {
                written.recv_timeout(PATIENCE).unwrap();
            }
            node.kill();
            stopped.store(true, Ordering::Release);
            writers.into_iter().map(|writer| writer.join().unwrap()).collect()
        });
        node = here.serve();
        let entries = here.json(&["get", "notes", "log"]);
        for (writer, (done, cut)) in ended.into_iter().enumerate() {
            for entry in 0..done {
                let found = &entries[format!("writer{writer}")][format!("entry{entry}")];
                assert_eq!(*found, entry, "round {round}, writer {writer}");
            }
            reported[writer] = done;
            cut_off += u32::from(cut);
        }
        here.ok(&["verify"]);
        there.ok(&["sync", "notes"]);
        assert_eq!(there.ok(&["get", "notes", "log"]), here.ok(&["get", "notes", "log"]), "round {round}");
    }
    println!(
        "50 kills, {} sets reported done, none lost; {cut_off} were cut off",
        reported.iter().sum::<u64>()
    );
    there.ok(&["verify"]);
}
