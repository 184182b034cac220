//! The folder: who may enter, who holds it, and that it is whole.
//!
//! ```text
//! lock      held with an advisory lock while the backend is open
//! torn-*    what was cut off a journal that power had torn: nothing of it was confirmed; for people to look at
//! rows/     fjall's files; made under the name rows.new and renamed when complete
//! ```

use std::fs::{self, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use eidetica_kernel::error::{Error, ErrorKind, Result};

use crate::failure::{corrupt, in_use, io_failure};
use crate::torn::torn_at;

const OPENING: &str = "opening";

/// Bytes copied at once.
const PIECE_BYTES: usize = 64 << 10;

/// A folder held by this process; let go when dropped.
pub(crate) struct Folder {
    path: PathBuf,
    _lock: fs::File,
}

impl Folder {
    /// Makes the folder where there is none, and takes its lock.
    pub(crate) fn hold(path: &Path) -> Result<Self> {
        let path = std::path::absolute(path).map_err(|error| Error::io(OPENING, path.display(), error))?;
        make_private(&path)?;
        let lock_path = path.join("lock");
        let lock =
            private_file(&lock_path).map_err(|error| Error::io(OPENING, lock_path.display(), error))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path, _lock: lock }),
            Err(fs::TryLockError::WouldBlock) => Err(in_use(OPENING, &path)),
            Err(fs::TryLockError::Error(error)) => Err(Error::io("locking", lock_path.display(), error)),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Where fjall's files are, or will be.
    pub(crate) fn rows(&self) -> PathBuf {
        self.path.join("rows")
    }

    /// An empty place to make fjall's files in; what an interrupted attempt left there is removed.
    pub(crate) fn new_rows(&self) -> Result<PathBuf> {
        let path = self.path.join("rows.new");
        match fs::remove_dir_all(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Error::io("removing", path.display(), error))
            }
            _ => Ok(path),
        }
    }

    /// Removes the journals of new rows, which hold nothing yet.
    ///
    /// fjall makes a missing journal with its room set aside, and lengthens one that it finds with every write: flushing
    /// that costs a write of the file's new length too (measured on ext4: 90 us rather than 68 us).
    pub(crate) fn remove_journals(&self, new: &Path) -> Result<()> {
        let failed = |error| io_failure("creating", new, error);
        for entry in fs::read_dir(new).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if path.extension().is_some_and(|extension| extension == "jnl") {
                fs::remove_file(&path).map_err(failed)?;
            }
        }
        Ok(())
    }

    /// Puts complete new rows into place, durably.
    pub(crate) fn install_rows(&self, new: &Path) -> Result<()> {
        fs::rename(new, self.rows()).map_err(|error| Error::io("renaming", new.display(), error))?;
        #[cfg(unix)]
        fs::File::open(&self.path)
            .and_then(|folder| folder.sync_all())
            .map_err(|error| Error::io("flushing", self.path.display(), error))?;
        Ok(())
    }

    /// Looks for names that fjall takes for granted. Where it finds another it panics while it holds a lock, and its
    /// destructor then aborts the process.
    pub(crate) fn check_names(&self) -> Result<()> {
        let rows = self.rows();
        let number = |name: &str| name.parse::<u64>().is_ok();
        let keyspace = |name: &str, is_folder: bool| !is_folder || number(name);
        let journal = |name: &str, is_folder: bool| match Path::new(name).extension() {
            Some(extension) if extension.eq_ignore_ascii_case("jnl") => {
                !is_folder && name.strip_suffix(".jnl").is_some_and(number)
            }
            _ => true,
        };
        check_entries(&rows, journal)?;
        check_entries(&rows.join("keyspaces"), keyspace)
    }

    /// Ends the newest journal where it is [`torn`](crate::torn), and keeps what it cuts off in a file beside it; `false` if it
    /// isn't torn.
    pub(crate) fn cut_torn_journal(&self) -> Result<bool> {
        let rows = self.rows();
        let failed = |error| io_failure("looking at the newest journal of", &rows, error);
        let mut newest: Option<(u64, PathBuf)> = None;
        for entry in fs::read_dir(&rows).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            let number = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".jnl")?.parse().ok());
            newest = newest.max(number.map(|number| (number, path)));
        }
        // The older ones were flushed before this one was begun.
        let Some((number, journal)) = newest else { return Ok(false) };
        let Some(end) = torn_at(&journal).map_err(failed)? else { return Ok(false) };
        let cut = || {
            let mut journal = OpenOptions::new().read(true).write(true).open(&journal)?;
            journal.seek(SeekFrom::Start(end))?;
            let kept = private_file(&self.path.join(format!("torn-{number}-{end}")))?;
            copy_sparse(&mut journal, &kept)?;
            kept.sync_all()?;
            journal.set_len(end)?;
            journal.sync_all()
        };
        cut().map_err(|error| Error::io("cutting the torn end off", journal.display(), error))?;
        Ok(true)
    }

    /// Takes other users' rights to the files away; the folder itself is closed to them already.
    pub(crate) fn restrict_files(&self) -> Result<()> {
        #[cfg(unix)]
        restrict(&self.path).map_err(|error| io_failure("restricting access to", &self.path, error))?;
        Ok(())
    }
}

