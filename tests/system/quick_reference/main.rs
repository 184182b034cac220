//! The quick reference that Eidetica is held to, [`seed.md`](seed.md), run snippet by snippet against real nodes on loopback.
//!
//! Every snippet has one test, in the file of its section. The snippet's own lines stand between `// [snippet N]` and
//! `// [end]`, whatever surrounds them sets up or asserts. [`differences`] compares these lines with the seed: they differ from it
//! only where the seed contradicts itself or has a placeholder, and each such place is in its table. What snippets print is kept, and
//! asserted where it shows an effect.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(
    clippy::needless_borrows_for_generic_args,
    reason = "the seed passes ids, keys and texts by reference"
)]

#[macro_use]
mod prints;

mod configuration;
mod data;
mod databases;
mod declarative;
mod differences;
mod errors;
mod legacy;
mod monitoring;
mod setup;
mod testing;

use std::future::Future;

use eidetica::auth::Permission;
use eidetica::store::DocStore;
use eidetica::{Database, Result};
use eidetica_system_tests::node::Node;

/// A database that everybody may write to who knows its id: what "share the tree id" takes.
fn shared(host: &Node) -> Result<Database> {
    let database = host.create()?;
    database.grant("*", Permission::Write, 100)?;
    Ok(database)
}

/// The text under a key of a store, if it is there.
fn text(database: &Database, store: &str, key: &str) -> Option<String> {
    database.get_store_viewer::<DocStore>(store).ok()?.get_string(key).ok()
}

/// Runs async code in a snippet that isn't.
fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}
