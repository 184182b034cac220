//! What listening promises: ports, strangers, and plain HTTP.

#![allow(clippy::unwrap_used, reason = "a test panics to fail")]

mod support;

use eidetica_conformance::context::tokio_context;
use eidetica_kernel::registry::OpenContext;
use eidetica_kernel::transport::{Link, Listener, Transport};
use eidetica_kernel::{Address, ErrorKind};
use eidetica_transport_http::{HTTP, HttpOptions, HttpTransport};
use support::{PATH, connect, listen, pair, soon, transport, upgrade_request};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

#[tokio::test]
async fn a_port_binds_again_at_once_while_its_links_stay_open() {
    let (mut listener, address) = listen(HttpOptions::default()).await;
    let mut links: Vec<(Link, Link)> = Vec::new();
    for round in 0..10 {
        let (dialled, accepted) = soon(async { tokio::join!(connect(&address), listener.accept()) }).await;
        links.push((dialled.unwrap(), accepted.unwrap().unwrap()));
        if round % 2 == 0 {
            listener.close().await.unwrap();
            assert!(listener.accept().await.unwrap().is_none());
        } else {
            drop(listener);
        }
        listener = HttpTransport::new().listen(&tokio_context(), &address.address).await.unwrap();
    }
    for (dialled, accepted) in &mut links {
        dialled.sender.send("still here".into()).await.unwrap();
        assert_eq!(soon(accepted.receiver.recv()).await.unwrap(), Some("still here".into()));
    }
}

#[tokio::test]
async fn nobody_there_is_unreachable_and_names_the_address() {
    let (listener, address) = listen(HttpOptions::default()).await;
    drop(listener);
    let error = soon(connect(&address)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable);
    assert!(error.to_string().contains(&address.to_string()), "{error}");
}

#[tokio::test]
async fn somebody_who_never_answers_is_a_timeout() {
    let (address, _server) = support::server(|stream| async move {
        let _held = stream;
        std::future::pending().await
    })
    .await;
    let hasty = transport(HttpOptions { connect_timeout_ms: 50, ..HttpOptions::default() });
    let address = Address::new("http", address.to_string());
    let error = soon(hasty.connect(&tokio_context(), &address)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
}

#[tokio::test]
async fn silent_strangers_delay_nobody() {
    let (mut listener, address) = listen(HttpOptions::default()).await;
    let mut strangers = Vec::new();
    for number in 0..300 {
        let mut stranger = TcpStream::connect(&address.address).await.unwrap();
        if number % 3 == 0 {
            stranger.write_all(b"GET /eidetica/v1/link HTTP/1.1\r\nHo").await.unwrap();
        } else if number % 3 == 1 {
            stranger.write_all(&[0xff; 100]).await.unwrap();
        }
        strangers.push(stranger);
    }
    let (dialled, accepted) = soon(async { tokio::join!(connect(&address), listener.accept()) }).await;
    assert!(dialled.is_ok() && accepted.unwrap().is_some());
}

#[tokio::test]
async fn one_handshake_too_many_ends_the_oldest() {
    let (mut listener, address) = listen(HttpOptions { handshakes_max: 4, ..HttpOptions::default() }).await;
    let mut strangers = Vec::new();
    for _ in 0..50 {
        strangers.push(TcpStream::connect(&address.address).await.unwrap());
    }
    let (dialled, accepted) = soon(async { tokio::join!(connect(&address), listener.accept()) }).await;
    assert!(dialled.is_ok() && accepted.unwrap().is_some());
    let mut nothing = [0; 1];
    assert_eq!(soon(strangers[0].read(&mut nothing)).await.unwrap(), 0, "the oldest was hung up on");
    drop(listener);
    for stranger in &mut strangers {
        // The end, or a reset for those that were never taken in.
        assert_eq!(soon(stranger.read(&mut nothing)).await.unwrap_or(0), 0);
    }
}

#[tokio::test]
async fn a_silent_stranger_is_hung_up_on_in_time() {
    let (mut listener, address) =
        listen(HttpOptions { handshake_timeout_ms: 50, ..HttpOptions::default() }).await;
    let mut stranger = TcpStream::connect(&address.address).await.unwrap();
    tokio::select! {
        link = listener.accept() => panic!("a link of nobody: {link:?}"),
        read = soon(stranger.read_u8()) => assert!(read.is_err()),
    }
}

/// The status and the body that a plain request gets.
async fn ask(listener: &mut dyn Listener, address: &Address, request: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(&address.address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    tokio::select! {
        link = listener.accept() => panic!("no link was due: {link:?}"),
        read = soon(stream.read_to_string(&mut answer)) => { read.unwrap(); }
    }
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head[9..12].parse().unwrap(), body.to_owned())
}

#[tokio::test]
async fn plain_requests_are_answered() {
    let (mut listener, address) = listen(HttpOptions::default()).await;
    let listener = &mut *listener;
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(ask(listener, &address, &get("/")).await, (200, "eidetica\n".to_owned()));
    assert_eq!(ask(listener, &address, &get("/healthz")).await.0, 200);
    assert_eq!(ask(listener, &address, &get("/else")).await.0, 404);
    assert_eq!(ask(listener, &address, &get(PATH)).await.0, 426);
    assert_eq!(ask(listener, &address, "POST / HTTP/1.1\r\nHost: x\r\n\r\n").await.0, 405);

    let upgrade = upgrade_request(PATH, "");
    assert_eq!(ask(listener, &address, &upgrade.replace("eidetica.1", "eidetica.99")).await.0, 400);
    assert_eq!(ask(listener, &address, &upgrade.replace("dGhl", "")).await.0, 400);
    assert_eq!(ask(listener, &address, &upgrade.replace("Version: 13", "Version: 8")).await.0, 426);
    assert_eq!(ask(listener, &address, &upgrade.replace("GET", "PUT")).await.0, 400);
    let endless = upgrade_request(PATH, &format!("X: {}\r\n", "x".repeat(20_000)));
    assert_eq!(ask(listener, &address, &endless).await.0, 431);
}

#[tokio::test]
async fn a_web_page_opens_links_only_where_its_origin_is_allowed() {
    let page = upgrade_request(PATH, "Origin: https://app.example\r\n");
    let (mut listener, address) = listen(HttpOptions::default()).await;
    assert_eq!(ask(&mut *listener, &address, &page).await.0, 403);

    let origins = vec!["https://app.example".to_owned()];
    let (mut listener, address) = listen(HttpOptions { origins, ..HttpOptions::default() }).await;
    let mut stream = TcpStream::connect(&address.address).await.unwrap();
    stream.write_all(page.as_bytes()).await.unwrap();
    assert!(soon(listener.accept()).await.unwrap().is_some());
}

#[tokio::test]
async fn another_http_server_is_no_node() {
    for (answer, reason) in [
        ("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n", "404"),
        (
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
            "no WebSocket's",
        ),
        ("SSH-2.0-OpenSSH_9.6\r\n", "connecting to"),
        ("", "connecting to"),
    ] {
        let (address, _server) = support::server(move |mut stream| async move {
            support::read_head(&mut stream).await;
            stream.write_all(answer.as_bytes()).await.unwrap();
        })
        .await;
        let error = soon(connect(&Address::new("http", address.to_string()))).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unreachable, "{error}");
        assert!(error.to_string().contains(reason), "{error}");
    }
}

