//! What a commit has reported done is there after a crash, and what is there is whole.

#![allow(clippy::print_stdout, reason = "figures are for people")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use eidetica::backend::{File, InMemory};
use eidetica::crdt::Doc;
use eidetica::store::DocStore;
use eidetica::{Database, Instance, Result};
use eidetica_conformance::backend::FaultyBackend;
use eidetica_kernel::ErrorKind;
use eidetica_system_tests::seeded::Dice;
use eidetica_system_tests::state::assert_clean;

const NODE: &str = env!("CARGO_BIN_EXE_committing_node");
const KILLS: u32 = 50;
/// Rounds share a folder for a while, so that later ones recover what earlier ones left.
const KILLS_PER_FOLDER: u32 = 10;

fn count(database: &Database, store: &str) -> i64 {
    let viewer = database.get_store_viewer::<DocStore>(store).unwrap();
    viewer.get("count").map_or(0, |count| count.as_i64().unwrap())
}

fn open_only_database(instance: &Instance) -> Database {
    let user = instance.login_user("user", None).unwrap();
    user.open_database(instance.list_databases().unwrap()[0]).unwrap()
}

/// Everything that was acknowledged is in the folder, and the rest works.
fn check(folder: &Path, acknowledged: i64) {
    let instance = Instance::open(Box::new(File::open(folder).unwrap())).unwrap();
    let database = open_only_database(&instance);
    let found = count(&database, "data");
    assert!(found >= acknowledged, "{acknowledged} commits were acknowledged, {found} are there");
    assert_eq!(found, count(&database, "more"), "both stores have what one commit wrote, or neither");
    let rows = database.get_store_viewer::<DocStore>("data").unwrap();
    assert_eq!(rows.len("rows").map_or(0, |rows| rows as i64), found);
    assert_clean(&database);
    instance.close().unwrap();
}

#[test]
fn acknowledged_commits_survive_a_killed_process() {
    let mut dice = Dice::new(1);
    let mut acknowledged_in_all = 0;
    for _ in 0..KILLS / KILLS_PER_FOLDER {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data");
        let mut acknowledged = 0;
        for _ in 0..KILLS_PER_FOLDER {
            let mut child = Command::new(NODE).arg(&path).stdout(Stdio::piped()).spawn().unwrap();
            let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
            lines.next().expect("the database's id").unwrap();
            let before = acknowledged;
            for _ in 0..=dice.below(24) {
                // Further commits of the child work: it goes on from what the last one left.
                acknowledged = lines.next().expect("a commit").unwrap().parse().unwrap();
            }
            child.kill().unwrap();
            // What the pipe still holds was acknowledged before the end.
            for line in lines.map_while(std::result::Result::ok) {
                acknowledged = line.parse().unwrap_or(acknowledged);
            }
            child.wait().unwrap();
            assert!(acknowledged > before);
            check(&path, acknowledged);
        }
        acknowledged_in_all += acknowledged;
    }
    println!("{KILLS} kills, {acknowledged_in_all} commits acknowledged, none lost");
}

/// One commit to two stores.
fn commit(database: &Database, number: i64) -> Result<()> {
    let transaction = database.new_transaction()?;
    transaction.get_store::<DocStore>("data")?.set("count", number)?;
    transaction.get_store::<DocStore>("more")?.set("count", number)?;
    transaction.commit().map(drop)
}

#[test]
fn acknowledged_commits_survive_power_loss_that_drops_what_was_not_flushed() {
    let mut dice = Dice::new(2);
    for round in 0..40 {
        let disk = FaultyBackend::new(InMemory::new());
        let instance = Instance::open(Box::new(disk.again())).unwrap();
        instance.create_user("user", None).unwrap();
        let user = instance.login_user("user", None).unwrap();
        let database = user.create_database(Doc::new(), user.get_default_key().unwrap()).unwrap();
        let key = user.add_private_key(None).unwrap();
        let mut acknowledged = 0;
        let mut granted = false;
        for number in 1..=10 {
            match dice.below(10) {
                0 => disk.fail_next_flush(ErrorKind::Io),
                1 => disk.fail_next_commit(ErrorKind::Io),
                2 => {
                    database.grant(key, eidetica::auth::Permission::Write, 100).unwrap();
                    granted = true;
                }
                3 if granted => {
                    database.revoke(key).unwrap();
                    granted = false;
                }
                _ => {}
            }
            match commit(&database, number) {
                Ok(()) => acknowledged = number,
                Err(error) => assert_eq!(error.kind(), ErrorKind::Io, "{error}"),
            }
        }
        drop((database, user, instance));
        // Of what wasn't flushed, a random part reached the disk.
        disk.crash(dice.below(disk.unflushed() + 1)).unwrap();
        let instance = Instance::open(Box::new(disk.again())).unwrap();
        let database = open_only_database(&instance);
        let found = count(&database, "data");
        assert!(found >= acknowledged, "round {round}: {acknowledged} acknowledged, {found} there");
        assert_eq!(found, count(&database, "more"));
        assert_eq!(database.permission_of(key).unwrap().is_some(), granted, "round {round}");
        assert_clean(&database);
        commit(&database, 11).unwrap();
        assert_clean(&database);
    }
}

#[test]
fn the_disk_has_confirmed_before_a_commit_is_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("calls");
    let traced = Command::new("strace")
        .args([
            "-f",
            "-y",
            "-qq",
            "-s",
            "64",
            "-e",
            "trace=fsync,fdatasync,write,pwrite64,writev,pwritev",
            "-o",
        ])
        .arg(&log)
        .arg(NODE)
        .arg(folder.path().join("data"))
        .arg("20")
        .output()
        .expect("strace is installed (tests/run installs it)");
    assert!(traced.status.success(), "{}", String::from_utf8_lossy(&traced.stderr));
    let calls = std::fs::read_to_string(&log).unwrap();
    // Of what the journal was given last, whether the disk has confirmed it.
    let mut confirmed = None;
    let mut acknowledged = 0;
    for call in calls.lines() {
        let journal = call.contains(".jnl>");
        if call.contains("write(1<") && !call.contains("resumed") {
            if acknowledged > 0 {
                let why = "was acknowledged before the disk confirmed what was written last";
                assert_eq!(confirmed, Some(true), "commit {acknowledged} {why}:\n{calls}");
            }
            acknowledged += 1;
            confirmed = None;
        } else if journal && call.contains("write") {
            confirmed = Some(false);
        } else if (journal || call.contains("sync resumed")) && call.contains("sync") && call.ends_with("= 0")
        {
            confirmed = confirmed.map(|_| true);
        }
    }
    assert_eq!(acknowledged, 21, "the id and one line per commit:\n{calls}");
}
