//! The transport `http` of Eidetica: links over WebSockets, through proxies too.
//!
//! Addresses look like `http:192.168.1.100:8080`, `http:http://example.com:8080/prefix` or `http:https://example.com`.
//!
//! ```
//! use eidetica_kernel::Transport;
//! use eidetica_transport_http::HttpTransport;
//! # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
//! # runtime.block_on(async {
//! # let context = eidetica_conformance::context::tokio_context();
//! let transport = HttpTransport::new();
//! let mut listener = transport.listen(&context, "127.0.0.1:0").await?;
//! let address = listener.addresses().remove(0);
//!
//! let (dialled, accepted) = tokio::join!(transport.connect(&context, &address), listener.accept());
//! let (mut dialled, mut accepted) = (dialled?, accepted?.expect("it listens"));
//! dialled.sender.send("hello".into()).await?;
//! assert_eq!(accepted.receiver.recv().await?, Some("hello".into()));
//! # Ok::<(), eidetica_kernel::Error>(())
//! # }).unwrap();
//! # Ok::<(), std::io::Error>(())
//! ```

mod address;
mod dial;
mod io;
mod link;
mod listener;
mod options;
mod tls;
mod transport;
mod upgrade;

pub use address::address;
pub use options::HttpOptions;
pub use transport::{HTTP, HttpTransport};
