//! What open links promise beyond the conformance suite: shared connections, and what a hostile remote can't do.

#![allow(clippy::unwrap_used, reason = "a test panics to fail")]

mod support;

use std::collections::BTreeSet;
use std::time::Duration;

use eidetica_conformance::context::{counting_context, tokio_context};
use eidetica_kernel::ErrorKind;
use eidetica_kernel::transport::{Link, MESSAGE_BYTES_MAX, Transport};
use support::{ByHand, address_of, by_hand, link, local, nodes, pair, raw, soon, target, transport};

#[tokio::test]
async fn many_links_run_over_one_connection_and_each_has_its_own_binding() {
    let (dialler, mut listener, address) = nodes().await;
    let mut links = Vec::new();
    for _ in 0..20 {
        links.push(link(&dialler, &mut listener, &address).await);
    }
    // The dialler's endpoint has one key; so all have come from one endpoint, and by one way.
    let keys: BTreeSet<_> = links.iter().map(|(_, accepted)| accepted.remote_key.unwrap()).collect();
    assert_eq!(keys.len(), 1);
    let bindings: BTreeSet<_> = links.iter().map(|(dialled, _)| dialled.binding.unwrap()).collect();
    assert_eq!(bindings.len(), links.len(), "no two links share a binding");
    for (number, (dialled, accepted)) in links.iter_mut().enumerate() {
        assert_eq!(dialled.binding, accepted.binding);
        assert_eq!(dialled.remote.as_ref(), Some(&address));
        assert_eq!(accepted.keepalive, Some(Link::KEEPALIVE));
        dialled.sender.send(vec![number as u8].into()).await.unwrap();
    }
    for (number, (_, accepted)) in links.iter_mut().enumerate() {
        assert_eq!(soon(accepted.receiver.recv()).await.unwrap().unwrap(), vec![number as u8]);
    }
    // A link that nobody reads holds up no other.
    let (stalled, mut rest) = {
        let rest = links.split_off(1);
        (links, rest)
    };
    let (mut stalled, _unread) = stalled.into_iter().next().unwrap();
    while tokio::time::timeout(Duration::from_millis(50), stalled.sender.send(vec![1; 60_000].into()))
        .await
        .is_ok()
    {}
    let (dialled, accepted) = &mut rest[0];
    dialled.sender.send("on its own".into()).await.unwrap();
    assert_eq!(soon(accepted.receiver.recv()).await.unwrap(), Some("on its own".into()));
}

#[tokio::test]
async fn a_link_that_nobody_reads_holds_a_few_megabytes_at_most() {
    let (mut here, _there) = pair().await;
    let mut sent = 0;
    while tokio::time::timeout(Duration::from_millis(50), here.sender.send(vec![1; 60_000].into()))
        .await
        .is_ok()
    {
        sent += 1;
        assert!(sent < 100, "6 MB are under way and send still doesn't wait");
    }
}

#[tokio::test]
async fn links_to_one_endpoint_share_a_connection_and_end_it_with_the_last() {
    let server = raw().await;
    let address = address_of(&server);
    let serving = tokio::spawn(async move {
        let connection = server.accept().await.unwrap().await.unwrap();
        let mut streams = Vec::new();
        for _ in 0..12 {
            let (mut outgoing, mut incoming) = connection.accept_bi().await.unwrap();
            let mut kind = [0; 1];
            incoming.read_exact(&mut kind).await.unwrap();
            assert_eq!(kind, [1]);
            outgoing.write_all(&[1]).await.unwrap();
            streams.push((outgoing, incoming));
        }
        tokio::select! {
            _ = server.accept() => panic!("a second connection"),
            closed = connection.closed() => closed,
        }
    });
    let dialler = transport(local());
    let context = tokio_context();
    // All at once: the first one dials, the others wait for its connection.
    let mut links = Vec::new();
    let dialling: Vec<_> = (0..12).map(|_| dialler.connect(&context, &address)).collect();
    for link in soon(futures_util::future::join_all(dialling)).await {
        links.push(link.unwrap());
    }
    drop(links);
    let closed = soon(serving).await.unwrap();
    assert!(matches!(closed, iroh::endpoint::ConnectionError::ApplicationClosed(_)), "{closed}");
}

#[tokio::test]
async fn a_message_cut_by_the_end_of_the_stream_is_a_breach() {
    let ByHand { mut link, mut outgoing, mut incoming, _held, .. } = by_hand().await;
    outgoing.write_all(&[5, 0, b'w', b'h', b'o', b'l', b'e', 4, 0, b't', b'o']).await.unwrap();
    outgoing.finish().unwrap();
    assert_eq!(soon(link.receiver.recv()).await.unwrap(), Some("whole".into()));
    assert_eq!(soon(link.receiver.recv()).await.unwrap_err().kind(), ErrorKind::Protocol);
    assert_eq!(soon(link.receiver.recv()).await.unwrap_err().kind(), ErrorKind::Protocol);
    assert!(soon(link.sender.send("x".into())).await.is_err());
    assert!(soon(incoming.read_to_end(100)).await.is_err(), "the other direction is reset");
}

