//! What listening and dialling promise: addresses, strangers, and endpoints that come and go.

#![allow(clippy::unwrap_used, reason = "a test panics to fail")]

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use eidetica_conformance::context::tokio_context;
use eidetica_kernel::registry::OpenContext;
use eidetica_kernel::transport::{Link, Transport};
use eidetica_kernel::{Address, ErrorKind};
use eidetica_transport_iroh::{IROH, IrohOptions, IrohTransport, RelayMap, RelayMode, Relays};
use iroh::endpoint::{ConnectionError, ReadError, ReadExactError};
use iroh::{EndpointAddr, TransportAddr};
use iroh_tickets::endpoint::EndpointTicket;
use support::{ALPN, address_of, connect, link, listen, local, nodes, raw, soon, target, transport};

#[tokio::test]
async fn a_listener_comes_and_goes_while_its_links_stay_open() {
    let (dialler, server) = (transport(local()), transport(local()));
    let mut links: Vec<(Link, Link)> = Vec::new();
    let mut addresses = Vec::new();
    for round in 0..6 {
        let mut listener = server.listen(&tokio_context(), "").await.unwrap();
        addresses.extend(listener.addresses());
        links.push(link(&dialler, &mut listener, addresses.last().unwrap()).await);
        if round % 2 == 0 {
            listener.close().await.unwrap();
            listener.close().await.unwrap();
            assert!(listener.accept().await.unwrap().is_none());
        }
    }
    assert!(addresses.windows(2).all(|pair| pair[0] == pair[1]), "one endpoint: {addresses:?}");
    for (dialled, accepted) in &mut links {
        dialled.sender.send("still here".into()).await.unwrap();
        assert_eq!(soon(accepted.receiver.recv()).await.unwrap(), Some("still here".into()));
    }
}

#[tokio::test]
async fn nobody_is_let_in_without_a_listener() {
    let server = transport(local());
    let dialler = transport(local());
    let mut listener = server.listen(&tokio_context(), "").await.unwrap();
    let address = listener.addresses().remove(0);

    // Over the connection that a link keeps open.
    let held = link(&dialler, &mut listener, &address).await;
    drop(listener);
    let refused = soon(dialler.connect(&tokio_context(), &address)).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unreachable, "{refused}");
    assert!(refused.to_string().contains("accepts no links now"), "{refused}");
    drop(held);

    // Over a new connection.
    let refused = soon(connect(&address)).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unreachable, "{refused}");
    assert!(refused.to_string().contains("accepts no links now"), "{refused}");

    let mut listener = server.listen(&tokio_context(), "").await.unwrap();
    link(&dialler, &mut listener, &address).await;
}

#[tokio::test]
async fn a_second_listener_of_one_transport_is_refused() {
    let server = transport(local());
    let first = server.listen(&tokio_context(), "").await.unwrap();
    let refused = server.listen(&tokio_context(), "").await.err().unwrap();
    assert_eq!(refused.kind(), ErrorKind::InUse);
    drop(first);
    server.listen(&tokio_context(), "").await.unwrap();
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let (_listener, address) = listen(local()).await;
    let socket = target(&address).ip_addrs().next().unwrap().to_string();
    let second = transport(IrohOptions { bind: vec![socket.clone()], ..local() });
    let error = second.listen(&tokio_context(), "").await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::InUse, "{error}");
    assert!(error.to_string().contains(&socket), "{error}");
}

#[tokio::test]
async fn both_sides_dial_each_other() {
    let (here, there) = (transport(local()), transport(local()));
    let mut here_listens = here.listen(&tokio_context(), "").await.unwrap();
    let mut there_listens = there.listen(&tokio_context(), "").await.unwrap();
    let (to_here, to_there) = (here_listens.addresses().remove(0), there_listens.addresses().remove(0));
    let (mut one, mut its_end) = link(&here, &mut there_listens, &to_there).await;
    let (mut other, mut other_end) = link(&there, &mut here_listens, &to_here).await;
    assert_ne!(one.remote_key, other.remote_key);
    assert_eq!(its_end.remote.as_ref(), Some(&to_here), "who dials is found where it listens");
    one.sender.send("one".into()).await.unwrap();
    other.sender.send("other".into()).await.unwrap();
    assert_eq!(soon(its_end.receiver.recv()).await.unwrap(), Some("one".into()));
    assert_eq!(soon(other_end.receiver.recv()).await.unwrap(), Some("other".into()));
}

