//! Opening links: one connection to each endpoint, one stream for each link.

use std::sync::{Arc, Weak};

use eidetica_kernel::transport::Link;
use eidetica_kernel::{Address, Context, Error, ErrorKind, Result};
use iroh::EndpointAddr;
use iroh::endpoint::{
    ConnectError, ConnectOptions, ConnectWithOptsError, ConnectingError, Connection, ConnectionError,
    ReadError, ReadExactError,
};
use tokio::sync::Mutex;

use crate::carrier::{ALPN, Carrier, LINK, code};
use crate::link;
use crate::node::Node;

/// The connection that came of dialling one way to an endpoint. Whoever dials holds the lock, others wait for what comes of it.
pub(crate) type Slot = Arc<Mutex<Weak<Carrier>>>;

/// Opens a link to `target`, whose normal form is `address`.
pub(crate) async fn dial(
    node: &Node,
    context: &Context,
    address: &Address,
    target: &EndpointAddr,
) -> Result<Link> {
    loop {
        let (carrier, fresh) = carrier(node, address, target).await?;
        let opened = open(context, address, carrier.clone()).await;
        match opened {
            // It may have been broken for long without anybody having used it.
            Err(_) if !fresh && !carrier.is_open() => {}
            opened => return opened.map(|link| link.remote(address.clone())),
        }
    }
}

/// A connection to `target`'s endpoint, and whether it is a new one.
async fn carrier(node: &Node, address: &Address, target: &EndpointAddr) -> Result<(Arc<Carrier>, bool)> {
    if let Some(carrier) = dialled(node, target) {
        return Ok((carrier, false));
    }
    // Ways that lead nowhere hold up none that lead somewhere.
    let slot = slot(node, target);
    let mut current = slot.lock().await;
    if let Some(carrier) = current.upgrade().filter(|carrier| carrier.is_open()) {
        return Ok((carrier, false));
    }
    let connection = connect(node, target).await.map_err(|error| unconnected(address, &error))?;
    let carrier = Arc::new(Carrier::dialled(connection, node.lease.clone()));
    *current = Arc::downgrade(&carrier);
    Ok((carrier, true))
}

/// What came of an earlier dial of the same endpoint, whichever way it took.
fn dialled(node: &Node, target: &EndpointAddr) -> Option<Arc<Carrier>> {
    let dialled = node.dialled.lock();
    let same = dialled.iter().filter(|(way, _)| way.id == target.id);
    same.filter_map(|(_, slot)| slot.try_lock().ok()?.upgrade()).find(|carrier| carrier.is_open())
}

fn slot(node: &Node, target: &EndpointAddr) -> Slot {
    let mut dialled = node.dialled.lock();
    // What nobody waits for, and no link uses, is gone.
    dialled.retain(|_, slot| {
        Arc::strong_count(slot) > 1 || slot.try_lock().is_ok_and(|carrier| carrier.strong_count() > 0)
    });
    dialled.entry(target.clone()).or_default().clone()
}

async fn connect(node: &Node, target: &EndpointAddr) -> Result<Connection, ConnectError> {
    // The other side opens no streams on a connection that this side dialled.
    let options = ConnectOptions::new().with_transport_config(node.settings.quic(0));
    let connecting = node.endpoint.connect_with_opts(target.clone(), ALPN, options).await?;
    Ok(connecting.await?)
}

/// Opens a link on a connection and waits until the other side has taken it.
async fn open(context: &Context, address: &Address, carrier: Arc<Carrier>) -> Result<Link> {
    let unreachable =
        |reason: &dyn std::fmt::Display| Error::new(ErrorKind::Unreachable, "connecting to", address, reason);
    let (mut outgoing, mut incoming) =
        carrier.connection.open_bi().await.map_err(|error| unreachable(&error))?;
    outgoing.write_all(&[LINK]).await.map_err(|error| unreachable(&error))?;
    let mut answer = [0; 1];
    incoming.read_exact(&mut answer).await.map_err(|error| match error {
        ReadExactError::ReadError(ReadError::Reset(code::NOT_LISTENING)) => {
            unreachable(&"it accepts no links now")
        }
        ReadExactError::ReadError(ReadError::ConnectionLost(error)) => unreachable(&error),
        _ => unreachable(&"it did not take the link"),
    })?;
    if answer != [LINK] {
        return Err(Error::new(ErrorKind::Protocol, "connecting to", address, "it answered something else"));
    }
    link::open(context, carrier, address.address.clone(), outgoing, incoming)
}

fn unconnected(address: &Address, error: &ConnectError) -> Error {
    let failed = |kind, reason: &dyn std::fmt::Display| Error::new(kind, "connecting to", address, reason);
    let lost = match error {
        ConnectError::Connect { source: ConnectWithOptsError::SelfConnect { .. }, .. } => {
            return failed(ErrorKind::InvalidInput, &"it is this transport's own address");
        }
        ConnectError::Connect { source: ConnectWithOptsError::NoAddress { .. }, .. } => {
            return failed(ErrorKind::Unreachable, &"nobody knows where that endpoint is");
        }
        ConnectError::Connecting { source: ConnectingError::ConnectionError { source, .. }, .. }
        | ConnectError::Connection { source, .. } => Some(source),
        _ => None,
    };
    match lost {
        Some(ConnectionError::TimedOut) => failed(ErrorKind::Timeout, &"it did not answer"),
        Some(ConnectionError::ConnectionClosed(close)) if close.error_code == refused() => {
            failed(ErrorKind::Unreachable, &"it accepts no links now")
        }
        Some(lost) => failed(ErrorKind::Unreachable, lost),
        None => failed(ErrorKind::Unreachable, &format_args!("{error:#}")),
    }
}

/// What QUIC says to a connection that isn't wanted.
fn refused() -> iroh::endpoint::TransportErrorCode {
    iroh::endpoint::TransportErrorCode::CONNECTION_REFUSED
}