#[tokio::test]
async fn every_interface_is_reported_as_addresses_that_can_be_dialled() {
    let advertise = vec!["https://notes.example.com".to_owned()];
    let node = transport(HttpOptions { advertise, ..HttpOptions::default() });
    let mut listener = node.listen(&tokio_context(), "0.0.0.0:0").await.unwrap();
    let addresses = listener.addresses();
    assert_eq!(addresses[0], Address::new("http", "https://notes.example.com"));
    assert!(addresses.last().unwrap().address.starts_with("127.0.0.1:"));
    for address in &addresses[1..] {
        assert!(!address.address.starts_with("0.0.0.0"));
        let (dialled, accepted) = soon(async { tokio::join!(connect(address), listener.accept()) }).await;
        assert!(dialled.is_ok() && accepted.unwrap().is_some(), "{address}");
    }
}

#[tokio::test]
async fn a_name_is_dialled_and_listened_at() {
    let mut listener = HttpTransport::new().listen(&tokio_context(), "localhost:0").await.unwrap();
    let port = listener.addresses()[0].address.rsplit(':').next().unwrap().to_owned();
    let address = Address::new("http", format!("localhost:{port}"));
    let (dialled, accepted) = soon(async { tokio::join!(connect(&address), listener.accept()) }).await;
    assert!(dialled.is_ok() && accepted.unwrap().is_some());
}

#[tokio::test]
async fn links_outlive_the_transport_and_the_listener() {
    let (mut dialled, mut accepted) = pair().await;
    dialled.sender.send("hello".into()).await.unwrap();
    assert_eq!(soon(accepted.receiver.recv()).await.unwrap(), Some("hello".into()));
}

#[test]
fn every_bad_option_is_named() {
    let text = r#"{"listen": "x", "advertise": ["a:1", "b"], "path": "link/", "handshakes_max": 0,
                   "connect_timeout_ms": 0, "read_buffer_bytes": 1}"#;
    let mut json = serde_json::Deserializer::from_str(text);
    let factory = (HTTP.parse)(&mut <dyn erased_serde::Deserializer<'_>>::erase(&mut json)).unwrap();
    let paths: Vec<String> = factory.validate().into_iter().map(|fault| fault.path).collect();
    let expected =
        ["listen", "advertise[1]", "path", "connect_timeout_ms", "handshakes_max", "read_buffer_bytes"];
    assert_eq!(paths, expected);
    assert_eq!(factory.open(&OpenContext::default()).err().unwrap().kind(), ErrorKind::InvalidInput);

    let mut json = serde_json::Deserializer::from_str(r#"{"listne": "x"}"#);
    let fault = (HTTP.parse)(&mut <dyn erased_serde::Deserializer<'_>>::erase(&mut json)).unwrap_err();
    assert!(fault.message.contains("listne"), "{fault}");
}
