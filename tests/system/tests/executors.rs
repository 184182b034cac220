//! The blocking and the async calls work under every executor, and under none.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;

use eidetica::auth::Permission;
use eidetica::backend::InMemory;
use eidetica::crdt::Value;
use eidetica::store::DocStore;
use eidetica::{Event, Result};
use eidetica_system_tests::node::{Node, get, set};

/// Everything an application does with two nodes: blocking calls, and futures in between.
async fn whole_story() -> Result<()> {
    let host = Node::http_on(Box::new(InMemory::new()))?;
    let here = host.create()?;
    let guest = Node::http_on(Box::new(InMemory::new()))?;
    here.grant(guest.key()?, Permission::Write, 100)?;

    let transaction = here.new_transaction()?;
    transaction.get_store::<DocStore>("data")?.set("first", 1)?;
    let mut changes = here.subscribe()?;
    let first = transaction.commit_async().await?;
    let Some(Ok(Event::Change(change))) = changes.next_blocking() else { panic!("a change") };
    assert_eq!(change.entry, first);

    let sync = guest.instance.sync()?;
    sync.sync_with_peer(host.address()?, Some(here.root_id())).await?;
    let there = guest.user.open_database(here.root_id())?;
    assert_eq!(get(&there, "first")?, Value::from(1));
    let second = set(&there, "second", 2)?;
    let Some(Ok(Event::Change(change))) = changes.next().await else { panic!("a change") };
    assert_eq!(change.entry, second);

    host.instance.sync()?.stop_server()?;
    host.instance.sync()?.start_server_async("127.0.0.1:0").await?;
    assert!(host.instance.sync()?.is_server_running());
    host.instance.close()?;
    assert!(changes.next().await.is_none());
    guest.instance.close()
}

/// The smallest executor there is: it polls, and parks its thread until it is woken.
fn poll_and_park<T>(work: impl Future<Output = T>) -> T {
    struct Unpark(Thread);

    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut work = pin!(work);
    loop {
        match work.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(done) => return done,
            Poll::Pending => std::thread::park(),
        }
    }
}

#[tokio::test(flavor = "current_thread")]
async fn inside_a_current_thread_runtime() -> Result<()> {
    whole_story().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn inside_a_multi_thread_runtime() -> Result<()> {
    tokio::spawn(whole_story()).await.unwrap()
}

#[test]
fn under_an_executor_that_is_not_tokios() -> Result<()> {
    poll_and_park(whole_story())
}

#[test]
fn dropping_the_last_handles_inside_async_code_neither_panics_nor_hangs() -> Result<()> {
    poll_and_park(async {
        let node = Node::http_on(Box::new(InMemory::new()))?;
        let database = node.create()?;
        let pending = database.new_transaction()?;
        pending.get_store::<DocStore>("data")?.set("lost", true)?;
        drop(pending);
        assert!(get(&database, "lost").unwrap_err().is_not_found());
        drop((node, database));
        Ok(())
    })
}

#[test]
fn stopping_the_server_frees_its_port_then_and_there() {
    let again_and_again = || {
        let node = Node::http()?;
        let (sync, address) = (node.instance.sync()?, node.address()?);
        for _ in 0..100 {
            sync.stop_server()?;
            sync.start_server(&address)?;
            poll_and_park(sync.stop_server_async())?;
            poll_and_park(sync.start_server_async(&address))?;
        }
        Ok::<_, eidetica::Error>(())
    };
    // Several at once: the engine's threads have much to do.
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..16).map(|_| scope.spawn(again_and_again)).collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap().unwrap());
    });
}

#[test]
fn a_store_outlives_its_transaction_only_to_say_so() -> Result<()> {
    let node = Node::http_on(Box::new(InMemory::new()))?;
    let database = node.create()?;
    let transaction = database.new_transaction()?;
    let store = transaction.get_store::<DocStore>("data")?;
    // Both may move to another thread.
    let (store, id) = std::thread::spawn(move || {
        store.set("key", 1)?;
        Ok::<_, eidetica::Error>((store, transaction.commit()?))
    })
    .join()
    .unwrap()?;
    assert_eq!(database.entry(id)?.id, id);
    assert_eq!(store.get("key").unwrap_err().kind(), eidetica::ErrorKind::Closed);
    assert_eq!(store.set("key", 2).unwrap_err().kind(), eidetica::ErrorKind::Closed);
    let viewer = database.get_store_viewer::<DocStore>("data")?;
    assert!(viewer.set("key", 2).unwrap_err().is_permission_denied());
    assert_eq!(viewer.get("key")?, Value::from(1));
    Ok(())
}

#[test]
fn a_conditional_commit_fails_after_another_commit_and_leaves_nothing() -> Result<()> {
    let node = Node::http_on(Box::new(InMemory::new()))?;
    let database = node.create()?;
    let transaction = database.new_transaction()?;
    transaction.get_store::<DocStore>("data")?.set("mine", 1)?;
    set(&database, "theirs", 2)?;
    let entries = database.entry_count();
    assert_eq!(transaction.commit_if_unchanged().unwrap_err().kind(), eidetica::ErrorKind::Conflict);
    assert_eq!(database.entry_count(), entries);
    assert!(get(&database, "mine").unwrap_err().is_not_found());
    let transaction = database.new_transaction()?;
    transaction.get_store::<DocStore>("data")?.set("mine", 1)?;
    transaction.commit_if_unchanged()?;
    assert_eq!(get(&database, "mine")?, Value::from(1));
    Ok(())
}
