//! Two instances in one process: sharing, joining, live changes both ways.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use eidetica::auth::Permission;
use eidetica::backend::InMemory;
use eidetica::crdt::Doc;
use eidetica::store::DocStore;
use eidetica::sync::InviteOptions;
use eidetica::sync::transports::memory::MemoryTransport;
use eidetica::{Database, Instance, Result, User};

struct Node {
    instance: Instance,
    user: User,
}

fn node(transport: &str) -> Result<Node> {
    let instance = Instance::open(Box::new(InMemory::new()))?.enable_sync()?;
    instance.create_user("user", None)?;
    let user = instance.login_user("user", None)?;
    let sync = instance.sync()?;
    match transport {
        "memory" => sync.add_transport(Box::new(MemoryTransport::new()))?,
        _ => sync.enable_http_transport()?,
    }
    sync.start_server(if transport == "memory" { "" } else { "127.0.0.1:0" })?;
    Ok(Node { instance, user })
}

fn set(database: &Database, key: &str, value: &str) -> Result<()> {
    let transaction = database.new_transaction()?;
    transaction.get_store::<DocStore>("data")?.set(key, value)?;
    transaction.commit().map(drop)
}

/// Waits, by watching, until a key has a value.
async fn until(database: &Database, key: &str, value: &str) {
    let waiting = async {
        loop {
            let found = database.get_store_viewer::<DocStore>("data").unwrap().get_string(key);
            if found.is_ok_and(|found| found == value) {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), waiting).await.expect("the change arrives");
}

async fn share_and_follow(transport: &str) -> Result<()> {
    let (a, b) = (node(transport)?, node(transport)?);
    let mut settings = Doc::new();
    settings.set_string("name", "notes");
    let here = a.user.create_database(settings, a.user.get_default_key()?)?;
    set(&here, "first", "1")?;
    let ticket = here.invite(Permission::Write, InviteOptions::default())?;
    let there = b.user.join(&ticket.to_string().parse()?).await?;
    assert_eq!(there.name()?.as_deref(), Some("notes"));
    assert_eq!(there.get_store_viewer::<DocStore>("data")?.get_string("first")?, "1");
    set(&here, "second", "2")?;
    until(&there, "second", "2").await;
    set(&there, "third", "3")?;
    until(&here, "third", "3").await;
    assert!(here.verify()?.is_clean(), "{:?}", here.verify()?);
    assert!(there.verify()?.is_clean(), "{:?}", there.verify()?);
    assert_eq!(here.tips(), there.tips());
    a.instance.close()?;
    b.instance.close()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shared_database_is_followed_both_ways_over_memory() -> Result<()> {
    share_and_follow("memory").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shared_database_is_followed_both_ways_over_http() -> Result<()> {
    share_and_follow("http").await
}
