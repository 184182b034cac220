//! What the files in the folder allow beyond other transports, and what is left of them.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use eidetica_conformance::context::tokio_context;
use eidetica_kernel::ErrorKind;
use eidetica_kernel::transport::{Address, Link, MESSAGE_BYTES_MAX, Transport};
use folder_transport::{FolderOptions, FolderTransport};

fn options(folder: &Path, name: &str) -> FolderOptions {
    FolderOptions {
        folder: folder.to_owned(),
        name: Some(name.to_owned()),
        poll_ms: 1,
        ..FolderOptions::default()
    }
}

fn node(folder: &Path, name: &str) -> FolderTransport {
    FolderTransport::new(options(folder, name))
}

fn alice() -> Address {
    "folder:alice".parse().unwrap()
}

/// What there is in a folder, sorted.
fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Ends once it holds. Other tasks run meanwhile.
async fn until(mut holds: impl FnMut() -> bool) {
    let holding = async {
        while !holds() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), holding).await.unwrap();
}

/// Two nodes that never see the stick at the same time.
#[tokio::test]
async fn a_stick_that_is_carried_links_two_nodes() {
    let machines = tempfile::tempdir().unwrap();
    let (hers, his) = (machines.path().join("hers"), machines.path().join("his"));
    fs::create_dir(&hers).unwrap();
    let context = tokio_context();
    let (alice_node, bob_node) = (node(&hers, "alice"), node(&his, "bob"));
    let mut listener = alice_node.listen(&context, "").await.unwrap();

    fs::rename(&hers, &his).unwrap();
    let mut bobs = bob_node.connect(&context, &alice()).await.unwrap();
    assert_eq!(bobs.keepalive, None);
    let large = Bytes::from(vec![7; MESSAGE_BYTES_MAX]);
    bobs.sender.send("from bob".into()).await.unwrap();
    bobs.sender.send(large.clone()).await.unwrap();
    bobs.sender.close().await.unwrap();

    let mut alices = {
        let meanwhile = async {
            fs::rename(&his, &hers).unwrap();
            let mut alices = listener.accept().await.unwrap().unwrap();
            assert_eq!(alices.receiver.recv().await.unwrap().unwrap(), "from bob");
            assert_eq!(alices.receiver.recv().await.unwrap().unwrap(), large);
            assert_eq!(alices.receiver.recv().await.unwrap(), None);
            alices.sender.send("from alice".into()).await.unwrap();
            alices.sender.close().await.unwrap();
            alices
        };
        // Bob waits while the stick is away, and doesn't take that for the link's end.
        tokio::select! {
            biased;
            early = bobs.receiver.recv() => panic!("{early:?} came while the stick was away"),
            alices = meanwhile => alices,
        }
    };
    fs::rename(&hers, &his).unwrap();
    assert_eq!(bobs.receiver.recv().await.unwrap().unwrap(), "from alice");
    assert_eq!(bobs.receiver.recv().await.unwrap(), None);

    // Whoever leaves while it is away says so once it is back.
    alices.sender.close().await.unwrap();
    drop(alices);
    drop(bobs);
    let link = |place: &Path| names(&place.join("alice")).into_iter().find(|name| name.starts_with("bob."));
    let name = link(&his).unwrap();
    until(|| his.join("alice").join(&name).join("back/deaf").exists()).await;
    fs::rename(&his, &hers).unwrap();
    until(|| link(&hers).is_none()).await;
    listener.close().await.unwrap();
    // The task that removed the link is still at its files.
    until(|| names(&hers).is_empty()).await;
}

async fn linked(folder: &Path) -> (Link, Link, Box<dyn eidetica_kernel::transport::Listener>) {
    let context = tokio_context();
    let mut listener = node(folder, "alice").listen(&context, "").await.unwrap();
    let dialled = node(folder, "bob").connect(&context, &alice()).await.unwrap();
    let accepted = listener.accept().await.unwrap().unwrap();
    (dialled, accepted, listener)
}