#[tokio::test]
async fn a_length_without_its_message_costs_nothing_and_can_be_dropped() {
    let ByHand { mut link, mut outgoing, _held, .. } = by_hand().await;
    outgoing.write_all(&[0xff, 0xff]).await.unwrap();
    outgoing.write_all(&[7; 100]).await.unwrap();
    let waiting = tokio::time::timeout(Duration::from_millis(50), link.receiver.recv()).await;
    assert!(waiting.is_err());
    outgoing.write_all(&vec![7; MESSAGE_BYTES_MAX - 100]).await.unwrap();
    let message = soon(link.receiver.recv()).await.unwrap().unwrap();
    assert!(message.len() == MESSAGE_BYTES_MAX && message.iter().all(|byte| *byte == 7));
}

#[tokio::test]
async fn a_message_that_comes_byte_by_byte_is_whole() {
    let ByHand { mut link, mut outgoing, connection: _connection, _held, .. } = by_hand().await;
    let sending = tokio::spawn(async move {
        for byte in [3, 0, b'a', b'b', b'c', 0, 0, 1, 0, b'd'] {
            outgoing.write_all(&[byte]).await.unwrap();
            tokio::task::yield_now().await;
        }
        outgoing
    });
    for expected in ["abc", "", "d"] {
        assert_eq!(soon(link.receiver.recv()).await.unwrap(), Some(expected.into()));
    }
    drop(sending.await.unwrap());
    assert_eq!(soon(link.receiver.recv()).await.unwrap(), None);
}

#[tokio::test]
async fn a_reset_stream_and_a_closed_connection_are_unreachable() {
    let ByHand { mut link, mut outgoing, _held, .. } = by_hand().await;
    outgoing.reset(99_u32.into()).unwrap();
    assert_eq!(soon(link.receiver.recv()).await.unwrap_err().kind(), ErrorKind::Unreachable);
    assert_eq!(soon(link.receiver.recv()).await.unwrap_err().kind(), ErrorKind::Unreachable);

    let ByHand { mut link, connection, _held, .. } = by_hand().await;
    connection.close(99_u32.into(), b"that is enough");
    assert_eq!(soon(link.receiver.recv()).await.unwrap_err().kind(), ErrorKind::Unreachable);
    assert_eq!(soon(link.sender.send("x".into())).await.unwrap_err().kind(), ErrorKind::Unreachable);
    assert_eq!(soon(link.sender.close()).await.unwrap_err().kind(), ErrorKind::Unreachable);
}

#[tokio::test]
async fn the_channel_binding_is_what_tls_exports_for_the_stream() {
    let ByHand { link, outgoing, connection, _held: (endpoint, _), .. } = by_hand().await;
    let number = u64::from(iroh::endpoint::VarInt::from(outgoing.id())).to_le_bytes();
    let mut expected = [0; 32];
    connection.export_keying_material(&mut expected, b"EXPORTER-eidetica-1", &number).unwrap();
    assert_eq!(link.binding, Some(expected));
    assert_eq!(link.remote_key.unwrap().as_bytes(), endpoint.id().as_bytes());
    let remote = link.remote.unwrap();
    assert_eq!(target(&remote), endpoint.addr(), "a dialler is found where it dials from");
}

#[tokio::test]
async fn every_task_ends_and_every_socket_closes_once_nobody_is_left() {
    let (context, mut running) = counting_context();
    let (dialler, server) = (transport(local()), transport(local()));
    let mut listener = server.listen(&context, "").await.unwrap();
    let address = listener.addresses().remove(0);
    for round in 0..6 {
        let (dialled, accepted) =
            soon(async { tokio::join!(dialler.connect(&context, &address), listener.accept()) }).await;
        let (mut dialled, accepted) = (dialled.unwrap(), accepted.unwrap().unwrap());
        // Filled, so that a rest is left to bring out.
        while tokio::time::timeout(Duration::from_millis(10), dialled.sender.send(vec![1; 60_000].into()))
            .await
            .is_ok()
        {}
        if round % 2 == 0 {
            drop(accepted);
        } else {
            drop(dialled);
        }
    }
    drop(listener);
    soon(running.wait_for(|running| *running == 2)).await.unwrap();
    drop((dialler, server));
    soon(running.wait_for(|running| *running == 0)).await.unwrap();
    let socket = *target(&address).ip_addrs().next().unwrap();
    soon(async {
        // Iroh's own tasks let go of the socket a moment later.
        while std::net::UdpSocket::bind(socket).is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[test]
fn a_link_may_outlive_its_runtime_and_a_transport_goes_on_in_the_next() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let first = runtime();
    let (dialler, server) = (transport(local()), transport(local()));
    let (mut dialled, accepted) = first.block_on(async {
        let mut listener = server.listen(&tokio_context(), "").await.unwrap();
        let address = listener.addresses().remove(0);
        link(&dialler, &mut listener, &address).await
    });
    drop(accepted);
    drop(first);
    runtime().block_on(async {
        // Its endpoint is dead: an end or an error, but no hang and no panic.
        assert!(!matches!(soon(dialled.receiver.recv()).await, Ok(Some(_))));
        soon(dialled.sender.send("x".into())).await.ok();
        drop(dialled);

        let mut listener = server.listen(&tokio_context(), "").await.unwrap();
        let address = listener.addresses().remove(0);
        let (mut dialled, mut accepted) = link(&dialler, &mut listener, &address).await;
        dialled.sender.send("again".into()).await.unwrap();
        assert_eq!(soon(accepted.receiver.recv()).await.unwrap(), Some("again".into()));
    });
}
