//! A QUIC connection for as long as links run over it.

use std::sync::Arc;

use eidetica_kernel::{Error, ErrorKind, PublicKey, Result};
use iroh::endpoint::{Connection, StreamId, VarInt};
use iroh::{EndpointAddr, TransportAddr};
use tokio::sync::Notify;

use crate::node::Lease;

/// The protocol name in the TLS handshake.
pub(crate) const ALPN: &[u8] = b"eidetica/1";

/// The first byte of a stream that is a link, and the answer to it.
pub(crate) const LINK: u8 = 1;

/// Codes with which streams are reset and stopped, and connections closed.
pub(crate) mod code {
    use iroh::endpoint::VarInt;

    /// All is well.
    pub(crate) const DONE: VarInt = VarInt::from_u32(0);
    /// Nobody listens here.
    pub(crate) const NOT_LISTENING: VarInt = VarInt::from_u32(1);
    /// The stream begins with a byte that isn't known.
    pub(crate) const UNKNOWN: VarInt = VarInt::from_u32(2);
    /// What should have come didn't come in time, or room is needed for others.
    pub(crate) const LATE: VarInt = VarInt::from_u32(3);
    /// The link was given up before everything had gone over it.
    pub(crate) const BROKEN: VarInt = VarInt::from_u32(4);
}

/// Labels the keying material that is exported for links (RFC 5705).
const BINDING_LABEL: &[u8] = b"EXPORTER-eidetica-1";

/// A connection with links. Each of them holds it.
pub(crate) struct Carrier {
    pub(crate) connection: Connection,
    end: End,
    /// The endpoint lasts while this does.
    _lease: Lease,
}

/// What follows on the last link.
enum End {
    /// This side dialled: nobody needs the connection any more.
    Close,
    /// This side accepted: it waits a while for further links.
    Tell(Arc<Notify>),
}

impl Carrier {
    /// Of a connection that this side dialled: closed with its last link.
    pub(crate) fn dialled(connection: Connection, lease: Lease) -> Self {
        Self { connection, end: End::Close, _lease: lease }
    }

    /// Of a connection that this side accepted: `idle` is told when its last link has ended.
    pub(crate) fn accepted(connection: Connection, lease: Lease, idle: Arc<Notify>) -> Self {
        Self { connection, end: End::Tell(idle), _lease: lease }
    }

    pub(crate) fn is_open(&self) -> bool {
        self.connection.close_reason().is_none()
    }

    /// The key of the endpoint at the other end, which TLS has proven.
    pub(crate) fn remote_key(&self) -> PublicKey {
        PublicKey::from_bytes(*self.connection.remote_id().as_bytes())
    }

    /// Where the other end is right now.
    pub(crate) fn remote(&self) -> EndpointAddr {
        let paths = self.connection.paths();
        let ways: Vec<TransportAddr> = paths.iter().map(|path| path.remote_addr().clone()).collect();
        EndpointAddr::from_parts(self.connection.remote_id(), ways)
    }

    /// 32 bytes that both ends compute for this one stream.
    pub(crate) fn binding(&self, stream: StreamId) -> Result<[u8; 32]> {
        let number = u64::from(VarInt::from(stream)).to_le_bytes();
        let mut binding = [0; 32];
        let exported = self.connection.export_keying_material(&mut binding, BINDING_LABEL, &number);
        exported.map_err(|_| {
            let reason = "the connection gives no keying material";
            Error::new(ErrorKind::Bug, "binding the link to", self.connection.remote_id(), reason)
        })?;
        Ok(binding)
    }
}

impl Drop for Carrier {
    fn drop(&mut self) {
        match &self.end {
            End::Close => self.connection.close(code::DONE, b""),
            End::Tell(idle) => idle.notify_one(),
        }
    }
}