#[tokio::test]
async fn whoever_leaves_last_removes_the_link_and_then_nothing_is_left() {
    let folder = tempfile::tempdir().unwrap();
    for dialler_first in [true, false] {
        let (mut dialled, mut accepted, listener) = linked(folder.path()).await;
        // Unread on both sides.
        dialled.sender.send("unread".into()).await.unwrap();
        accepted.sender.send("unread".into()).await.unwrap();
        drop(listener);
        if dialler_first {
            drop(dialled);
            drop(accepted);
        } else {
            drop(accepted);
            drop(dialled);
        }
        until(|| names(folder.path()).is_empty()).await;
    }
}

#[tokio::test]
async fn a_message_that_is_too_long_ends_the_link_unread() {
    let folder = tempfile::tempdir().unwrap();
    let (dialled, mut accepted, _listener) = linked(folder.path()).await;
    let link = names(&folder.path().join("alice")).into_iter().find(|name| name.starts_with("bob.")).unwrap();
    let there = folder.path().join("alice").join(link).join("there");
    // Terabytes, by its length: nobody may allocate them.
    let file = fs::File::create(there.join(".long")).unwrap();
    file.set_len(1 << 40).unwrap();
    fs::rename(there.join(".long"), there.join(format!("{:020}", 0))).unwrap();
    for _ in 0..2 {
        let error = accepted.receiver.recv().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Protocol, "{error}");
    }
    drop(dialled);
}

#[tokio::test]
async fn what_a_killed_node_left_behind_ends_when_it_listens_again() {
    let folder = tempfile::tempdir().unwrap();
    let context = tokio_context();
    let hex = "0".repeat(32);
    // Files without locks, as a killed process leaves them.
    let accepted = folder.path().join("alice").join(format!("carol.{hex}"));
    let dialled = folder.path().join("bob").join(format!("alice.{hex}"));
    for link in [&accepted, &dialled] {
        fs::create_dir_all(link.join("there")).unwrap();
        fs::create_dir(link.join("back")).unwrap();
        fs::write(link.join("accepted"), "").unwrap();
        fs::write(link.join("dialled"), "").unwrap();
    }
    fs::write(dialled.join("there").join(format!("{:020}", 6)), "unread").unwrap();
    let unfinished = folder.path().join("alice").join(format!(".carol.{hex}"));
    fs::create_dir(&unfinished).unwrap();

    let mut listener = node(folder.path(), "alice").listen(&context, "").await.unwrap();
    assert!(!unfinished.exists());
    let text = |path: &Path| fs::read_to_string(path).unwrap();
    assert_eq!(text(&accepted.join("back/end")), "0");
    assert_eq!(text(&dialled.join("there/end")), "7", "the message that is there is read before the end");
    assert!(accepted.join("there/deaf").exists() && dialled.join("back/deaf").exists());
    // The others never came: by the next time they don't get another chance.
    listener.close().await.unwrap();
    drop(node(folder.path(), "alice").listen(&context, "").await.unwrap());
    assert_eq!(names(folder.path()), Vec::<String>::new());
}

#[tokio::test]
async fn a_name_has_a_bound_of_links() {
    let folder = tempfile::tempdir().unwrap();
    let context = tokio_context();
    let _listener = node(folder.path(), "alice").listen(&context, "").await.unwrap();
    let bob = FolderTransport::new(FolderOptions { links_max: 2, ..options(folder.path(), "bob") });
    let _held =
        [bob.connect(&context, &alice()).await.unwrap(), bob.connect(&context, &alice()).await.unwrap()];
    let error = bob.connect(&context, &alice()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable);
    assert!(error.to_string().contains("as many links as are allowed"), "{error}");
}

#[tokio::test]
async fn a_folder_that_is_missing_is_told_and_not_made() {
    let place = tempfile::tempdir().unwrap();
    let missing = place.path().join("stick");
    let context = tokio_context();
    let error = node(&missing, "alice").listen(&context, "").await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let text = error.to_string();
    assert!(text.contains(missing.to_str().unwrap()) && text.contains("plug in"), "{text}");
    let error = node(&missing, "bob").connect(&context, &alice()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable);
    assert_eq!(names(place.path()), Vec::<String>::new());
}
