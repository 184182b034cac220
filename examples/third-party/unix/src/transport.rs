//! Dialling, and what an address is.

use std::io;
use std::path::Path;

use async_trait::async_trait;
use eidetica_kernel::error::excerpt;
use eidetica_kernel::transport::{Address, Link, Listener, Transport, TransportCapabilities};
use eidetica_kernel::{Context, Error, ErrorKind, Result};
use tokio::net::UnixStream;

use crate::link;
use crate::listener::UnixSocket;
use crate::options::UnixOptions;

pub(crate) const SCHEME: &str = "unix";

/// What the system's `sockaddr_un` has room for, its final zero left out.
const PATH_BYTES_MAX: usize = 107;

/// Links over Unix sockets.
#[derive(Clone, Debug, Default)]
pub struct UnixTransport {
    options: UnixOptions,
}

impl UnixTransport {
    /// With default options.
    pub fn new() -> Self {
        Self::default()
    }

    /// Tuned.
    pub fn with_options(options: UnixOptions) -> Self {
        Self { options }
    }
}

/// Why it is no path of a socket, if it isn't.
pub(crate) fn check_path(path: &Path) -> std::result::Result<(), &'static str> {
    let bytes = path.as_os_str().as_encoded_bytes();
    if !path.is_absolute() {
        Err("it isn't an absolute path")
    } else if bytes.len() > PATH_BYTES_MAX {
        Err("it is longer than 107 bytes")
    } else if bytes.ends_with(b"/") {
        Err("it names a folder")
    } else if bytes.iter().any(|byte| byte.is_ascii_control() || byte.is_ascii_whitespace()) {
        Err("there are blanks or control characters in it")
    } else {
        Ok(())
    }
}

fn read(text: &str) -> Result<&Path> {
    let path = Path::new(text);
    check_path(path).map(|()| path).map_err(|reason| {
        Error::new(ErrorKind::InvalidInput, "reading the unix address", excerpt(text, 80), reason)
            .hint("such addresses look like \"unix:/run/eidetica/alice.sock\"")
    })
}

#[async_trait]
impl Transport for UnixTransport {
    fn scheme(&self) -> &'static str {
        SCHEME
    }

    fn capabilities(&self) -> TransportCapabilities {
        TransportCapabilities::default().binds()
    }

    fn parse_address(&self, text: &str) -> Result<Address> {
        read(text)?;
        Ok(Address::new(SCHEME, text))
    }

    async fn listen(&self, context: &Context, address: &str) -> Result<Box<dyn Listener>> {
        let socket = UnixSocket::bind(read(address)?, context, &self.options).await?;
        Ok(Box::new(socket))
    }

    async fn connect(&self, context: &Context, address: &Address) -> Result<Link> {
        if address.transport_type != SCHEME {
            let reason = "it isn't the address of a unix socket";
            return Err(Error::new(ErrorKind::InvalidInput, "connecting to", address, reason));
        }
        let stream =
            UnixStream::connect(read(&address.address)?).await.map_err(|error| match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused | io::ErrorKind::WouldBlock => {
                    Error::new(ErrorKind::Unreachable, "connecting to", address, &error).caused_by(error)
                }
                _ => Error::io("connecting to", address, error),
            })?;
        Ok(link::open(stream, context, &self.options).remote(address.clone()))
    }
}
