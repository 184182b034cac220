//! Small builders that the tests share.

#![allow(dead_code, clippy::unwrap_used, reason = "each test file uses its part; a test panics to fail")]

use std::time::Duration;

use eidetica_conformance::context::tokio_context;
use eidetica_kernel::transport::{Link, Listener, Transport};
use eidetica_kernel::{Address, Result};
use eidetica_transport_http::{HttpOptions, HttpTransport};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// The path that the tests ask for by hand.
pub(crate) const PATH: &str = "/eidetica/v1/link";

/// Fails a test that would hang.
pub(crate) async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(30), future).await.expect("within 30 s")
}

pub(crate) fn transport(options: HttpOptions) -> HttpTransport {
    HttpTransport::with_options(options).unwrap()
}

pub(crate) async fn listen(options: HttpOptions) -> (Box<dyn Listener>, Address) {
    let listener = transport(options).listen(&tokio_context(), "127.0.0.1:0").await.unwrap();
    let address = listener.addresses().remove(0);
    (listener, address)
}

pub(crate) async fn connect(address: &Address) -> Result<Link> {
    HttpTransport::new().connect(&tokio_context(), address).await
}

/// Both ends of a link: dialled and accepted.
pub(crate) async fn pair() -> (Link, Link) {
    let (mut listener, address) = listen(HttpOptions::default()).await;
    let (dialled, accepted) = soon(async { tokio::join!(connect(&address), listener.accept()) }).await;
    (dialled.unwrap(), accepted.unwrap().unwrap())
}

/// A connection that has asked for a link by hand, and the link that was accepted for it.
pub(crate) async fn by_hand() -> (TcpStream, Link) {
    let (mut listener, address) = listen(HttpOptions::default()).await;
    let mut stream = TcpStream::connect(&address.address).await.unwrap();
    stream.write_all(upgrade_request(PATH, "").as_bytes()).await.unwrap();
    let (link, head) = soon(async { tokio::join!(listener.accept(), read_head(&mut stream)) }).await;
    assert!(head.starts_with("HTTP/1.1 101"), "{head}");
    (stream, link.unwrap().unwrap())
}

/// The sample of RFC 6455, section 1.2.
pub(crate) fn upgrade_request(path: &str, more: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Sec-WebSocket-Protocol: eidetica.1\r\n{more}\r\n"
    )
}

/// What comes up to the empty line.
pub(crate) async fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

/// A frame as a client sends it, masked with zeros.
pub(crate) fn frame(opcode: u8, body: &[u8]) -> Vec<u8> {
    assert!(body.len() < 126);
    let mut frame = vec![0x80 | opcode, 0x80 | body.len() as u8, 0, 0, 0, 0];
    frame.extend_from_slice(body);
    frame
}

/// A server on a free port that does `serve` with each connection; it ends with the returned guard.
pub(crate) async fn server<F, S>(serve: S) -> (std::net::SocketAddr, Task)
where
    F: Future<Output = ()> + Send + 'static,
    S: Fn(TcpStream) -> F + Send + 'static,
{
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let task = tokio::spawn(async move {
        let mut connections = tokio::task::JoinSet::new();
        while let Ok((stream, _)) = socket.accept().await {
            connections.spawn(serve(stream));
        }
    });
    (address, Task(task))
}

pub(crate) struct Task(tokio::task::JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}
