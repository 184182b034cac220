//! What fjall reports, in the kernel's terms.

use std::fmt::Display;
use std::io;
use std::path::Path;

use eidetica_kernel::error::{Error, ErrorKind};
use fjall::LsmError;

/// What a write that failed for want of room asks for: fjall takes no more before it has been opened again.
const ROOM_HINT: &str = "make room on the disk, then restart the node; a program of one's own closes the backend and opens it again";

const REOPEN_HINT: &str = "make room on the disk if it is full, else see what is wrong with it; then restart the node; a program of one's own \
     closes the backend and opens it again";

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
        fjall::Error::Poisoned => broken(
            ErrorKind::Io,
            operation,
            subject,
            "an earlier write failed, and what reached the disk since isn't known",
        ),
        error => corrupt(operation, folder, format_args!("{error:?}")).caused_by(error),
    }
}

/// An I/O error inside a folder that was found whole: a file missing or cut short is damage.
pub(crate) fn io_failure(operation: &'static str, folder: &Path, error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData => {
            corrupt(operation, folder, &error).caused_by(error)
        }
        _ => {
            let error = Error::io(operation, folder.display(), error);
            if error.kind() == ErrorKind::Full { error.hint(ROOM_HINT) } else { error }
        }
    }
}

/// Why nothing is written any more before the folder has been opened again.
pub(crate) fn broken(
    kind: ErrorKind,
    operation: &'static str,
    subject: impl Display,
    reason: impl Display,
) -> Error {
    let hint = if kind == ErrorKind::Full { ROOM_HINT } else { REOPEN_HINT };
    Error::new(kind, operation, subject, reason).hint(hint)
}

pub(crate) fn corrupt(operation: &'static str, folder: &Path, reason: impl Display) -> Error {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_and_what_follows_say_to_make_room_and_restart() {
        let full = || io::Error::from(io::ErrorKind::StorageFull);
        let folder = Path::new("/srv/data");
        for (error, kind) in [
            (failure("writing to", folder, fjall::Error::Io(full())), ErrorKind::Full),
            (failure("writing to", folder, fjall::Error::Poisoned), ErrorKind::Io),
            (broken(ErrorKind::Full, "flushing", "/srv/data", full()), ErrorKind::Full),
        ] {
            assert_eq!(error.kind(), kind, "{error}");
            let said = error.to_string();
            for wanted in ["/srv/data", "make room on the disk", "restart the node", "closes the backend"] {
                assert!(said.contains(wanted), "{said}");
            }
        }
        let other = failure("writing to", folder, fjall::Error::Io(io::Error::other("unplugged")));
        assert!(!other.to_string().contains("make room"), "{other}");
    }
}
