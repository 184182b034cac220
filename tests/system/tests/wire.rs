//! What somebody on the path between two nodes learns, and can do: nothing but end the link.
//!
//! Messages are damaged and replayed over HTTP, where that ends the link: TCP hands on what it is given, and it is up to the engine's
//! channel to notice. QUIC itself drops such datagrams and sends again, so over iroh they have no effect at all.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeSet, HashSet};

use eidetica::auth::Permission;
use eidetica::crdt::{Doc, Value};
use eidetica::{Database, Id, Result, testing};
use eidetica_system_tests::node::{Node, get, set, until, within};
use eidetica_system_tests::over::Over;
use eidetica_system_tests::proxy::{Direction, Proxy, Recording, Rules};
use eidetica_system_tests::relay::Weather;
use eidetica_system_tests::route::{Between, Route};
use eidetica_system_tests::seeded::noise;
use eidetica_system_tests::state::{assert_clean, state};
use eidetica_system_tests::websocket::{contents, payloads};

const CANARY: &str = "canary-6f1d0c9e4b7a-canary";
/// The longest run of bytes that two sessions may share by accident is far shorter.
const RUN_BYTES: usize = 16;

eidetica_system_tests::over_http_and_iroh! {
    nothing_of_the_data_is_seen_on_the_wire,
    two_sessions_over_the_same_data_share_no_bytes,
}

/// A node with a database that everybody may write to.
fn served(over: Over) -> Result<(Node, Database)> {
    let node = over.secluded()?;
    let mut settings = Doc::new();
    settings.set("name", format!("name {CANARY}"));
    let database = node.user.create_database(settings, node.key()?)?;
    database.grant("*", Permission::Write, 100)?;
    for number in 0..20 {
        set(&database, &format!("key {number} {CANARY}"), format!("value {CANARY}"))?;
    }
    set(&database, "compressible", CANARY.repeat(4_000))?;
    let mut large = noise(1, 100_000);
    large.splice(50_000..50_000, CANARY.bytes());
    set(&database, "large", Value::from(large))?;
    Ok((node, database))
}

fn contains(bytes: &[u8], what: &[u8]) -> bool {
    bytes.windows(what.len()).any(|window| window == what)
}

/// What each session shows of itself, from the first message of Noise or QUIC on: messages or datagrams, as they are.
fn sessions(route: &Route) -> Vec<Vec<Vec<u8>>> {
    match &route.between {
        Between::Proxy(proxy) => proxy.recordings().iter().map(sealed).collect(),
        Between::Relay(relay) => {
            let recordings = relay.recordings().into_iter();
            recordings.map(|recording| [recording.to_server, recording.to_client].concat()).collect()
        }
        Between::Nothing => Vec::new(),
    }
}

/// Every message's content of a session, from the first message of Noise on.
fn sealed(recording: &Recording) -> Vec<Vec<u8>> {
    let (mut messages, to_client) = (contents(&recording.to_server), contents(&recording.to_client));
    // Before it comes what the initiator offers, in the clear: Noise authenticates it as its prologue.
    assert!(messages.remove(0).starts_with(b"eidetica"));
    messages.extend(to_client);
    messages
}

async fn nothing_of_the_data_is_seen_on_the_wire(over: Over) -> Result<()> {
    let (a, here) = served(over)?;
    let route = Route::to(over, &a).await.unwrap();
    let b = over.node()?;
    let there = within("the first sync", b.fetch(&route.address(), here.root_id())).await?;
    set(&here, "live", CANARY)?;
    until("a change arrives", || get(&there, "live").is_ok()).await;
    set(&there, "back", CANARY)?;
    until("a change comes back", || get(&here, "back").is_ok()).await;
    let mut streams = sessions(&route);
    let seen: usize = streams.iter().flatten().map(Vec::len).sum();
    if let Between::Proxy(proxy) = &route.between {
        // HTTP's own part, too, and messages as they are masked.
        let whole = proxy.recordings().into_iter();
        streams.extend(whole.map(|recording| vec![recording.to_server, recording.to_client]));
    }
    let id = here.root_id().to_string();
    let secrets = [CANARY.as_bytes(), here.root_id().as_bytes(), id.as_bytes(), b.peer().as_bytes()]
        .map(<[u8]>::to_vec);
    for piece in streams.iter().flatten() {
        assert!(secrets.iter().all(|secret| !contains(piece, secret)));
    }
    for stream in streams {
        let whole = stream.concat();
        assert!(secrets.iter().all(|secret| !contains(&whole, secret)));
    }
    assert!(seen > 100_000, "{seen} bytes were recorded");
    Ok(())
}

