//! The control socket: where a running node takes commands from the same machine's command line.
//!
//! It rests in the data folder, or, where that path is too long for a socket, in a private folder of the runtime
//! directory, and the data folder says where. Requests and events are lines of JSON; the document of an import follows its
//! request as pieces: length (4 bytes, big-endian) and bytes, ended by a length of zero.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt};
use tokio::net::{UnixListener, UnixStream};

use crate::request::LINE_BYTES_MAX;

const SOCKET: &str = "control.sock";
const POINTER: &str = "control.path";
/// Socket paths end at about 104 bytes, on some systems.
const PATH_BYTES_MAX: usize = 100;

/// Connects to the node that runs on a data folder; `None` if none does.
pub(crate) async fn connect(folder: &Path) -> io::Result<Option<UnixStream>> {
    match UnixStream::connect(place(folder)?).await {
        Ok(stream) => Ok(Some(stream)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        // Nobody accepts: a killed node left it behind.
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(None),
        Err(error) => Err(error),
    }
}

/// The bound socket; it goes when this is dropped.
pub(crate) struct Control {
    pub(crate) listener: UnixListener,
    folder: PathBuf,
}

impl Control {
    /// Binds the socket of a data folder whose lock this process holds.
    pub(crate) fn bind(folder: &Path) -> io::Result<Self> {
        remove_stale(folder)?;
        let mut path = folder.join(SOCKET);
        if path.as_os_str().len() > PATH_BYTES_MAX {
            let outside = runtime_folder(folder);
            private_folder(&outside, folder)?;
            path = outside.join(SOCKET);
            let text = path
                .to_str()
                .ok_or_else(|| io::Error::other("the runtime directory's path isn't Unicode"))?;
            std::fs::write(folder.join(POINTER), text)?;
            remove(&path)?;
        }
        let listener = UnixListener::bind(&path)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
        Ok(Self { listener, folder: folder.to_owned() })
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        // What stays behind is found stale by the next node.
        let _ = remove_stale(&self.folder);
    }
}

/// Removes a socket that no node listens at; only for whoever holds the folder's lock.
pub(crate) fn remove_stale(folder: &Path) -> io::Result<()> {
    remove(&place(folder)?)?;
    remove(&folder.join(POINTER))
}

fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Where the socket of a data folder is, or would be.
fn place(folder: &Path) -> io::Result<PathBuf> {
    let own = folder.join(SOCKET);
    if own.as_os_str().len() <= PATH_BYTES_MAX {
        return Ok(own);
    }
    match std::fs::read_to_string(folder.join(POINTER)) {
        // Nothing but a path that we could have written is followed, or removed.
        Ok(path)
            if Path::new(&path).is_absolute() && path.ends_with(SOCKET) && path.len() <= PATH_BYTES_MAX =>
        {
            Ok(path.into())
        }
        Ok(_) => Ok(runtime_folder(folder).join(SOCKET)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(runtime_folder(folder).join(SOCKET)),
        Err(error) => Err(error),
    }
}

fn runtime_folder(folder: &Path) -> PathBuf {
    let mut hasher = DefaultHasher::new();
    folder.hash(&mut hasher);
    let name = format!("eidetica-{:016x}", hasher.finish());
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").filter(|folder| !folder.is_empty()).map(PathBuf::from);
    let fits = |folder: &PathBuf| {
        folder.is_absolute() && folder.as_os_str().len() + name.len() + 16 <= PATH_BYTES_MAX
    };
    runtime.filter(fits).unwrap_or_else(std::env::temp_dir).join(name)
}

/// Makes a folder that nobody else may enter. One that is there already, in a place where others can make folders too, must
/// belong to whom the data belongs to.
fn private_folder(path: &Path, data: &Path) -> io::Result<()> {
    crate::folder::make(path)?;
    let found = std::fs::symlink_metadata(path)?;
    if !found.is_dir() || found.uid() != std::fs::metadata(data)?.uid() || found.mode() & 0o077 != 0 {
        let reason = format!("{} isn't a folder of ours alone; remove it", path.display());
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, reason));
    }
    Ok(())
}

/// One line, without its end; `None` at the end of the stream.
///
/// # Errors
/// Those of the stream; a line that is too long, or that the stream ends in.
pub(crate) async fn read_line(stream: &mut (impl AsyncBufRead + Unpin)) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    stream.take(LINE_BYTES_MAX as u64).read_until(b'\n', &mut line).await?;
    match line.pop() {
        Some(b'\n') => Ok(Some(line)),
        None => Ok(None),
        Some(_) if line.len() + 1 == LINE_BYTES_MAX => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("a line is longer than {LINE_BYTES_MAX} bytes"),
        )),
        Some(_) => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}
