//! "Data Operations (Auto-Sync)": snippets 14 and 15.

use eidetica::Result;
use eidetica_system_tests::node::{Node, until, within};

use crate::shared;

#[tokio::test]
#[rustfmt::skip]
async fn basic_data_changes() -> Result<()> {
    let (host, guest) = (Node::http()?, Node::http()?);
    let database = shared(&host)?;
    let there = within("a sync", guest.fetch(&host.address()?, database.root_id())).await?;
    // [snippet 14]
    use eidetica::store::DocStore;

    // Any database operation automatically triggers sync
    let op = database.new_transaction()?;
    let store = op.get_store::<DocStore>("data")?;

    store.set_string("message", "Hello World")?;
    store.set_path("user.name", "Alice")?;
    store.set_path("user.age", 30)?;

    // Commit triggers sync callbacks automatically
    op.commit()?; // Entries queued for sync to all configured peers
    // [end]
    until("the commit arrives", || there.tips() == database.tips()).await;
    let store = there.get_store_viewer::<DocStore>("data")?;
    assert_eq!(store.get_string("message")?, "Hello World");
    assert_eq!(store.get_path("user.name")?, "Alice");
    assert_eq!(store.get_path("user.age")?.as_i64(), Some(30));
    assert_eq!(store.get("user")?.as_doc().unwrap().len(), 2, "paths nest");
    Ok(())
}

#[tokio::test]
#[rustfmt::skip]
async fn bulk_operations() -> Result<()> {
    use eidetica::store::DocStore;

    let (host, guest) = (Node::http()?, Node::http()?);
    let database = shared(&host)?;
    let there = within("a sync", guest.fetch(&host.address()?, database.root_id())).await?;
    let before = there.entry_count();
    // [snippet 15]
    // Multiple operations in single commit
    let op = database.new_transaction()?;
    let store = op.get_store::<DocStore>("data")?;

    for i in 0..100 {
        store.set_string(&format!("item_{}", i), &format!("value_{}", i))?;
    }

    // Single commit, single sync entry
    op.commit()?;
    // [end]
    until("the commit arrives", || there.tips() == database.tips()).await;
    assert_eq!((database.entry_count(), there.entry_count()), (before + 1, before + 1));
    let store = there.get_store_viewer::<DocStore>("data")?;
    assert_eq!(store.keys()?.len(), 100);
    assert_eq!(store.get_string("item_99")?, "value_99");
    Ok(())
}