async fn two_sessions_over_the_same_data_share_no_bytes(over: Over) -> Result<()> {
    let (a, here) = served(over)?;
    let route = Route::to(over, &a).await.unwrap();
    let (b, c) = (over.node()?, over.node()?);
    within("B's first sync", b.fetch(&route.address(), here.root_id())).await?;
    within("C's first sync", c.fetch(&route.address(), here.root_id())).await?;
    // And two that have nothing to say.
    let idle = [over.node()?, over.node()?];
    for node in &idle {
        within("an idle session", node.instance.sync()?.connect_to_peer(&route.at())).await?;
    }
    let sessions = sessions(&route);
    assert!(sessions.len() >= 4);
    let runs = |session: &Vec<Vec<u8>>| -> HashSet<[u8; RUN_BYTES]> {
        let windows = session.iter().flat_map(|message| message.windows(RUN_BYTES));
        windows.map(|run| run.try_into().unwrap()).collect()
    };
    let mut seen: HashSet<[u8; RUN_BYTES]> = HashSet::new();
    for session in &sessions {
        let runs = runs(session);
        assert!(runs.len() > 200);
        assert!(runs.is_disjoint(&seen), "two sessions share a run of {RUN_BYTES} bytes");
        seen.extend(runs);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn datagrams_that_are_damaged_or_come_twice_have_no_effect() -> Result<()> {
    let (a, here) = served(Over::Iroh)?;
    let route = Route::to(Over::Iroh, &a).await.unwrap();
    let Between::Relay(relay) = &route.between else { panic!("QUIC passes through a relay") };
    let weathers = [
        Weather { damage_every: Some(7), ..Weather::default() },
        Weather { double_every: Some(2), ..Weather::default() },
        Weather { damage_every: Some(11), double_every: Some(3), ..Weather::default() },
    ];
    let before = state(&here)?;
    for weather in weathers {
        relay.reset(weather.clone());
        let b = Over::Iroh.node()?;
        let there = within("the first sync", b.fetch(&route.address(), here.root_id())).await?;
        assert_eq!(state(&there)?, before, "{weather:?}");
        assert_clean(&there);
        assert!(relay.altered() >= 10, "{weather:?}: {} datagrams", relay.altered());
    }
    assert_eq!(state(&here)?, before);
    Ok(())
}

fn ids(database: &Database) -> BTreeSet<Id> {
    testing::export_entries(database).unwrap().iter().map(testing::RawEntry::id).collect()
}

/// A fresh node's first sync, over a proxy with these rules; then what it has is checked, and it connects again.
///
/// `true` if the corruption took place and ended the sync.
async fn corrupted(a: &Node, here: &Database, proxy: &Proxy, rules: Rules) -> Result<bool> {
    let b = Node::http()?;
    let what = format!("{rules:?}");
    let before = state(here)?;
    proxy.reset(rules);
    let done = within(&what, b.fetch(&proxy.address(), here.root_id())).await;
    let took_place = proxy.has_corrupted();
    assert!(took_place || done.is_ok(), "{what}: {}", done.unwrap_err());
    proxy.reset(Rules::default());
    if b.instance.has_database(here.root_id())? {
        let there = b.user.open_database(here.root_id())?;
        assert!(ids(&there).is_subset(&ids(here)), "{what}: only what was sent");
        assert_clean(&there);
    }
    let ended = done.is_err();
    let there = within("the next connection", b.fetch(&a.address()?, here.root_id())).await?;
    assert_eq!(state(&there)?, state(here)?, "{what}");
    assert_eq!(state(here)?, before, "{what}");
    assert_clean(&there);
    b.instance.close()?;
    Ok(took_place && ended)
}

/// How many messages a first sync has in each direction, and where their contents lie.
async fn measured(here: &Database, proxy: &Proxy) -> Result<[(Direction, Vec<std::ops::Range<usize>>); 2]> {
    let b = Node::http()?;
    within("an untouched sync", b.fetch(&proxy.address(), here.root_id())).await?;
    b.instance.close()?;
    let recording = proxy.recordings().remove(0);
    Ok([
        (Direction::ToServer, payloads(&recording.to_server)),
        (Direction::ToClient, payloads(&recording.to_client)),
    ])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_ends_the_link_without_effect() -> Result<()> {
    let (a, here) = served(Over::Http)?;
    let proxy = Proxy::to(a.address()?).await.unwrap();
    let mut ended = 0;
    for (direction, messages) in measured(&here, &proxy).await? {
        assert!(messages.len() >= 5, "{direction:?}: {} messages", messages.len());
        // Three bytes of each of the first messages, and the middle of some later ones.
        let first = messages.iter().take(4);
        let offsets = first.flat_map(|at| [at.start, (at.start + at.end) / 2, at.end - 1]);
        let later = messages.iter().skip(4).step_by(3).take(4).map(|at| (at.start + at.end) / 2);
        let handshake = messages.iter().take(1).map(|at| at.end).next().unwrap() as u64;
        for offset in offsets.chain(later) {
            let flip = Some((direction, offset as u64));
            let effect = corrupted(&a, &here, &proxy, Rules { flip, ..Rules::default() }).await?;
            // The handshake has as many bytes each time; later on the sizes may differ a little.
            assert!(effect || offset as u64 > handshake, "{flip:?} ends the link");
            ended += u32::from(effect);
        }
    }
    println!("{ended} links were ended by a flipped bit");
    assert!(ended >= 16);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replayed_message_ends_the_link_without_effect() -> Result<()> {
    let (a, here) = served(Over::Http)?;
    let proxy = Proxy::to(a.address()?).await.unwrap();
    let mut ended = 0;
    for (direction, messages) in measured(&here, &proxy).await? {
        for number in (0..messages.len()).take(8) {
            let replay = Some((direction, number));
            let effect = corrupted(&a, &here, &proxy, Rules { replay, ..Rules::default() }).await?;
            assert!(effect || number > 2, "{replay:?} ends the link");
            ended += u32::from(effect);
        }
    }
    println!("{ended} links were ended by a replayed message");
    assert!(ended >= 6);
    Ok(())
}
