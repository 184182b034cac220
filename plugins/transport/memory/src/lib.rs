//! The transport `memory` of Eidetica: nodes of one process reach each other without sockets.
//!
//! It exists for tests, one's own included: no ports, no waiting, and a [`MemoryNetwork`] whose links can be cut.
//! Addresses look like `memory:alice`; `alice` is whatever name a node listens at.
//!
//! ```
//! use eidetica_kernel::Transport;
//! use eidetica_transport_memory::{MemoryNetwork, MemoryTransport};
//! # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
//! # runtime.block_on(async {
//! # let context = eidetica_conformance::context::tokio_context();
//! let network = MemoryNetwork::new();
//! let mut alice = MemoryTransport::on(&network).listen(&context, "alice").await?;
//!
//! let bob = MemoryTransport::on(&network);
//! let mut dialled = bob.connect(&context, &bob.parse_address("alice")?).await?;
//! let mut accepted = alice.accept().await?.expect("bob has dialled");
//!
//! dialled.sender.send("hello".into()).await?;
//! assert_eq!(accepted.receiver.recv().await?, Some("hello".into()));
//! # Ok::<(), eidetica_kernel::Error>(())
//! # }).unwrap();
//! # Ok::<(), std::io::Error>(())
//! ```

mod network;
mod options;
mod transport;
mod wire;

pub use network::MemoryNetwork;
pub use options::MemoryOptions;
pub use transport::{MEMORY, MemoryTransport};
