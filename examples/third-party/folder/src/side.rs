//! One side of a link, as it rests in the folder. All of this waits for the disk.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use eidetica_kernel::transport::MESSAGE_BYTES_MAX;

const END: &str = "end";
const DEAF: &str = "deaf";
/// More digits than any number of a message has.
const END_BYTES_MAX: u64 = 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Dialler,
    Accepter,
}

impl Role {
    /// The file that this side holds locked while it has the link.
    pub(crate) fn lock_name(self) -> &'static str {
        match self {
            Self::Dialler => "dialled",
            Self::Accepter => "accepted",
        }
    }

    fn outgoing(self, link: &Path) -> PathBuf {
        link.join(if self == Self::Dialler { "there" } else { "back" })
    }

    fn incoming(self, link: &Path) -> PathBuf {
        link.join(if self == Self::Dialler { "back" } else { "there" })
    }
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Put {
    Written,
    /// There is no room, or the folder isn't there now.
    Later,
    /// Nobody reads any more.
    Gone,
}

/// What there is to read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    Message(Vec<u8>),
    /// Nothing yet, or the folder isn't there now.
    Later,
    End,
    Gone,
}

/// The files of an empty link.
pub(crate) fn make(link: &Path) -> io::Result<()> {
    fs::create_dir(link)?;
    for folder in ["there", "back"] {
        fs::create_dir(link.join(folder))?;
    }
    Ok(())
}

fn number_name(number: u64) -> String {
    format!("{number:020}")
}

/// Nobody sees a part of it.
fn write_whole(folder: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let unfinished = folder.join(format!(".{name}"));
    fs::write(&unfinished, bytes).and_then(|()| fs::rename(&unfinished, folder.join(name))).inspect_err(
        |_| {
            fs::remove_file(&unfinished).ok();
        },
    )
}

fn write_or_later(messages: &Path, name: &str, bytes: &[u8]) -> io::Result<Put> {
    let Err(error) = write_whole(messages, name, bytes) else { return Ok(Put::Written) };
    match error.kind() {
        io::ErrorKind::NotFound if is_gone(messages) => Ok(Put::Gone),
        // Room comes once the other side has read.
        io::ErrorKind::NotFound | io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Ok(Put::Later),
        _ => Err(error),
    }
}

/// A file of at most `bytes_max`, if it is there.
fn read_bounded(path: &Path, bytes_max: u64) -> io::Result<Option<Vec<u8>>> {
    let found = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        found => found?,
    };
    let refused = |reason: String| Err(io::Error::new(io::ErrorKind::InvalidData, reason));
    if !found.is_file() {
        return refused("something that is no file is in its place".to_owned());
    }
    let mut bytes = Vec::new();
    let taken = if found.len() > bytes_max {
        bytes_max + 1
    } else {
        // It may have grown since.
        File::open(path)?.take(bytes_max + 1).read_to_end(&mut bytes)? as u64
    };
    if taken > bytes_max {
        return refused(format!("it has more than {bytes_max} bytes"));
    }
    Ok(Some(bytes))
}

/// `true` if the link was removed that this folder of messages was in; not if the folder the nodes come by isn't there now.
fn is_gone(messages: &Path) -> bool {
    !messages.is_dir() && (is_missing(messages) || messages.parent().is_some_and(is_missing))
}

/// `true` if the folder that it would be in is there without it. Listed, since a stick may come or go between two look-ups of paths.
fn is_missing(path: &Path) -> bool {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { return false };
    let Ok(mut files) = fs::read_dir(folder) else { return false };
    files.all(|file| file.is_ok_and(|file| file.file_name() != name))
}

/// `true` once all of a link is there; a program that copies folders does so one by one.
pub(crate) fn is_whole(link: &Path) -> bool {
    link.join("there").is_dir() && link.join("back").is_dir()
}

/// What writes. Dropped, it says that this side has left; the last to leave removes the link.
pub(crate) struct Side {
    link: PathBuf,
    role: Role,
    next: u64,
    end_said: bool,
    deaf_said: bool,
    lock: Option<File>,
}

impl Side {
    pub(crate) fn new(link: PathBuf, role: Role, lock: File) -> Self {
        Self { link, role, next: 0, end_said: false, deaf_said: false, lock: Some(lock) }
    }

