//! Small builders that the tests share.

#![allow(dead_code, clippy::unwrap_used, reason = "each test file uses its part; a test panics to fail")]

use std::time::Duration;

use eidetica_conformance::context::tokio_context;
use eidetica_kernel::transport::{Link, Listener, Transport};
use eidetica_kernel::{Address, Result};
use eidetica_transport_iroh::{IrohOptions, IrohTransport, Relays};
use iroh::endpoint::{Connection, RecvStream, SendStream, presets};
use iroh::{Endpoint, EndpointAddr};
use iroh_tickets::endpoint::EndpointTicket;

/// The protocol that raw endpoints speak here.
pub(crate) const ALPN: &[u8] = b"eidetica/1";

/// Fails a test that would hang.
pub(crate) async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(60), future).await.expect("within 60 s")
}

/// Options that touch nothing but this machine's loopback.
pub(crate) fn local() -> IrohOptions {
    let bind = vec!["127.0.0.1:0".to_owned()];
    IrohOptions { relay_mode: Relays::Disabled, bind, ..IrohOptions::default() }
}

pub(crate) fn transport(options: IrohOptions) -> IrohTransport {
    IrohTransport::with_options(options).unwrap()
}

pub(crate) async fn listen(options: IrohOptions) -> (Box<dyn Listener>, Address) {
    let listener = transport(options).listen(&tokio_context(), "ignored").await.unwrap();
    let address = listener.addresses().remove(0);
    (listener, address)
}

pub(crate) async fn connect(address: &Address) -> Result<Link> {
    transport(local()).connect(&tokio_context(), address).await
}

/// A dialler, a listener and its address.
pub(crate) async fn nodes() -> (IrohTransport, Box<dyn Listener>, Address) {
    let (listener, address) = listen(local()).await;
    (transport(local()), listener, address)
}

/// One more link: dialled and accepted.
pub(crate) async fn link(
    dialler: &IrohTransport,
    listener: &mut Box<dyn Listener>,
    address: &Address,
) -> (Link, Link) {
    let context = tokio_context();
    let (dialled, accepted) =
        soon(async { tokio::join!(dialler.connect(&context, address), listener.accept()) }).await;
    (dialled.unwrap(), accepted.unwrap().unwrap())
}

/// Both ends of a link: dialled and accepted.
pub(crate) async fn pair() -> (Link, Link) {
    let (dialler, mut listener, address) = nodes().await;
    link(&dialler, &mut listener, &address).await
}

/// An endpoint that knows nothing of links.
pub(crate) async fn raw() -> Endpoint {
    let builder = Endpoint::builder(presets::Minimal).clear_ip_transports().bind_addr("127.0.0.1:0").unwrap();
    builder.alpns(vec![ALPN.to_vec()]).bind().await.unwrap()
}

/// Where a listener is, for raw endpoints.
pub(crate) fn target(address: &Address) -> EndpointAddr {
    address.address.parse::<EndpointTicket>().unwrap().into()
}

/// The address of a raw endpoint.
pub(crate) fn address_of(endpoint: &Endpoint) -> Address {
    Address::new("iroh", EndpointTicket::new(endpoint.addr()).to_string())
}

/// A raw endpoint that has asked for a link by hand, and the link that was accepted for it.
pub(crate) struct ByHand {
    pub(crate) link: Link,
    pub(crate) outgoing: SendStream,
    pub(crate) incoming: RecvStream,
    pub(crate) connection: Connection,
    pub(crate) _held: (Endpoint, Box<dyn Listener>),
}

pub(crate) async fn by_hand() -> ByHand {
    let (mut listener, address) = listen(local()).await;
    let endpoint = raw().await;
    let connection = soon(endpoint.connect(target(&address), ALPN)).await.unwrap();
    let (mut outgoing, mut incoming) = connection.open_bi().await.unwrap();
    outgoing.write_all(&[1]).await.unwrap();
    let mut answer = [0; 1];
    let link = soon(listener.accept()).await.unwrap().unwrap();
    soon(incoming.read_exact(&mut answer)).await.unwrap();
    assert_eq!(answer, [1]);
    ByHand { link, outgoing, incoming, connection, _held: (endpoint, listener) }
}
