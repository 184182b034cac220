//! Payloads of every size pass, and what a broken transfer has persisted isn't sent again.

#![allow(clippy::print_stdout, reason = "figures are for people")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use eidetica::auth::Permission;
use eidetica::backend::File;
use eidetica::crdt::Value;
use eidetica::store::DocStore;
use eidetica::{Database, Error, Result};
use eidetica_system_tests::node::{Node, get, set, until, within};
use eidetica_system_tests::over::Over;
use eidetica_system_tests::route::Route;
use eidetica_system_tests::seeded::noise;
use eidetica_system_tests::state::{assert_clean, state};

eidetica_system_tests::over_http_and_iroh! {
    payloads_from_one_byte_to_eight_mebibytes_pass_both_ways,
    an_entry_of_many_payloads_passes_whatever_they_add_up_to,
    a_transfer_of_one_large_payload_that_was_cut_goes_on_where_it_was,
    a_transfer_of_many_entries_that_was_cut_goes_on_where_it_was,
}

const KIB: usize = 1_024;
const MIB: usize = 1_024 * KIB;

/// A database at `a` that `b` may write to.
fn shared(a: &Node, b: &Node) -> Result<Database> {
    let database = a.create()?;
    database.grant(b.key()?, Permission::Write, 100)?;
    Ok(database)
}

async fn payloads_from_one_byte_to_eight_mebibytes_pass_both_ways(over: Over) -> Result<()> {
    let sizes = [
        1,
        100,
        32 * KIB - 1,
        32 * KIB,
        32 * KIB + 1,
        60 * KIB,
        60 * KIB + 1,
        256 * KIB - 1,
        256 * KIB,
        256 * KIB + 1,
        MIB,
        8 * MIB,
    ];
    let (a, b) = (over.node()?, over.node()?);
    let here = shared(&a, &b)?;
    for size in sizes {
        set(&here, &format!("first sync {size}"), Value::from(noise(size as u64, size)))?;
    }
    let there = within("the first sync", b.fetch(&a.address()?, here.root_id())).await?;
    for size in sizes {
        let found = get(&there, &format!("first sync {size}"))?;
        assert!(found == Value::from(noise(size as u64, size)), "{size} bytes");
    }
    for size in sizes {
        set(&there, &format!("back {size}"), Value::from(noise(1 + size as u64, size)))?;
    }
    within("the way back", b.instance.sync()?.sync_with_peer(a.address()?, Some(here.root_id()))).await?;
    for size in sizes {
        assert!(
            get(&here, &format!("back {size}"))? == Value::from(noise(1 + size as u64, size)),
            "{size} bytes"
        );
    }
    assert_eq!(state(&here)?, state(&there)?);
    assert_clean(&there);
    Ok(())
}

/// The bytes that a first sync costs when it passes at once, and when it is cut halfway and begun again.
async fn whole_and_cut(over: Over, fill: impl Fn(&Database) -> Result<()>) -> Result<(u64, u64)> {
    let folder = tempfile::tempdir().unwrap();
    let kept = || Ok::<_, Error>(Box::new(File::open(folder.path())?));
    let (a, b, mut c) = (over.secluded()?, over.node()?, over.node_on(kept()?)?);
    let here = shared(&a, &b)?;
    here.grant(c.key()?, Permission::Write, 100)?;
    fill(&here)?;
    let route = Route::to(over, &a).await.unwrap();
    let there = within("the uncut sync", b.fetch(&route.address(), here.root_id())).await?;
    let whole = route.passed();
    assert_eq!(state(&here)?, state(&there)?);
    b.instance.close()?;

    route.break_after(whole / 2);
    let gives_up = async {
        if over == Over::Iroh {
            // QUIC bears silence for half a minute; this node has less patience, and ends the link.
            until("it is silent", || route.passed() >= whole / 2).await;
            c.instance.sync()?.remove_peer(a.peer())?;
        }
        Ok::<(), Error>(())
    };
    let address = route.address();
    let cutting = c.fetch(&address, here.root_id());
    let (cut, gave_up) = within("the cut sync", async { tokio::join!(cutting, gives_up) }).await;
    assert!(cut.is_err(), "it was cut at half of {whole} bytes");
    gave_up?;
    let before = route.passed();
    if over == Over::Iroh {
        // An endpoint clings to the way that it has; and what is still sent of the old connection is to go the old way.
        c.instance.close()?;
        drop(c);
        c = over.node_on(kept()?)?;
    }
    let route = Route::to(over, &a).await.unwrap();
    let there = within("the second attempt", c.fetch(&route.address(), here.root_id())).await?;
    assert_eq!(state(&here)?, state(&there)?);
    assert_clean(&there);
    Ok((whole, before + route.passed()))
}

fn assert_resumed(what: &str, (whole, cut): (u64, u64)) {
    println!("{what}: {whole} bytes uncut, {cut} bytes cut halfway ({:.3}x)", cut as f64 / whole as f64);
    assert!(whole > 6_000_000, "it doesn't compress");
    assert!(cut * 4 < whole * 5, "{what}: {cut} bytes, allowed are 1.25 x {whole}");
}

async fn a_transfer_of_one_large_payload_that_was_cut_goes_on_where_it_was(over: Over) -> Result<()> {
    let bytes =
        whole_and_cut(over, |database| set(database, "large", Value::from(noise(7, 6_000_000))).map(drop))
            .await?;
    assert_resumed("one payload of 6 MB", bytes);
    Ok(())
}

async fn a_transfer_of_many_entries_that_was_cut_goes_on_where_it_was(over: Over) -> Result<()> {
    let bytes = whole_and_cut(over, |database| {
        for number in 0..1_000 {
            set(database, &number.to_string(), Value::from(noise(number, 6_000)))?;
        }
        Ok(())
    })
    .await?;
    assert_resumed("1,000 payloads of 6 kB", bytes);
    Ok(())
}

async fn an_entry_of_many_payloads_passes_whatever_they_add_up_to(over: Over) -> Result<()> {
    // Each of them short enough to be sent along, together longer than any message.
    const STORES: u64 = 60;
    let (a, b) = (over.node()?, over.node()?);
    let (here, beside) = (shared(&a, &b)?, shared(&a, &b)?);
    // Others in the same message.
    for number in 0..20 {
        set(&here, &number.to_string(), Value::from(noise(number, 9_000)))?;
    }
    let transaction = here.new_transaction()?;
    for number in 0..STORES {
        let store = transaction.get_store::<DocStore>(format!("store {number}"))?;
        store.set("noise", Value::from(noise(number, 30_000)))?;
    }
    transaction.commit()?;
    set(&beside, "key", "value")?;
    let at = a.at()?.to_string();
    let there = within("a sync", b.fetch(&at, here.root_id())).await?;
    let first = within("another one on the same link", b.fetch(&at, beside.root_id())).await?;
    assert_eq!(get(&first, "key")?.as_str(), Some("value"));
    assert_eq!(state(&there)?, state(&here)?);
    assert_clean(&there);
    Ok(())
}
