//! A command: asked of the node that runs on the folder, else carried out here.

use std::io::{self, IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use eidetica::{ErrorKind, Instance};
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::OwnedWriteHalf;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::args::{Asking, Db, Global, Invites, Key, Peer, Requests, User};
use crate::control::{self, read_line};
use crate::failure::Failure;
use crate::folder::Folder;
use crate::handle;
use crate::node::{Node, OWN_USER};
use crate::output::Output;
use crate::request::{Event, PIECE_BYTES_MAX, Reply, Request, What};

/// How long the folder's lock is waited for.
const LOCK_TIMEOUT: Duration = Duration::from_secs(5);
/// How often it is tried meanwhile.
const LOCK_INTERVAL: Duration = Duration::from_millis(50);
/// How often `status --watch` looks.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);

/// Who carries commands out.
pub(crate) enum Reached {
    /// A node that runs.
    Running(UnixStream),
    /// This process, which holds the folder's lock.
    Opened(Instance),
}

/// Connects to the node that runs on a folder, else opens the folder; waits while somebody else is just doing so.
pub(crate) async fn reach(folder: &Folder) -> Result<Reached, Failure> {
    let failed = |error: io::Error| {
        Failure::failed(format_args!("the control socket of {}: {error}", folder.path.display()))
    };
    let until = Instant::now() + LOCK_TIMEOUT;
    loop {
        if let Some(stream) = control::connect(&folder.path).await.map_err(failed)? {
            return Ok(Reached::Running(stream));
        }
        match folder.chosen.open() {
            Ok(instance) => {
                control::remove_stale(&folder.path).map_err(failed)?;
                return Ok(Reached::Opened(instance));
            }
            Err(error) if error.kind() == ErrorKind::InUse && Instant::now() < until => {
                tokio::time::sleep(LOCK_INTERVAL).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Carries a command out and writes its answer.
pub(crate) async fn ask(global: &Global, command: Asking, output: Output) -> Result<(), Failure> {
    let watch = matches!(command, Asking::Status { watch: true });
    let (what, document) = read(command)?;
    let folder = Folder::find(global, None)?;
    let mut asking = Session { folder, opened: None, output };
    let mut request = Request { user: global.user.clone(), password: environment_password(), what };
    let mut shown = String::new();
    loop {
        let mut asked = asking.ask(&request, document.as_deref()).await;
        if let Err(failure) = &asked
            && failure.wants_password
            && request.password.is_none()
        {
            request.password = password(request.user.as_deref().unwrap_or(OWN_USER))?;
            if request.password.is_some() {
                asked = asking.ask(&request, document.as_deref()).await;
            }
        }
        let answered = match asked {
            Ok(reply) if watch && reply.text == shown => Ok(()),
            Ok(reply) => {
                let written = output.reply(&reply);
                shown = reply.text;
                written
            }
            Err(failure) => Err(named(failure, document.as_deref())),
        };
        if !watch || answered.is_err() {
            asking.close()?;
            return answered;
        }
        tokio::time::sleep(WATCH_INTERVAL).await;
    }
}

/// A failure with the document that it lies in.
fn named(failure: Failure, document: Option<&Path>) -> Failure {
    let Some(path) = document.filter(|_| failure.in_json) else { return failure };
    let reason = failure.message.trim_start_matches("reading JSON: ");
    let message = match path.to_str() {
        Some("-") => format!("reading standard input: {reason}"),
        _ => format!("reading {}: {reason}", path.display()),
    };
    Failure { message, ..failure }
}

/// The folder, and the node on it that this process opened for the command.
struct Session {
    folder: Folder,
    opened: Option<std::sync::Arc<Node>>,
    output: Output,
}

impl Session {
    async fn ask(&mut self, request: &Request, document: Option<&Path>) -> Result<Reply, Failure> {
        let node = match self.opened.clone() {
            Some(node) => node,
            None => match reach(&self.folder).await? {
                Reached::Running(stream) => return self.ask_running(stream, request, document).await,
                Reached::Opened(instance) => {
                    let node = Node::new(&self.folder, instance, false)?;
                    self.opened.insert(node).clone()
                }
            },
        };
        let input: Box<dyn Read + Send> = match document {
            Some(path) => source(path)?,
            None => Box::new(io::empty()),
        };
        let request = Request {
            user: request.user.clone(),
            password: request.password.clone(),
            what: request.what.clone(),
        };
        let mut events = handle::start(node, request, input);
        let mut bar = self.output.bar();
        loop {
            let event =
                events.recv().await.unwrap_or_else(|| Event::Error(Failure::failed("the command broke off")));
            match event {
                Event::Send => {}
                Event::Progress(progress) => bar.show(&progress),
                Event::Piece(text) => self.output.piece(&text)?,
                Event::Ok(reply) => {
                    bar.clear();
                    return Ok(reply);
                }
                Event::Error(failure) => {
                    bar.clear();
                    return Err(failure);
                }
            }
        }
    }

    async fn ask_running(
        &self,
        stream: UnixStream,
        request: &Request,
        document: Option<&Path>,
    ) -> Result<Reply, Failure> {
        let lost =
            |error: io::Error| Failure::failed(format_args!("the node stopped before it answered: {error}"));
        let (read, mut write) = stream.into_split();
        let mut read = BufReader::new(read);
        let mut line = serde_json::to_vec(request).map_err(|error| lost(io::Error::other(error)))?;
        line.push(b'\n');
        if line.len() > crate::request::LINE_BYTES_MAX {
            return Err(Failure::failed("the value is too long for one command; import it"));
        }
        write.write_all(&line).await.map_err(lost)?;
        // Kept until the answer is there: closing it would say that nobody waits.
        let mut write = Some(write);
        let mut sending = None;
        let mut bar = self.output.bar();
        loop {
            let line = read_line(&mut read).await.map_err(lost)?;
            let line = line.ok_or_else(|| lost(io::ErrorKind::UnexpectedEof.into()))?;
            let event = serde_json::from_slice(&line).map_err(|error| {
                Failure::failed(format_args!(
                    "the node's answer isn't understood ({error}); is it of the same version?"
                ))
            })?;
            match event {
                Event::Send => {
                    if let (Some(path), Some(write)) = (document, write.take()) {
                        sending = Some(send(source(path)?, write));
                    }
                }
                Event::Progress(progress) => bar.show(&progress),
                Event::Piece(text) => self.output.piece(&text)?,
                Event::Ok(reply) => {
                    bar.clear();
                    return Ok(reply);
                }
                Event::Error(failure) => {
                    bar.clear();
                    // A document that couldn't be read here is why the node didn't get it.
                    let failed = sending
                        .as_mut()
                        .and_then(|failed: &mut mpsc::Receiver<io::Error>| failed.try_recv().ok());
                    return Err(match failed {
                        Some(error) => Failure { in_json: true, ..Failure::failed(error) },
                        None => failure,
                    });
                }
            }
        }
    }

    fn close(&mut self) -> Result<(), Failure> {
        match self.opened.take() {
            Some(node) => Ok(node.instance.close()?),
            None => Ok(()),
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // After an error; what there was to say was said.
        let _ = self.close();
    }
}

/// Sends a document in pieces from a thread of its own; what comes back is why it couldn't be read.
fn send(mut source: Box<dyn Read + Send>, mut write: OwnedWriteHalf) -> mpsc::Receiver<io::Error> {
    let (failed, failures) = mpsc::channel(1);
    let runtime = tokio::runtime::Handle::current();
    tokio::task::spawn_blocking(move || {
        let mut piece = vec![0; PIECE_BYTES_MAX];
        loop {
            let len = match source.read(&mut piece) {
                Ok(len) => len,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    let _ = failed.try_send(error);
                    return;
                }
            };
            // A read is never longer than a piece, so the cast holds.
            let sent = runtime.block_on(async {
                write.write_all(&(len as u32).to_be_bytes()).await?;
                write.write_all(&piece[..len]).await
            });
            if sent.is_err() || len == 0 {
                // The node has all, or has had enough: its answer says which.
                return;
            }
        }
    });
    failures
}

fn source(path: &Path) -> Result<Box<dyn Read + Send>, Failure> {
    if path == Path::new("-") {
        return Ok(Box::new(io::stdin()));
    }
    let file = std::fs::File::open(path).and_then(|file| {
        if file.metadata()?.is_dir() { Err(io::ErrorKind::IsADirectory.into()) } else { Ok(file) }
    });
    Ok(Box::new(file.map_err(|error| Failure::failed(format_args!("reading {}: {error}", path.display())))?))
}

fn environment_password() -> Option<String> {
    std::env::var("EIDETICA_PASSWORD").ok()
}

/// A user's password, from the environment, else asked for; `None` where nobody can be asked.
pub(crate) fn password(user: &str) -> Result<Option<String>, Failure> {
    match environment_password() {
        Some(password) => Ok(Some(password)),
        None => prompt(&format!("Password of {user}: ")),
    }
}

fn prompt(text: &str) -> Result<Option<String>, Failure> {
    if !io::stdin().is_terminal() {
        return Ok(None);
    }
    let typed = rpassword::prompt_password(text);
    typed.map(Some).map_err(|error| Failure::failed(format_args!("reading the password: {error}")))
}

fn new_password() -> Result<String, Failure> {
    let missing = || Failure::usage("a password is needed: type it, or say --no-password");
    let first = prompt("New password: ")?.filter(|typed| !typed.is_empty()).ok_or_else(missing)?;
    if prompt("Again: ")?.as_ref() != Some(&first) {
        return Err(Failure::usage("the passwords differ"));
    }
    Ok(first)
}

/// The first line of a small file, or of standard input.
fn first_line(path: &Path) -> Result<String, Failure> {
    let mut text = String::new();
    let read = source(path)?.take(64 * 1_024).read_to_string(&mut text);
    read.map_err(|error| Failure::failed(format_args!("reading {}: {error}", path.display())))?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

/// What to ask for, and the document that goes with it. What has to be typed is asked for here.
fn read(command: Asking) -> Result<(What, Option<PathBuf>), Failure> {
    let what = match command {
        Asking::Import { db, store, file, ndjson } => {
            // So that a file that isn't there is known before anything is opened.
            if file != Path::new("-") {
                drop(source(&file)?);
            }
            let is_lines =
                file.extension().is_some_and(|extension| extension == "ndjson" || extension == "jsonl");
            return Ok((What::Import { db, store, ndjson: ndjson || is_lines }, Some(file)));
        }
        Asking::Db(Db::Create { name, allow_duplicate }) => What::DbCreate { name, allow_duplicate },
        Asking::Db(Db::List) => What::DbList,
        Asking::Db(Db::Show { db }) => What::DbShow { db },
        Asking::Db(Db::Drop { db }) => What::DbDrop { db },
        Asking::Set { db, store, path, value: json } => What::Set { db, store, path, json },
        Asking::Get { db, store, path } => What::Get { db, store, path },
        Asking::Delete { db, store, path } => What::Delete { db, store, path },
        Asking::Append { db, store, path, value: json } => What::Append { db, store, path, json },
        Asking::Export { db, store, pretty } => What::Export { db, store, pretty },
        Asking::Share { db, to, uses, expires } => {
            What::Share { db, permission: to.permission(), uses, expires }
        }
        Asking::Join { ticket } => {
            // Here, so that a ticket that isn't one opens nothing.
            ticket.parse::<eidetica::sync::Ticket>()?;
            What::Join { ticket }
        }
        Asking::Peer(Peer::List) => What::PeerList,
        Asking::Peer(Peer::Add { key, addresses, name }) => What::PeerAdd { key, addresses, name },
        Asking::Peer(Peer::Block { peer }) => What::PeerBlock { peer },
        Asking::Peer(Peer::Remove { peer }) => What::PeerRemove { peer },
        Asking::Peer(Peer::Reset { peer }) => What::PeerReset { peer },
        Asking::Peer(Peer::Ping { peer }) => What::PeerPing { peer },
        Asking::Peer(Peer::History { peer, last }) => What::PeerHistory { peer, last },
        Asking::Invite(Invites::List { db }) => What::InviteList { db },
        Asking::Invite(Invites::Revoke { db, id }) => What::InviteRevoke { db, id },
        Asking::Request(Requests::Access { db, peer, to }) => {
            What::RequestAccess { db, peer, permission: to.permission() }
        }
        Asking::Request(Requests::List { all }) => What::RequestList { all },
        Asking::Request(Requests::Approve { id, permission }) => What::RequestApprove { id, permission },
        Asking::Request(Requests::Reject { id }) => What::RequestReject { id },
        Asking::Sync { db: Some(db), peer: None } if db.starts_with("ed25519:") => {
            What::Sync { db: None, peer: Some(db) }
        }
        Asking::Sync { db, peer } => What::Sync { db, peer },
        Asking::Grant { db, key, permission, seniority, stores } => {
            What::Grant { db, key, permission, seniority, stores }
        }
        Asking::Revoke { db, key, since } => What::Revoke { db, key, since },
        Asking::Why { db, entry } => What::Why { db, entry },
        Asking::Status { .. } => What::Status,
        Asking::Verify { db } => What::Verify { db },
        Asking::Rebuild { db } => What::Rebuild { db },
        Asking::Key(Key::Show) => What::KeyShow,
        Asking::Key(Key::Export { key }) => What::KeyExport { key },
        Asking::Key(Key::Import { file, name }) => {
            let typed = if file == Path::new("-") { prompt("Secret: ")? } else { None };
            let secret = typed.map_or_else(|| first_line(&file), Ok)?;
            What::KeyImport { secret, name }
        }
        Asking::User(User::List) => What::UserList,
        Asking::User(User::Add { name, no_password }) => {
            let new =
                if no_password { None } else { Some(environment_password().map_or_else(new_password, Ok)?) };
            What::UserAdd { name, new }
        }
        Asking::User(User::Passwd { name, no_password, new_from_stdin }) => {
            let new = match (no_password, new_from_stdin) {
                (true, _) => None,
                (_, true) => Some(first_line(Path::new("-"))?).filter(|line| !line.is_empty()),
                _ => Some(new_password()?),
            };
            if new.is_none() && !no_password {
                return Err(Failure::usage("the new password is empty; --no-password removes it"));
            }
            What::UserPasswd { name, new }
        }
    };
    Ok((what, None))
}