#[tokio::test]
async fn a_way_that_leads_nowhere_holds_up_no_other_way_to_the_same_endpoint() {
    let (mut listener, address) = listen(local()).await;
    let nowhere = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let way = TransportAddr::Ip(nowhere.local_addr().unwrap());
    let lost = EndpointTicket::new(EndpointAddr::from_parts(target(&address).id, [way])).to_string();
    let dialler = Arc::new(transport(IrohOptions { connect_timeout_ms: 600_000, ..local() }));
    let dialling = {
        let (dialler, lost) = (dialler.clone(), Address::new("iroh", lost));
        tokio::spawn(async move { dialler.connect(&tokio_context(), &lost).await })
    };
    soon(nowhere.recv(&mut [0; 2_048])).await.unwrap();
    link(&dialler, &mut listener, &address).await;
    dialling.abort();
}

#[tokio::test]
async fn a_transport_does_not_dial_itself() {
    let server = transport(local());
    let listener = server.listen(&tokio_context(), "").await.unwrap();
    let error = server.connect(&tokio_context(), &listener.addresses()[0]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.to_string().contains("own address"), "{error}");
}

#[tokio::test]
async fn nobody_there_is_a_timeout_and_names_the_address() {
    let endpoint = raw().await;
    let address = address_of(&endpoint);
    endpoint.close().await;
    drop(endpoint);
    let hasty = transport(IrohOptions { connect_timeout_ms: 100, ..local() });
    let error = soon(hasty.connect(&tokio_context(), &address)).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Timeout | ErrorKind::Unreachable), "{error}");
    assert!(error.to_string().contains(&address.to_string()), "{error}");
}

