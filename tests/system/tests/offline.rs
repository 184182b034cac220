//! A replica that was away catches up, at a cost that follows the gap and not the history.

#![allow(clippy::print_stdout, reason = "figures are for people")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use eidetica::auth::Permission;
use eidetica::crdt::Value;
use eidetica::{Database, Result, testing};
use eidetica_system_tests::node::{Node, get, set, until, within};
use eidetica_system_tests::over::Over;
use eidetica_system_tests::route::Route;
use eidetica_system_tests::seeded::noise;
use eidetica_system_tests::state::{assert_clean, state};

eidetica_system_tests::over_http_and_iroh! {
    a_node_that_was_offline_during_a_thousand_commits_catches_up,
    both_write_while_apart_and_converge,
    the_bytes_of_catching_up_follow_the_gap_and_not_the_history,
    a_copy_that_lacks_the_grants_for_its_node_is_completed,
}

/// Two nodes that share a database; only B knows how to reach the other, over a route that can be cut.
struct Pair {
    a: Node,
    b: Node,
    route: Route,
    here: Database,
    there: Database,
}

impl Pair {
    async fn new(over: Over) -> Result<Self> {
        let (a, b) = (over.secluded()?, over.node()?);
        let here = a.create()?;
        here.grant(b.key()?, Permission::Write, 100)?;
        let route = Route::to(over, &a).await.unwrap();
        let there = within("the first sync", b.fetch(&route.address(), here.root_id())).await?;
        Ok(Self { a, b, route, here, there })
    }

    /// Ends the link; nobody reaches anybody until [`Pair::connect`].
    async fn disconnect(&self) -> Result<()> {
        self.route.cut().await?;
        until("both sides notice", || {
            let connected = |node: &Node, peer: &Node| {
                let info = node.instance.sync().unwrap().get_peer_info(peer.peer()).unwrap().unwrap();
                info.connection_state.to_string() == "connected"
            };
            !connected(&self.a, &self.b) && !connected(&self.b, &self.a)
        })
        .await;
        Ok(())
    }

    /// Syncs again, and gives the bytes that it took.
    async fn connect(&self) -> Result<u64> {
        self.route.heal().await?;
        let sync = self.b.instance.sync()?;
        within("catching up", sync.sync_with_peer(self.route.address(), Some(self.here.root_id()))).await?;
        until("both are equal", || state(&self.here).unwrap() == state(&self.there).unwrap()).await;
        Ok(self.route.passed())
    }
}

async fn a_node_that_was_offline_during_a_thousand_commits_catches_up(over: Over) -> Result<()> {
    let pair = Pair::new(over).await?;
    pair.disconnect().await?;
    for number in 0..1_000 {
        set(&pair.here, &format!("key {}", number % 300), number)?;
    }
    pair.connect().await?;
    assert_eq!(get(&pair.there, "key 99")?, Value::from(999));
    assert_eq!(pair.there.entry_count(), pair.here.entry_count());
    assert_clean(&pair.there);
    // And the link is live again, both ways.
    set(&pair.there, "back", true)?;
    until("the change arrives", || get(&pair.here, "back").is_ok()).await;
    Ok(())
}

async fn both_write_while_apart_and_converge(over: Over) -> Result<()> {
    let pair = Pair::new(over).await?;
    for round in 0..3 {
        pair.disconnect().await?;
        for number in 0..100 {
            set(&pair.here, &format!("a {round} {number}"), number)?;
            set(&pair.there, &format!("b {round} {number}"), number)?;
            set(&pair.here, "both", format!("a {round}"))?;
            set(&pair.there, "both", format!("b {round}"))?;
        }
        pair.connect().await?;
        assert_eq!(get(&pair.here, "both")?, get(&pair.there, "both")?);
        assert_eq!(get(&pair.here, &format!("b {round} 99"))?, Value::from(99));
        assert_eq!(get(&pair.there, &format!("a {round} 99"))?, Value::from(99));
    }
    assert_clean(&pair.here);
    assert_clean(&pair.there);
    Ok(())
}

async fn the_bytes_of_catching_up_follow_the_gap_and_not_the_history(over: Over) -> Result<()> {
    let pair = Pair::new(over).await?;
    let value = |number: u64| Value::from(noise(number, 1_000));
    let mut number = 0;
    let mut write = |database: &Database, count: u64| -> Result<()> {
        for _ in 0..count {
            number += 1;
            set(database, &number.to_string(), value(number))?;
        }
        Ok(())
    };
    let mut gaps = Vec::new();
    // A history of 100, then of more than 1,000 entries; each time gaps of 0, 10 and 100 on either side.
    for history in [100, 1_000] {
        write(&pair.here, history)?;
        pair.disconnect().await?;
        pair.connect().await?;
        for gap in [0, 10, 100] {
            pair.disconnect().await?;
            write(&pair.here, gap)?;
            write(&pair.there, gap)?;
            let bytes = pair.connect().await?;
            println!(
                "{over:?}, history {:>5}: {gap:>3} missing on either side, {bytes:>7} bytes",
                pair.here.entry_count()
            );
            gaps.push(bytes);
        }
    }
    let [short0, short10, short100, long0, long10, long100] = gaps[..] else { panic!("{gaps:?}") };
    // Every gap is closed over a new link. Over QUIC that tries how long datagrams may be, some of it at its leisure.
    let link = if over == Over::Iroh { 25_000 } else { 0 };
    for (short, long) in [(short0, long0), (short10, long10), (short100, long100)] {
        assert!(long < short + 8_000 + link, "ten times the history costs {long} instead of {short} bytes");
    }
    // An entry is its kilobyte of noise and its header, signature and path around it.
    for (gap, bytes) in [(20, long10), (200, long100)] {
        let per_entry = bytes.saturating_sub(long0 + link) / gap;
        assert!(per_entry < 1_800, "{per_entry} bytes per missing entry");
    }
    assert!(long0 < 10_000 + link, "finding that nothing is missing costs {long0} bytes");
    Ok(())
}

async fn a_copy_that_lacks_the_grants_for_its_node_is_completed(over: Over) -> Result<()> {
    let (a, b) = (over.node()?, over.node()?);
    let here = a.create()?;
    // As after a link that broke early.
    testing::ingest(&b.instance, here.root_id(), testing::export_entries(&here)?)?;
    here.grant(b.key()?, Permission::Write, 100)?;
    set(&here, "last", 1)?;
    let there = within("a sync", b.fetch(&a.address()?, here.root_id())).await?;
    assert_eq!(state(&there)?, state(&here)?);
    Ok(())
}