fn check_entries(folder: &Path, allowed: impl Fn(&str, bool) -> bool) -> Result<()> {
    let failed = |error| io_failure(OPENING, folder, error);
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let is_folder = !entry.file_type().map_err(failed)?.is_file();
        let name = entry.file_name();
        if !name.to_str().is_some_and(|name| allowed(name, is_folder)) {
            return Err(corrupt(OPENING, folder, format_args!("{name:?} doesn't belong there")));
        }
    }
    Ok(())
}

/// Copies what is left to read, but for zeros: most of a journal is room that was set aside.
fn copy_sparse(from: &mut fs::File, mut to: &fs::File) -> io::Result<()> {
    let (mut piece, zeros) = (Vec::new(), vec![0; PIECE_BYTES]);
    let (mut at, mut end) = (0, 0);
    to.set_len(0)?;
    loop {
        piece.clear();
        at += io::Read::take(&mut *from, PIECE_BYTES as u64).read_to_end(&mut piece)? as u64;
        if piece.is_empty() {
            return to.set_len(end);
        }
        if piece != zeros[..piece.len()]
            && let Some(last) = piece.iter().rposition(|byte| *byte != 0)
        {
            let begins = at - piece.len() as u64;
            to.seek(SeekFrom::Start(begins))?;
            to.write_all(&piece[..=last])?;
            end = begins + last as u64 + 1;
        }
    }
}

/// Opens a file for the owner alone, and makes it where there is none.
fn private_file(path: &Path) -> io::Result<fs::File> {
    let mut open = OpenOptions::new();
    open.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut open, 0o600);
    open.open(path)
}

fn make_private(path: &Path) -> Result<()> {
    if let Ok(found) = fs::metadata(path)
        && !found.is_dir()
    {
        return Err(Error::new(
            ErrorKind::InvalidInput,
            OPENING,
            path.display(),
            "it is a file, not a folder",
        )
        .hint("choose another path, or move the file away"));
    }
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path).map_err(|error| Error::io("creating the folder", path.display(), error))?;
    #[cfg(unix)]
    set_mode(path, 0o700)
        .map_err(|error| Error::io("restricting access to the folder", path.display(), error))?;
    Ok(())
}

#[cfg(unix)]
fn set_mode(path: &Path, mode: u32) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    if fs::metadata(path)?.permissions().mode() & 0o777 == mode {
        return Ok(());
    }
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

#[cfg(unix)]
fn restrict(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        // Background work may have removed it meanwhile.
        let result = if kind.is_dir() {
            set_mode(&entry.path(), 0o700).and_then(|()| restrict(&entry.path()))
        } else if kind.is_file() {
            set_mode(&entry.path(), 0o600)
        } else {
            Ok(())
        };
        match result {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}
