//! A name in the folder: who has it, and the links that are dialled to it. All of this waits for the disk.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use eidetica_kernel::{Error, ErrorKind, Result};

use crate::side::{self, Role, Side};
use crate::transport::SCHEME;

const LISTENS: &str = "listens";
const NAME_BYTES_MAX: usize = 64;
/// Hexadecimal digits that tell links of one dialler apart.
const LINK_DIGITS: usize = 32;
/// How often a folder that somebody else removes meanwhile is made again.
const TRIES: usize = 16;

/// Why it is no name, if it isn't. A name can't lead out of the folder, and is the same where file names ignore case.
pub(crate) fn check_name(name: &str) -> std::result::Result<(), &'static str> {
    if name.is_empty() || name.len() > NAME_BYTES_MAX {
        Err("a name has 1 to 64 characters")
    } else if !name
        .bytes()
        .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_'))
    {
        Err("a name is made of a-z, 0-9, - and _")
    } else if name.starts_with(['-', '_']) {
        Err("a name begins with a letter or a digit")
    } else {
        Ok(())
    }
}

/// The name of a link: whose it is, where the dialler has a name, and what is random.
pub(crate) fn link_name(dialler: Option<&str>, random: [u8; LINK_DIGITS / 2]) -> String {
    format!("{}.{:032x}", dialler.unwrap_or("_"), u128::from_be_bytes(random))
}

