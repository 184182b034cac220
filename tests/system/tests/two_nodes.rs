//! Two instances in one process: sharing, joining, live changes both ways.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use eidetica::Result;
use eidetica::auth::Permission;
use eidetica::crdt::Doc;
use eidetica::sync::InviteOptions;
use eidetica_system_tests::node::{get, set, until, within};
use eidetica_system_tests::over::Over;
use eidetica_system_tests::state::assert_clean;

eidetica_system_tests::over_every_transport! { a_shared_database_is_followed_both_ways }

async fn a_shared_database_is_followed_both_ways(over: Over) -> Result<()> {
    let (a, b) = (over.node()?, over.node()?);
    let mut settings = Doc::new();
    settings.set_string("name", "notes");
    let here = a.user.create_database(settings, a.key()?)?;
    set(&here, "first", 1)?;
    let ticket = here.invite(Permission::Write, InviteOptions::default())?;
    let there = within("joining", b.user.join(&ticket.to_string().parse()?)).await?;
    assert_eq!(there.name()?.as_deref(), Some("notes"));
    assert_eq!(get(&there, "first")?.as_i64(), Some(1));
    set(&here, "second", 2)?;
    until("a change there", || get(&there, "second").is_ok()).await;
    set(&there, "third", 3)?;
    until("a change here", || get(&here, "third").is_ok()).await;
    assert_eq!(here.tips(), there.tips());
    [&here, &there].into_iter().for_each(assert_clean);
    a.instance.close()?;
    b.instance.close()
}

/// What one transport can't reach, another does; each address goes to the transport of its type.
#[tokio::test(flavor = "multi_thread")]
async fn a_peer_is_reached_over_another_transport_when_one_fails() -> Result<()> {
    let (a, b) = (Over::Http.node()?, Over::Iroh.node()?);
    a.instance.sync()?.stop_server()?;
    Over::Iroh.serve(&a.instance)?;
    let here = a.create()?;
    set(&here, "first", 1)?;
    let addresses = a.instance.sync()?.get_server_addresses()?;
    assert_eq!(addresses.iter().map(|at| &at.transport_type[..]).collect::<Vec<_>>(), ["http", "iroh"]);
    Over::Http.serve(&b.instance).unwrap_err();
    // The ticket names both; HTTP leads nowhere for who has only iroh, and a dead port for who has both.
    let ticket = here.invite(Permission::Write, InviteOptions::default())?.to_string();
    let port = addresses[0].address.clone();
    let there = within("joining", b.user.join(&ticket.replace(&port, "127.0.0.1:1").parse()?)).await?;
    assert_eq!(get(&there, "first")?.as_i64(), Some(1));
    Ok(())
}
