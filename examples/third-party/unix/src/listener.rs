//! Listening: the socket's file, made and removed, and a lock beside it that says whether it is alive.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use eidetica_kernel::transport::{Address, Link, Listener};
use eidetica_kernel::{Context, Error, ErrorKind, Result};
use tokio::net::{UnixListener, UnixStream};

use crate::link;
use crate::options::UnixOptions;
use crate::transport::SCHEME;

/// A bound socket.
pub(crate) struct UnixSocket {
    path: PathBuf,
    context: Context,
    options: UnixOptions,
    /// `None` once closed. The lock goes after the socket's file.
    listener: Option<(UnixListener, fs::File)>,
}

impl UnixSocket {
    pub(crate) async fn bind(path: &Path, context: &Context, options: &UnixOptions) -> Result<Self> {
        let in_use = |reason| {
            Error::new(ErrorKind::InUse, "listening at", format_args!("{SCHEME}:{}", path.display()), reason)
                .hint("stop it, or choose another path")
        };
        let failed = |error: io::Error| match error.kind() {
            io::ErrorKind::AddrInUse => in_use("something listens there, or a file is in its place"),
            _ => Error::io("listening at", path.display(), error),
        };
        // Asking the socket itself would look like a link to whoever listens there.
        let mut lock_path = path.as_os_str().to_owned();
        lock_path.push(".lock");
        let lock = fs::OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(false)
            .open(lock_path)
            .map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => return Err(in_use("another node listens there")),
            Err(fs::TryLockError::Error(error)) => return Err(failed(error)),
        }
        let listener = match UnixListener::bind(path) {
            // Left by a process that was killed: nobody answers there any more.
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && is_stale(path).await => {
                fs::remove_file(path).map_err(failed)?;
                UnixListener::bind(path)
            }
            bound => bound,
        };
        let listener = Some((listener.map_err(failed)?, lock));
        Ok(Self { path: path.to_owned(), context: context.clone(), options: options.clone(), listener })
    }

    fn end(&mut self) {
        if let Some((listener, lock)) = self.listener.take() {
            drop(listener);
            // Somebody else may have removed it meanwhile; then there is nothing left to do.
            fs::remove_file(&self.path).ok();
            drop(lock);
        }
    }
}

/// A socket whose process was killed, or another program's that has ended.
async fn is_stale(path: &Path) -> bool {
    let is_socket = fs::symlink_metadata(path)
        .is_ok_and(|found| std::os::unix::fs::FileTypeExt::is_socket(&found.file_type()));
    is_socket
        && UnixStream::connect(path)
            .await
            .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
}

#[async_trait]
impl Listener for UnixSocket {
    fn addresses(&self) -> Vec<Address> {
        vec![Address::new(SCHEME, self.path.display().to_string())]
    }

    async fn accept(&mut self) -> Result<Option<Link>> {
        let Some((listener, _)) = &self.listener else { return Ok(None) };
        let (stream, _) =
            listener.accept().await.map_err(|error| Error::io("accepting at", self.path.display(), error))?;
        Ok(Some(link::open(stream, &self.context, &self.options)))
    }

    async fn close(&mut self) -> Result<()> {
        self.end();
        Ok(())
    }
}

impl Drop for UnixSocket {
    fn drop(&mut self) {
        self.end();
    }
}
