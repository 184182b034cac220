//! More than two nodes: what one writes reaches those it isn't connected to, and networks with broken links converge.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use eidetica::auth::Permission;
use eidetica::{Database, Result};
use eidetica_system_tests::node::{Node, get, set, until, within};
use eidetica_system_tests::over::Over;
use eidetica_system_tests::route::Route;
use eidetica_system_tests::state::{assert_clean, state};

/// `from` fetches the database from `to`, and the two keep it in sync from then on.
async fn follow(from: &Node, to: &Node, database: &Database) -> Result<Database> {
    within(
        "a first sync",
        from.fetch(&format!("{}", to.instance.sync()?.get_server_addresses()?[0]), database.root_id()),
    )
    .await
}

eidetica_system_tests::over_every_transport! {
    a_commit_reaches_who_is_connected_through_another,
    five_nodes_in_a_ring_whose_links_are_cut_and_healed_in_turn_converge,
}

eidetica_system_tests::over_http_and_iroh! {
    of_three_addresses_the_one_that_answers_is_used_and_tried_first_next_time,
}

async fn a_commit_reaches_who_is_connected_through_another(over: Over) -> Result<()> {
    let (a, b, c) = (over.node()?, over.node()?, over.node()?);
    let at_a = a.create()?;
    for node in [&b, &c] {
        at_a.grant(node.key()?, Permission::Write, 100)?;
    }
    let at_b = follow(&b, &a, &at_a).await?;
    let at_c = follow(&c, &b, &at_b).await?;
    set(&at_a, "from a", 1)?;
    until("what A wrote is at C", || get(&at_c, "from a").is_ok()).await;
    set(&at_c, "from c", 2)?;
    until("what C wrote is at A", || get(&at_a, "from c").is_ok()).await;
    assert!(c.instance.sync()?.get_peer_info(a.peer())?.is_none(), "the two have never met");
    assert_eq!(state(&at_a)?, state(&at_c)?);
    Ok(())
}

async fn five_nodes_in_a_ring_whose_links_are_cut_and_healed_in_turn_converge(over: Over) -> Result<()> {
    const NODES: usize = 5;
    let nodes: Vec<Node> = (0..NODES).map(|_| over.node()).collect::<Result<_>>()?;
    let root = nodes[0].create()?;
    for node in &nodes[1..] {
        root.grant(node.key()?, Permission::Write, 100)?;
    }
    // Node n dials node n - 1 over a route of its own; node 0 closes the ring.
    let mut routes = Vec::new();
    let mut databases = vec![root.clone()];
    for at in 1..=NODES {
        let route = Route::to(over, &nodes[at - 1]).await.unwrap();
        let dialling = &nodes[at % NODES];
        let fetched = within("a first sync", dialling.fetch(&route.address(), root.root_id())).await?;
        if at < NODES {
            databases.push(fetched);
        }
        routes.push(route);
    }
    for (cut, route) in routes.iter().enumerate() {
        route.cut().await?;
        for (at, database) in databases.iter().enumerate() {
            set(database, &format!("by {at} without link {cut}"), cut as i64)?;
            set(database, "contended", format!("{at} {cut}"))?;
        }
        let last = format!("by {} without link {cut}", NODES - 1);
        for database in &databases {
            until("the ring has a way around the cut", || get(database, &last).is_ok()).await;
        }
        route.heal().await?;
        let dialling = &nodes[(cut + 1) % NODES];
        dialling.instance.sync()?.reset_peer(nodes[cut].peer())?;
    }
    let expected = NODES * NODES;
    for database in &databases {
        until("everything is everywhere", || {
            (0..NODES)
                .all(|at| (0..NODES).all(|cut| get(database, &format!("by {at} without link {cut}")).is_ok()))
        })
        .await;
    }
    until("all states are equal", || {
        let first = state(&databases[0]).unwrap();
        databases.iter().all(|database| state(database).unwrap() == first)
    })
    .await;
    assert!(databases[0].entry_count() as usize >= 2 * expected);
    databases.iter().for_each(assert_clean);
    Ok(())
}

async fn of_three_addresses_the_one_that_answers_is_used_and_tried_first_next_time(over: Over) -> Result<()> {
    let (a, b) = (over.node()?, over.node()?);
    let here = a.create()?;
    here.grant(b.key()?, Permission::Write, 100)?;
    // Where a node listened a moment ago, and nobody does now.
    let dead = || -> Result<_> {
        let gone = over.node()?;
        let address = gone.at()?;
        gone.instance.close()?;
        Ok(address)
    };
    let sync = b.instance.sync()?;
    sync.register_peer(a.peer(), None)?;
    for address in [dead()?, dead()?, a.at()?] {
        sync.add_peer_address(a.peer(), address)?;
    }
    within("a sync at the third address", sync.sync_tree_with_peer(a.peer(), here.root_id())).await?;
    let addresses = sync.get_peer_addresses(a.peer())?;
    assert_eq!(addresses.len(), 3, "the dead ones may come back to life");
    assert_eq!(addresses[0], a.at()?);
    Ok(())
}
