//! The transport `iroh` of Eidetica: links over QUIC between nodes that are known by a key, through NATs too.
//!
//! Addresses look like `iroh:endpointac…`, where the rest is iroh's own ticket: the key of an endpoint, and the relay and
//! the sockets at which it is found. Where [`IrohOptions::address_lookup`] is on, the bare key is an address as well.
//!
//! Every transport binds one endpoint, when it first listens or connects, under a key that is made then. That key is
//! this process's alone: iroh forbids two live endpoints with one key, and nodes may share an identity. Who the node
//! is gets proven above, in the engine's handshake.
//!
//! ```
//! use eidetica_kernel::Transport;
//! use eidetica_transport_iroh::{IrohTransport, RelayMode};
//! # let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
//! # runtime.block_on(async {
//! # let context = eidetica_conformance::context::tokio_context();
//! let transport = || IrohTransport::builder().relay_mode(RelayMode::Disabled).build();
//! let (alice, bob) = (transport()?, transport()?);
//! let mut listener = alice.listen(&context, "ignored").await?;
//! let address = listener.addresses().remove(0);
//!
//! let (dialled, accepted) = tokio::join!(bob.connect(&context, &address), listener.accept());
//! let (mut dialled, mut accepted) = (dialled?, accepted?.expect("it listens"));
//! dialled.sender.send("hello".into()).await?;
//! assert_eq!(accepted.receiver.recv().await?, Some("hello".into()));
//! assert_eq!(dialled.binding, accepted.binding);
//! # Ok::<(), eidetica_kernel::Error>(())
//! # }).unwrap();
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! # On the wire
//!
//! The protocol name (ALPN) is `eidetica/1`. Whoever dials opens at most one QUIC connection to an endpoint, and on it one
//! bidirectional stream per link. It begins the stream with the byte 1, and the other side answers with the byte 1
//! once the link is about to be accepted; streams that are not taken are reset. Then each message goes as its length,
//! two bytes, little-endian, and its bytes. The end of the stream is the end of the link, and is answered by ending
//! the other direction too.

mod address;
mod carrier;
mod dial;
mod link;
mod listener;
mod node;
mod options;
mod reception;
mod transport;

pub use iroh::{RelayConfig, RelayMap, RelayMode, RelayUrl};
pub use options::{IrohOptions, Relays};
pub use transport::{IROH, IrohTransport, IrohTransportBuilder};
