//! The transports that ship with this crate.

/// Links over HTTP, upgraded to WebSockets.
#[cfg(feature = "http")]
pub mod http {
    pub use eidetica_transport_http::{HttpOptions, HttpTransport};
}

/// Links over QUIC between nodes known by a key, through NATs too.
///
/// What an [`IrohTransport`](iroh::IrohTransport) is made with (relays, mostly) is iroh's own.
#[cfg(feature = "iroh")]
pub mod iroh {
    pub use eidetica_transport_iroh::{
        IrohOptions, IrohTransport, IrohTransportBuilder, RelayConfig, RelayMap, RelayMode, RelayUrl, Relays,
    };
}

/// Links within this process, for tests without ports.
pub mod memory {
    pub use eidetica_transport_memory::{MemoryNetwork, MemoryTransport};
}
