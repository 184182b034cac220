//! Opening links.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use data_encoding::BASE64;
use eidetica_kernel::{Address, Context, Error, ErrorKind, Result};
use futures_util::StreamExt;
use futures_util::future::{Either, select};
use futures_util::stream::FuturesUnordered;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpStream, lookup_host};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;

use crate::address::Target;
use crate::io::Io;
use crate::upgrade::{self, HEAD_BYTES_MAX, HEADERS_MAX};

/// How long one of a host's addresses is tried alone before the next is tried as well (RFC 8305).
const STAGGER: Duration = Duration::from_millis(250);

/// A connection that has become a WebSocket, and what was read of it already.
pub(crate) async fn dial(
    context: &Context,
    address: &Address,
    target: &Target,
    path: &str,
    tls: Option<Arc<ClientConfig>>,
) -> Result<(Io, Bytes)> {
    let stream = connect(context, target).await.map_err(|error| unreachable(address, error))?;
    // Only latency is lost if the system refuses.
    stream.set_nodelay(true).ok();
    let io = match tls {
        None => Io::Plain(stream),
        Some(config) => {
            let name =
                ServerName::try_from(target.host.clone()).map_err(|error| unreachable(address, error))?;
            let stream = TlsConnector::from(config).connect(name, stream).await.map_err(|error| {
                unreachable(address, error)
                    .hint("if its certificate comes from a CA of your own, set option ca_file")
            })?;
            Io::Tls(Box::new(stream))
        }
    };
    ask(context, address, target, path, io).await
}

/// The first connection that stands, of all addresses the host's name stands for.
async fn connect(context: &Context, target: &Target) -> io::Result<TcpStream> {
    let mut addresses = lookup_host((target.host.as_str(), target.port)).await?;
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "the host's name stands for no address");
    let mut attempts = FuturesUnordered::new();
    loop {
        let next: Option<SocketAddr> = addresses.next();
        if let Some(address) = next {
            attempts.push(TcpStream::connect(address));
        } else if attempts.is_empty() {
            return Err(failure);
        }
        let stagger = if next.is_some() {
            Either::Left(context.clock.sleep(STAGGER))
        } else {
            Either::Right(std::future::pending())
        };
        match select(attempts.next(), pin!(stagger)).await {
            Either::Left((Some(Ok(stream)), _)) => return Ok(stream),
            Either::Left((Some(Err(error)), _)) => failure = error,
            Either::Left((None, _)) | Either::Right(_) => {}
        }
    }
}

/// Asks for a link and takes the connection back once it is granted.
async fn ask(
    context: &Context,
    address: &Address,
    target: &Target,
    path: &str,
    io: Io,
) -> Result<(Io, Bytes)> {
    let key = BASE64.encode(&context.rng.array::<16>());
    let path = format!("{}{path}", target.prefix);
    let request = upgrade::request(&path, &target.authority(), &key)
        .map_err(|error| Error::new(ErrorKind::InvalidInput, "connecting to", address, error))?;
    let (mut sender, mut connection) = hyper::client::conn::http1::Builder::new()
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .handshake::<_, String>(TokioIo::new(io))
        .await
        .map_err(|error| unreachable(address, error))?;
    let answer = {
        let driving = poll_fn(|task| match connection.poll_without_shutdown(task) {
            // The answer comes by the other future.
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Pending,
            Poll::Ready(Err(error)) => Poll::Ready(error),
        });
        match select(pin!(sender.send_request(request)), pin!(driving)).await {
            Either::Left((answer, _)) => answer.map_err(|error| unreachable(address, error))?,
            Either::Right((error, _)) => return Err(unreachable(address, error)),
        }
    };
    if let Some(fault) = upgrade::fault(&answer, &key) {
        return Err(unreachable(address, fault).hint("is that the address of an Eidetica node?"));
    }
    drop(answer);
    poll_fn(|task| connection.poll_without_shutdown(task))
        .await
        .map_err(|error| unreachable(address, error))?;
    let parts = connection.into_parts();
    Ok((parts.io.into_inner(), parts.read_buf))
}

fn unreachable(address: &Address, reason: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Unreachable, "connecting to", address, reason)
}
