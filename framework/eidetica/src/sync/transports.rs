//! The transports that ship with this crate.

/// Links over HTTP, upgraded to WebSockets.
#[cfg(feature = "http")]
pub mod http {
    pub use eidetica_transport_http::{HttpOptions, HttpTransport};
}

/// Links within this process, for tests without ports.
pub mod memory {
    pub use eidetica_transport_memory::{MemoryNetwork, MemoryTransport};
}