    /// A side whose process has ended without a word; dropping it says what is missing.
    pub(crate) fn left_behind(link: PathBuf, role: Role) -> Self {
        let outgoing = role.outgoing(&link);
        let names = fs::read_dir(&outgoing).into_iter().flatten().flatten();
        let numbers = names.filter_map(|file| file.file_name().to_str()?.parse::<u64>().ok());
        let next = numbers.max().map_or(0, |last| last.saturating_add(1));
        let end_said = outgoing.join(END).exists();
        let deaf_said = role.incoming(&link).join(DEAF).exists();
        Self { link, role, next, end_said, deaf_said, lock: None }
    }

    pub(crate) fn has_left(&self) -> bool {
        self.end_said && self.deaf_said
    }

    /// Writes the next message, if fewer than `ahead_max` wait to be read.
    pub(crate) fn put(&mut self, message: &[u8], ahead_max: u64) -> io::Result<Put> {
        let outgoing = self.role.outgoing(&self.link);
        if outgoing.join(DEAF).exists() {
            return Ok(Put::Gone);
        }
        // They are read in order: while the oldest is there, so are the others.
        if let Some(oldest) = self.next.checked_sub(ahead_max)
            && outgoing.join(number_name(oldest)).exists()
        {
            return Ok(Put::Later);
        }
        let put = write_or_later(&outgoing, &number_name(self.next), message)?;
        self.next += u64::from(put == Put::Written);
        Ok(put)
    }

    /// Says that nothing follows.
    pub(crate) fn say_end(&mut self) -> io::Result<Put> {
        if self.end_said {
            return Ok(Put::Written);
        }
        let count = self.next.to_string();
        let put = write_or_later(&self.role.outgoing(&self.link), END, count.as_bytes())?;
        self.end_said = put == Put::Written;
        Ok(put)
    }

    /// Says that nobody reads any more.
    pub(crate) fn say_deaf(&mut self) -> io::Result<Put> {
        if self.deaf_said {
            return Ok(Put::Written);
        }
        let put = write_or_later(&self.role.incoming(&self.link), DEAF, &[])?;
        self.deaf_said = put == Put::Written;
        Ok(put)
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        // Where the folder isn't there, or is gone, nobody is left to hear it.
        self.say_end().ok();
        self.say_deaf().ok();
        drop(self.lock.take());
        tidy(&self.link);
    }
}

/// Removes a link that both sides have left, and the folder it was in if that is empty.
fn tidy(link: &Path) {
    let left = |folder: &Path| folder.join(END).exists() && folder.join(DEAF).exists();
    if left(&link.join("there")) && left(&link.join("back")) {
        remove(link);
    }
}

/// Removes a link, whoever has it. A process that ends meanwhile leaves none that is half there: whoever listens here next removes the rest.
pub(crate) fn remove(link: &Path) {
    let (Some(mailbox), Some(name)) = (link.parent(), link.file_name()) else { return };
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    let hidden = mailbox.join(hidden);
    // The other side may do the same at this moment.
    fs::rename(link, &hidden).ok();
    fs::remove_dir_all(&hidden).ok();
    fs::remove_dir(mailbox).ok();
}

/// What reads.
pub(crate) struct Inbox {
    incoming: PathBuf,
    next: u64,
}

impl Inbox {
    pub(crate) fn of(side: &Side) -> Self {
        Self { incoming: side.role.incoming(&side.link), next: 0 }
    }

    pub(crate) fn take(&mut self) -> io::Result<Taken> {
        // Looked for first: what it counts was there before.
        let end = read_bounded(&self.incoming.join(END), END_BYTES_MAX)?;
        let path = self.incoming.join(number_name(self.next));
        if let Some(message) = read_bounded(&path, MESSAGE_BYTES_MAX as u64)? {
            fs::remove_file(&path)?;
            self.next += 1;
            return Ok(Taken::Message(message));
        }
        let Some(end) = end else {
            return Ok(if is_gone(&self.incoming) { Taken::Gone } else { Taken::Later });
        };
        let count = std::str::from_utf8(&end).ok().and_then(|text| text.parse::<u64>().ok());
        let count =
            count.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "its end is no number"))?;
        // A program that copies the folder may bring the end before the messages.
        Ok(if self.next < count { Taken::Later } else { Taken::End })
    }
}
