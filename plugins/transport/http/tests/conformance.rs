//! The transport suite of the conformance kit, run against `http`.

use std::any::Any;
use std::process::ExitCode;

use eidetica_conformance::transport::{Network, Suite};
use eidetica_kernel::error::{Error, Result};
use eidetica_transport_http::HttpTransport;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

async fn raw(address: String, bytes: Vec<u8>) -> Result<Box<dyn Any + Send>> {
    let failed = |error| Error::io("talking nonsense to", &address, error);
    let mut stream = TcpStream::connect(&address).await.map_err(failed)?;
    stream.write_all(&bytes).await.map_err(failed)?;
    Ok(Box::new(stream))
}

fn main() -> ExitCode {
    Suite::new("http", || {
        Network::new("127.0.0.1:0", || Ok(Box::new(HttpTransport::new())))
            .malformed(["127.0.0.1", "ftp://127.0.0.1:80", "http://", "127.0.0.1:99999"])
            .raw(|address, bytes| Box::pin(raw(address.address, bytes)))
    })
    .main()
}