#[tokio::test]
async fn whoever_takes_no_links_is_a_timeout_or_refuses() {
    // Accepts the connection, and leaves its streams alone.
    let silent = raw().await;
    let address = address_of(&silent);
    let serving = tokio::spawn(async move {
        let connection = silent.accept().await.unwrap().await.unwrap();
        connection.closed().await
    });
    let hasty = transport(IrohOptions { connect_timeout_ms: 300, ..local() });
    let error = soon(hasty.connect(&tokio_context(), &address)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    soon(serving).await.unwrap();

    // Answers with something else.
    let other = raw().await;
    let address = address_of(&other);
    let serving = tokio::spawn(async move {
        let connection = other.accept().await.unwrap().await.unwrap();
        let (mut outgoing, _incoming) = connection.accept_bi().await.unwrap();
        outgoing.write_all(b"220 mail.example.com").await.unwrap();
        connection.closed().await
    });
    let error = soon(connect(&address)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Protocol, "{error}");
    soon(serving).await.unwrap();
}

#[tokio::test]
async fn another_protocol_is_refused() {
    let (_listener, address) = listen(local()).await;
    let stranger = raw().await;
    assert!(soon(stranger.connect(target(&address), b"something/else")).await.is_err());
    stranger.close().await;
}

#[tokio::test]
async fn strangers_delay_nobody() {
    let (mut listener, address) = listen(local()).await;
    let mut strangers = Vec::new();
    for number in 0..6_u8 {
        let stranger = raw().await;
        let connection = soon(stranger.connect(target(&address), ALPN)).await.unwrap();
        let mut streams = Vec::new();
        for _ in 0..4 {
            let (mut outgoing, incoming) = connection.open_bi().await.unwrap();
            if number % 2 == 0 {
                // Unknown kinds of stream.
                outgoing.write_all(&[0x47, number, 0xff]).await.unwrap();
            }
            streams.push((outgoing, incoming));
        }
        strangers.push((stranger, connection, streams));
    }
    let (dialled, accepted) = soon(async { tokio::join!(connect(&address), listener.accept()) }).await;
    assert!(dialled.is_ok() && accepted.unwrap().is_some());
    for (number, (_, _, streams)) in strangers.iter_mut().enumerate() {
        if number % 2 == 0 {
            let refused = soon(streams[0].1.read_exact(&mut [0; 1])).await.unwrap_err();
            assert_eq!(refused, ReadExactError::ReadError(ReadError::Reset(2_u32.into())));
        }
    }
}

#[tokio::test]
async fn datagrams_of_garbage_delay_nobody() {
    let (mut listener, address) = listen(local()).await;
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let to = *target(&address).ip_addrs().next().unwrap();
    for number in 0..200_u8 {
        let garbage: Vec<u8> = (0..=255).map(|at: u8| at.wrapping_mul(number) ^ 0xc3).collect();
        socket.send_to(&garbage.repeat(5)[..1_200], to).unwrap();
    }
    let (dialled, accepted) = soon(async { tokio::join!(connect(&address), listener.accept()) }).await;
    assert!(dialled.is_ok() && accepted.unwrap().is_some());
}

#[tokio::test]
async fn one_stranger_too_many_ends_the_oldest() {
    let (mut listener, address) = listen(IrohOptions { handshakes_max: 3, ..local() }).await;
    let mut strangers = Vec::new();
    for _ in 0..4 {
        let stranger = raw().await;
        let connection = soon(stranger.connect(target(&address), ALPN)).await.unwrap();
        strangers.push((stranger, connection));
    }
    let closed = soon(strangers[0].1.closed()).await;
    assert!(matches!(closed, ConnectionError::ApplicationClosed(_)), "{closed}");
    let (dialled, accepted) = soon(async { tokio::join!(connect(&address), listener.accept()) }).await;
    assert!(dialled.is_ok() && accepted.unwrap().is_some());
    drop(listener);
    for (_, connection) in &strangers {
        soon(connection.closed()).await;
    }
}

#[tokio::test]
async fn a_silent_stranger_is_hung_up_on_in_time() {
    let (_listener, address) = listen(IrohOptions { handshake_timeout_ms: 100, ..local() }).await;
    let stranger = raw().await;
    let connection = soon(stranger.connect(target(&address), ALPN)).await.unwrap();
    let closed = soon(connection.closed()).await;
    assert!(matches!(closed, ConnectionError::ApplicationClosed(_)), "{closed}");
}

#[tokio::test]
async fn an_endpoint_has_so_many_links_and_no_more() {
    let (mut listener, address) = listen(IrohOptions { links_per_endpoint_max: 2, ..local() }).await;
    let dialler = transport(IrohOptions { connect_timeout_ms: 300, ..local() });
    let first = link(&dialler, &mut listener, &address).await;
    let _second = link(&dialler, &mut listener, &address).await;
    let error = soon(dialler.connect(&tokio_context(), &address)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    drop(first);
    link(&transport(local()), &mut listener, &address).await;
    link(&dialler, &mut listener, &address).await;
}

#[tokio::test]
async fn a_full_queue_makes_dialling_wait() {
    let (mut listener, address) = listen(IrohOptions { accept_queue_max: 1, ..local() }).await;
    let dialler = Arc::new(transport(local()));
    let mut dialling = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (dialler, address) = (dialler.clone(), address.clone());
        dialling.spawn(async move { dialler.connect(&tokio_context(), &address).await.unwrap() });
    }
    for _ in 0..8 {
        soon(listener.accept()).await.unwrap().unwrap();
    }
    assert_eq!(soon(dialling.join_all()).await.len(), 8);
}

#[tokio::test]
async fn a_connection_that_broke_is_replaced() {
    let server = raw().await;
    let address = address_of(&server);
    let serving = tokio::spawn(async move {
        for _ in 0..3 {
            let connection = server.accept().await.unwrap().await.unwrap();
            let (mut outgoing, _incoming) = connection.accept_bi().await.unwrap();
            outgoing.write_all(&[1]).await.unwrap();
            outgoing.stopped().await.ok();
            connection.close(7_u32.into(), b"");
        }
        server.close().await;
    });
    let (dialler, context) = (transport(local()), tokio_context());
    let mut broken = Vec::new();
    for _ in 0..3 {
        let Link { sender, receiver, .. } = soon(dialler.connect(&context, &address)).await.unwrap();
        // Not the last of the link: it goes on to hold its connection.
        drop(receiver);
        broken.push(sender);
    }
    soon(serving).await.unwrap();
}

#[tokio::test]
async fn a_listener_that_is_dropped_with_its_last_link_takes_its_endpoint_along() {
    let (dialler, mut listener, address) = nodes().await;
    drop(link(&dialler, &mut listener, &address).await);
    drop(listener);
    let hasty = transport(IrohOptions { connect_timeout_ms: 300, ..local() });
    let error = soon(hasty.connect(&tokio_context(), &address)).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Timeout | ErrorKind::Unreachable), "{error}");
}

