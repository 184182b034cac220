//! What fjall reports, in the kernel's terms.

use std::io;
use std::path::Path;

use eidetica_kernel::error::{Error, ErrorKind};
use fjall::LsmError;

/// Names what was being done to which folder.
pub(crate) fn failure(operation: &'static str, folder: &Path, error: fjall::Error) -> Error {
    let subject = folder.display();
    match error {
        fjall::Error::Io(error) | fjall::Error::Storage(LsmError::Io(error)) => {
            io_failure(operation, folder, error)
        }
        fjall::Error::Locked => in_use(operation, folder),
        fjall::Error::InvalidVersion(Some(version)) => {
            Error::new(ErrorKind::Unsupported, operation, subject, format_args!("its format is {version:?}"))
                .hint("open it with the version of this program that wrote it")
        }
        fjall::Error::Poisoned => Error::new(
            ErrorKind::Io,
            operation,
            subject,
            "an earlier write failed, and what reached the disk since isn't known",
        )
        .hint("close the backend, look after the disk, and open it again"),
        error => corrupt(operation, folder, format_args!("{error:?}")).caused_by(error),
    }
}

/// An I/O error inside a folder that was found whole: a file missing or cut short is damage.
pub(crate) fn io_failure(operation: &'static str, folder: &Path, error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData => {
            corrupt(operation, folder, &error).caused_by(error)
        }
        _ => Error::io(operation, folder.display(), error),
    }
}

pub(crate) fn corrupt(operation: &'static str, folder: &Path, reason: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Corrupt, operation, folder.display(), reason)
        .hint("restore the folder from a copy, or move it away and sync again")
}

pub(crate) fn in_use(operation: &'static str, folder: &Path) -> Error {
    Error::new(
        ErrorKind::InUse,
        operation,
        folder.display(),
        "another process, or another handle, holds its lock",
    )
    .hint("stop it, or choose another folder")
}
