//! Whole nodes that sync over the transport.

use std::time::Duration;

use eidetica::auth::Permission;
use eidetica::backend::InMemory;
use eidetica::crdt::Doc;
use eidetica::store::DocStore;
use eidetica::{Database, Instance};
use futures_util::StreamExt as _;

use super::suite::{Case, Network};
use crate::check::{Outcome, fail, same};

pub(super) const CASES: &[Case] = &[
    Case::new("two_nodes_sync_both_ways_and_live", "L1 L2 T3", sync),
    Case::new("a_node_that_restarts_its_server_goes_on", "A1 A6 L3", restart),
];

/// Entries written before the first sync.
const ENTRIES: usize = 200;
/// How long a commit may take to the other side.
const ARRIVAL_MAX: Duration = Duration::from_secs(60);

fn node(network: &Network) -> Outcome<Instance> {
    let instance = Instance::open(Box::new(InMemory::new()))?.enable_sync()?;
    instance.sync()?.add_transport(network.node()?)?;
    instance.create_user("user", None)?;
    instance.login_user("user", None)?;
    Ok(instance)
}

fn set(database: &Database, key: &str, value: &str) -> Outcome {
    let transaction = database.new_transaction()?;
    transaction.get_store::<DocStore>("data")?.set(key, value)?;
    transaction.commit()?;
    Ok(())
}

fn get(database: &Database, key: &str) -> Outcome<Option<String>> {
    match database.get_store_viewer::<DocStore>("data")?.get_string(key) {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Waits until the key has the value there.
async fn arrived(database: &Database, key: &str, value: &str) -> Outcome {
    let mut changes = std::pin::pin!(database.subscribe()?);
    let arriving = async {
        while get(database, key)?.as_deref() != Some(value) {
            if changes.next().await.is_none() {
                return fail("the subscription has ended");
            }
        }
        Ok(())
    };
    match tokio::time::timeout(ARRIVAL_MAX, arriving).await {
        Ok(outcome) => outcome,
        Err(_) => fail(format!("{key} = {value} hasn't come within {} s", ARRIVAL_MAX.as_secs())),
    }
}

/// A node that serves a database, one that has synced it, and both handles.
async fn synced(network: &Network) -> Outcome<(Instance, Instance, Database, Database)> {
    let (host, guest) = (node(network)?, node(network)?);
    host.sync()?.start_server_async(&network.listen_text()).await?;
    let user = host.login_user("user", None)?;
    let database = user.create_database(Doc::new(), user.get_default_key()?)?;
    database.grant("*", Permission::Write, 100)?;
    for number in 0..ENTRIES {
        set(&database, &format!("key-{number}"), &"x".repeat(number * 20))?;
    }
    let Some(address) = host.sync()?.get_server_addresses()?.into_iter().next() else {
        return fail("the server has no address");
    };
    guest.sync()?.sync_with_peer(&address, Some(database.root_id())).await?;
    let copy = guest.load_database(database.root_id())?;
    Ok((host, guest, database, copy))
}

fn sync(network: &Network) -> Outcome {
    network.run(async {
        let (host, guest, database, copy) = synced(network).await?;
        for number in 0..ENTRIES {
            let key = format!("key-{number}");
            same(&key, get(&copy, &key)?, Some("x".repeat(number * 20)))?;
        }
        set(&database, "from the host", "live")?;
        arrived(&copy, "from the host", "live").await?;
        set(&copy, "from the guest", "live")?;
        arrived(&database, "from the guest", "live").await?;
        guest.close()?;
        host.close()?;
        Ok(())
    })
}

fn restart(network: &Network) -> Outcome {
    network.run(async {
        let (host, guest, database, copy) = synced(network).await?;
        host.sync()?.stop_server_async().await?;
        set(&copy, "while apart", "guest")?;
        set(&database, "while apart too", "host")?;
        host.sync()?.start_server_async(&network.listen_text()).await?;
        let Some(address) = host.sync()?.get_server_addresses()?.into_iter().next() else {
            return fail("the server has no address");
        };
        guest.sync()?.sync_with_peer(&address, Some(database.root_id())).await?;
        same("what the host wrote", get(&copy, "while apart too")?, Some("host".to_owned()))?;
        same("what the guest wrote", get(&database, "while apart")?, Some("guest".to_owned()))?;
        guest.close()?;
        host.close()?;
        Ok(())
    })
}