#[tokio::test]
async fn every_interface_is_reported_as_an_address_that_can_be_dialled() {
    let everywhere = || transport(IrohOptions { bind: Vec::new(), port_mapping: false, ..local() });
    let mut listener = everywhere().listen(&tokio_context(), "127.0.0.1:9").await.unwrap();
    let address = listener.addresses().remove(0);
    let ways = target(&address);
    assert!(ways.ip_addrs().count() > 0 && ways.ip_addrs().all(|way| !way.ip().is_unspecified()), "{ways:?}");
    link(&everywhere(), &mut listener, &address).await;
}

#[tokio::test]
async fn relays_that_cannot_be_reached_hold_listening_up_for_a_moment_only() {
    let relay = "https://127.0.0.1:9".parse().unwrap();
    let node = IrohTransport::builder()
        .options(local())
        .relay_mode(RelayMode::Custom(RelayMap::from_iter([eidetica_transport_iroh::RelayConfig::new(
            relay, None,
        )])))
        .build()
        .unwrap();
    let begun = Instant::now();
    let mut listener = node.listen(&tokio_context(), "").await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    let address = listener.addresses().remove(0);
    link(&transport(local()), &mut listener, &address).await;
}

#[tokio::test]
async fn addresses_read_back_and_bad_ones_are_named() {
    let node = transport(local());
    let listener = node.listen(&tokio_context(), "").await.unwrap();
    let address = listener.addresses().remove(0);
    let text = address.to_string();
    assert_eq!(text.parse::<Address>().unwrap(), address);
    for notation in [&text, &address.address, &format!("iroh://{}", address.address)] {
        assert_eq!(node.parse_address(notation).unwrap(), address);
    }
    assert_eq!(Address::iroh(&text).unwrap(), address);

    let key = target(&address).id.to_string();
    let bare = format!("iroh://{key}");
    let error = node.parse_address(&bare).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.to_string().contains("ticket is needed"), "{error}");
    let error = node.connect(&tokio_context(), &Address::iroh(&bare).unwrap()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    let finding = transport(IrohOptions { address_lookup: true, ..local() });
    assert_eq!(finding.parse_address(&bare).unwrap().address, key);

    for wrong in ["", "127.0.0.1:80", "endpoint", "endpointaaaa", "iroh://", "../../etc/passwd", "\u{1f600}"]
    {
        assert_eq!(node.parse_address(wrong).unwrap_err().kind(), ErrorKind::InvalidInput, "{wrong}");
    }
    let error = node.connect(&tokio_context(), &Address::new("http", "127.0.0.1:80")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
}

#[test]
fn building_needs_no_runtime_and_every_bad_option_is_named() {
    IrohTransport::builder().build().unwrap();
    let empty = RelayMode::Custom(RelayMap::empty());
    let error = IrohTransport::builder().relay_mode(empty).build().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);

    let text = r#"{"relay_mode": "custom", "relay_urls": ["https://ok.example", "nonsense", "ftp://x"],
                   "bind": ["127.0.0.1:0", "localhost", "0.0.0.0:1"], "connect_timeout_ms": 0,
                   "relay_wait_ms": 100000, "handshakes_max": 0, "receive_window_bytes": 1}"#;
    let mut json = serde_json::Deserializer::from_str(text);
    let factory = (IROH.parse)(&mut <dyn erased_serde::Deserializer<'_>>::erase(&mut json)).unwrap();
    let paths: Vec<String> = factory.validate().into_iter().map(|fault| fault.path).collect();
    let expected = [
        "relay_urls[1]",
        "relay_urls[2]",
        "bind[1]",
        "bind[2]",
        "connect_timeout_ms",
        "relay_wait_ms",
        "handshakes_max",
        "receive_window_bytes",
    ];
    assert_eq!(paths, expected);
    assert_eq!(factory.open(&OpenContext::default()).err().unwrap().kind(), ErrorKind::InvalidInput);

    for options in [
        IrohOptions { relay_mode: Relays::Custom, ..local() },
        IrohOptions { relay_urls: vec!["https://relay.example.com".into()], ..local() },
    ] {
        assert_eq!(options.faults()[0].path, "relay_urls");
    }
    for text in [r#"{"relay_mode": "none"}"#, r#"{"realy_mode": "default"}"#] {
        let mut json = serde_json::Deserializer::from_str(text);
        let fault = (IROH.parse)(&mut <dyn erased_serde::Deserializer<'_>>::erase(&mut json)).unwrap_err();
        assert!(fault.to_string().contains("re"), "{fault}");
    }
}