fn is_link_name(name: &str) -> bool {
    let Some((dialler, digits)) = name.split_once('.') else { return false };
    (dialler == "_" || check_name(dialler).is_ok())
        && digits.len() == LINK_DIGITS
        && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The links that there are in a mailbox, with their names.
fn links(mailbox: &Path) -> impl Iterator<Item = (String, PathBuf)> + use<> {
    let files = fs::read_dir(mailbox).into_iter().flatten().flatten();
    files.filter(|file| file.file_type().is_ok_and(|kind| kind.is_dir())).filter_map(|file| {
        let name = file.file_name().into_string().ok().filter(|name| is_link_name(name))?;
        Some((name, file.path()))
    })
}

/// `true` if the file is there and no process holds it locked.
fn is_abandoned(lock: &Path) -> bool {
    File::open(lock).is_ok_and(|file| file.try_lock().is_ok())
}

/// Dials: makes a link to who listens under `name`.
pub(crate) fn dial(folder: &Path, name: &str, link_name: &str, links_max: usize) -> Result<Side> {
    let address = format!("{SCHEME}:{name}");
    let unreachable = |reason: &str| Error::new(ErrorKind::Unreachable, "connecting to", &address, reason);
    let mailbox = folder.join(name);
    if !mailbox.join(LISTENS).is_file() {
        return Err(unreachable("nobody listens under this name in the folder, or the folder isn't there"));
    }
    if links(&mailbox).take(links_max).count() == links_max {
        return Err(unreachable("it has as many links as are allowed"));
    }
    let (unfinished, link) = (mailbox.join(format!(".{link_name}")), mailbox.join(link_name));
    let made = side::make(&unfinished)
        .and_then(|()| take_lock(&unfinished, Role::Dialler))
        .and_then(|lock| fs::rename(&unfinished, &link).map(|()| lock));
    let lock = made.map_err(|error| {
        fs::remove_dir_all(&unfinished).ok();
        match error.kind() {
            io::ErrorKind::NotFound => unreachable("who listened there has just gone"),
            _ => Error::io("connecting to", &address, error),
        }
    })?;
    // Who stopped listening in between hasn't seen it.
    if !mailbox.join(LISTENS).is_file() {
        drop(lock);
        side::remove(&link);
        return Err(unreachable("who listened there has just gone"));
    }
    Ok(Side::new(link, Role::Dialler, lock))
}

/// Fails if this side of the link was taken already.
fn take_lock(link: &Path, role: Role) -> io::Result<File> {
    let lock = OpenOptions::new().write(true).create_new(true).open(link.join(role.lock_name()))?;
    lock.try_lock()?;
    Ok(lock)
}

/// A name that this process has. Dropped, it is free again, and links that nobody accepted end.
pub(crate) struct Mailbox {
    path: PathBuf,
    /// `None` once closed.
    held: Option<File>,
}

impl Mailbox {
    /// Takes the name. `token` tells this listener from any other.
    pub(crate) fn claim(folder: &Path, name: &str, token: [u8; 16]) -> Result<Self> {
        let address = format!("{SCHEME}:{name}");
        let failed =
            |error| Error::io("listening at", format_args!("{address} in {}", folder.display()), error);
        let listening = |kind, reason| Error::new(kind, "listening at", &address, reason);
        if !folder.is_dir() {
            let reason = format!("there is no folder {}", folder.display());
            let hint = "make it, plug in the stick it is on, or choose another one";
            return Err(listening(ErrorKind::NotFound, reason).hint(hint));
        }
        let path = folder.join(name);
        for _ in 0..TRIES {
            match Self::try_claim(&path, token) {
                Ok(Some(held)) => {
                    end_abandoned(folder, name);
                    return Ok(Self { path, held: Some(held) });
                }
                Ok(None) => {}
                Err(TryLockError::WouldBlock) => {
                    let reason = "another node listens under this name".to_owned();
                    return Err(listening(ErrorKind::InUse, reason).hint("stop it, or choose another name"));
                }
                Err(TryLockError::Error(error)) => return Err(failed(error)),
            }
        }
        let reason = "others take and free this name all the time".to_owned();
        Err(listening(ErrorKind::InUse, reason).hint("choose another name"))
    }

    /// `None` if somebody who left has removed what was made here.
    fn try_claim(path: &Path, token: [u8; 16]) -> std::result::Result<Option<File>, TryLockError> {
        let vanished = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => Ok(None),
            _ => Err(TryLockError::Error(error)),
        };
        match fs::create_dir(path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return vanished(error),
            _ => {}
        }
        let listens = path.join(LISTENS);
        let opened = OpenOptions::new().create(true).write(true).truncate(false).open(&listens);
        let mut held = match opened {
            Ok(held) => held,
            Err(error) => return vanished(error),
        };
        held.try_lock()?;
        // Removed before it was locked, it is nobody's.
        let written = held.set_len(0).and_then(|()| held.write_all(&token));
        match written.and_then(|()| fs::read(&listens)) {
            Ok(found) => Ok((found == token).then_some(held)),
            Err(error) => vanished(error),
        }
    }

    /// The next link that is dialled here.
    pub(crate) fn accept(&mut self) -> io::Result<Option<Side>> {
        if self.held.is_none() {
            return Ok(None);
        }
        for (_, link) in links(&self.path).filter(|(_, link)| side::is_whole(link)) {
            match take_lock(&link, Role::Accepter) {
                Ok(lock) => return Ok(Some(Side::new(link, Role::Accepter, lock))),
                // Accepted before, or removed meanwhile.
                Err(error)
                    if matches!(error.kind(), io::ErrorKind::AlreadyExists | io::ErrorKind::NotFound) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.held.is_none()
    }

    /// Frees the name.
    pub(crate) fn close(&mut self) {
        let Some(held) = self.held.take() else { return };
        // In this order: who dials looks for it last.
        fs::remove_file(self.path.join(LISTENS)).ok();
        for (_, link) in links(&self.path) {
            if !link.join(Role::Accepter.lock_name()).exists() {
                drop(Side::left_behind(link, Role::Accepter));
            }
        }
        drop(held);
        fs::remove_dir(&self.path).ok();
    }
}

impl Drop for Mailbox {
    fn drop(&mut self) {
        self.close();
    }
}

/// Ends what a process that was killed has left behind under this name: links it had accepted, and links it had dialled.
fn end_abandoned(folder: &Path, name: &str) {
    let mailbox = folder.join(name);
    for unfinished in fs::read_dir(&mailbox).into_iter().flatten().flatten() {
        if unfinished.file_name().as_encoded_bytes().starts_with(b".") {
            fs::remove_dir_all(unfinished.path()).ok();
        }
    }
    for (_, link) in links(&mailbox) {
        if is_abandoned(&link.join(Role::Accepter.lock_name())) {
            end(link, Role::Accepter);
        }
    }
    for other in fs::read_dir(folder).into_iter().flatten().flatten() {
        for (link_name, link) in links(&other.path()) {
            let ours = link_name.split_once('.').is_some_and(|(dialler, _)| dialler == name);
            if ours && is_abandoned(&link.join(Role::Dialler.lock_name())) {
                end(link, Role::Dialler);
            }
        }
    }
}

/// The first time the other side is told. If it hasn't gone by the next, it never will.
fn end(link: PathBuf, role: Role) {
    let side = Side::left_behind(link.clone(), role);
    let over = side.has_left() || !side::is_whole(&link);
    drop(side);
    if over {
        side::remove(&link);
    }
}
