//! The transport suite of the conformance kit, run against `unix`.

use std::any::Any;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};

use eidetica_conformance::transport::{Network, Suite};
use eidetica_kernel::error::{Error, Result};
use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixStream;
use unix_socket_transport::UnixTransport;

async fn raw(path: String, bytes: Vec<u8>) -> Result<Box<dyn Any + Send>> {
    let failed = |error| Error::io("talking nonsense to", &path, error);
    let mut stream = UnixStream::connect(&path).await.map_err(failed)?;
    // As much as fits: nobody need read it.
    stream.try_write(&bytes).ok();
    stream.flush().await.map_err(failed)?;
    Ok(Box::new(stream))
}

fn main() -> ExitCode {
    Suite::new("unix", || {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (path, next) = (folder.path().to_owned(), AtomicUsize::new(0));
        Network::new("", || Ok(Box::new(UnixTransport::new())))
            .fresh(move || path.join(next.fetch_add(1, Ordering::Relaxed).to_string()).display().to_string())
            .malformed(["relative.sock", "/folder/", &"/x".repeat(60)])
            .raw(|address, bytes| Box::pin(raw(address.address, bytes)))
            .keep(folder)
    })
    .main()
}
