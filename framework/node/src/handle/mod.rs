//! What a node does when it is asked: one handler for each command, whoever asks.

mod data;
mod databases;
mod invites;
mod joining;
mod peers;
mod requests;
mod rights;
mod status;
mod users;

use std::io::{self, Read, Write};
use std::sync::Arc;

use eidetica::{Database, Error};
use eidetica_kernel::entry::RIGHTS_STORE;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use crate::failure::Failure;
use crate::node::{Acting, Node, find_database};
use crate::request::{Event, PIECE_BYTES_MAX, Progress, Reply, Request, What};

/// Events that may wait to be taken.
const EVENTS_MAX: usize = 16;

/// Starts a command on a thread where it may block; its events end with `Ok` or `Error`. `input` is the document of an
/// import. Whoever drops the receiver ends the command where it next waits or writes.
pub(crate) fn start(node: Arc<Node>, request: Request, input: Box<dyn Read + Send>) -> mpsc::Receiver<Event> {
    let (events, receiver) = mpsc::channel(EVENTS_MAX);
    let runtime = Handle::current();
    tokio::task::spawn_blocking(move || {
        let job = Job { node, user: request.user, password: request.password, events, runtime };
        let last = match job.run(request.what, input) {
            Ok(reply) => Event::Ok(reply),
            Err(failure) => Event::Error(failure),
        };
        // Nobody listens any more: nobody wants to know.
        let _ = job.events.blocking_send(last);
    });
    receiver
}

/// A command under way.
struct Job {
    node: Arc<Node>,
    user: Option<String>,
    password: Option<String>,
    events: mpsc::Sender<Event>,
    runtime: Handle,
}

impl Job {
    fn run(&self, what: What, input: Box<dyn Read + Send>) -> Result<Reply, Failure> {
        // Whoever says who they are has to be it, also where a command would do without.
        let _user = self.user.is_some().then(|| self.acting()).transpose()?;
        if what.store() == Some(RIGHTS_STORE) {
            return Err(Failure::usage(
                "store _rights holds who may do what: see it with `eidetica db show DB`, change it with `eidetica grant` \
                 and `eidetica revoke`",
            ));
        }
        match what {
            What::DbCreate { name, allow_duplicate } => self.create_database(&name, allow_duplicate),
            What::DbList => self.list_databases(),
            What::DbShow { db } => self.show_database(&db),
            What::DbDrop { db } => self.drop_database(&db),
            What::Set { db, store, path, json } => self.set(&db, &store, &path, &json),
            What::Get { db, store, path } => self.get(&db, &store, path.as_deref()),
            What::Delete { db, store, path } => self.delete(&db, &store, &path),
            What::Append { db, store, path, json } => self.append(&db, &store, &path, &json),
            What::Import { db, store, ndjson } => self.import(&db, &store, ndjson, input),
            What::Export { db, store, pretty } => self.export(&db, store.as_deref(), pretty),
            What::Share { db, permission, uses, expires } => self.share(&db, permission, uses, expires),
            What::Join { ticket } => self.join(&ticket),
            What::PeerList => self.list_peers(),
            What::PeerAdd { key, addresses, name } => self.add_peer(&key, &addresses, name.as_deref()),
            What::PeerBlock { peer } => self.block_peer(&peer),
            What::PeerRemove { peer } => self.remove_peer(&peer),
            What::PeerReset { peer } => self.reset_peer(&peer),
            What::PeerPing { peer } => self.ping_peer(&peer),
            What::PeerHistory { peer, last } => self.peer_history(&peer, last),
            What::InviteList { db } => self.list_invites(&db),
            What::InviteRevoke { db, id } => self.revoke_invite(&db, &id),
            What::RequestAccess { db, peer, permission } => self.request_access(&db, &peer, permission),
            What::RequestList { all } => self.list_requests(all),
            What::RequestApprove { id, permission } => self.approve_request(&id, permission),
            What::RequestReject { id } => self.reject_request(&id),
            What::Sync { db, peer } => self.sync(db.as_deref(), peer.as_deref()),
            What::Grant { db, key, permission, seniority, stores } => {
                self.grant(&db, key, permission, seniority, stores)
            }
            What::Revoke { db, key, since } => self.revoke(&db, key, since.as_deref()),
            What::Why { db, entry } => self.why(&db, &entry),
            What::Status => self.status(),
            What::Verify { db } => self.verify(db.as_deref()),
            What::Rebuild { db } => self.rebuild(db.as_deref()),
            What::KeyShow => self.show_keys(),
            What::KeyExport { key } => self.export_key(key),
            What::KeyImport { secret, name } => self.import_key(&secret, name.as_deref()),
            What::UserAdd { name, new } => self.add_user(&name, new.as_deref()),
            What::UserList => self.list_users(),
            What::UserPasswd { name, new } => self.change_password(&name, new.as_deref()),
        }
    }

    /// Who acts.
    fn acting(&self) -> Result<Acting, Failure> {
        self.node.acting(self.user.as_deref(), self.password.as_deref())
    }

    /// A database, for whoever acts; they stay logged in while the second half of the pair lives.
    fn open(&self, db: &str) -> Result<(Database, Acting), Failure> {
        let user = self.acting()?;
        let id = find_database(&self.node, db)?;
        Ok((user.open_database(id)?, user))
    }

    /// The databases that a command is about: one, or all.
    fn databases(&self, db: Option<&str>) -> Result<Vec<Database>, Failure> {
        let ids = match db {
            Some(db) => vec![find_database(&self.node, db)?],
            None => self.node.instance.list_databases()?,
        };
        Ok(ids.into_iter().map(|id| self.node.instance.load_database(id)).collect::<Result<_, _>>()?)
    }

    /// Waits for something that talks to peers; no longer than whoever asked does.
    fn wait<T>(&self, work: impl Future<Output = Result<T, Error>>) -> Result<T, Failure> {
        self.runtime.block_on(async {
            tokio::select! {
                done = work => Ok(done?),
                () = self.events.closed() => Err(Failure::failed("whoever asked went away")),
            }
        })
    }

    /// Says how far it has come; whoever is slow to hear misses some.
    fn progress(&self, what: &str, done: u64, total: Option<u64>, unit: &str) {
        let progress = Progress { what: what.to_owned(), done, total, unit: unit.to_owned() };
        // The document's end and its answer must find room: progress takes what is left over.
        if self.events.capacity() > 1 {
            let _ = self.events.try_send(Event::Progress(progress));
        }
    }

    /// For output that is sent as it is made.
    fn pieces(&self) -> Pieces<'_> {
        Pieces { events: &self.events, waiting: Vec::new() }
    }
}

/// Text on its way out, in pieces.
struct Pieces<'a> {
    events: &'a mpsc::Sender<Event>,
    waiting: Vec<u8>,
}

impl Pieces<'_> {
    /// Sends what is waiting, but for the beginning of a character whose end hasn't come.
    fn send(&mut self) -> io::Result<()> {
        let whole = match std::str::from_utf8(&self.waiting) {
            Ok(text) => text.len(),
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            Err(error) => return Err(io::Error::new(io::ErrorKind::InvalidData, error)),
        };
        let rest = self.waiting.split_off(whole);
        let piece = String::from_utf8(std::mem::replace(&mut self.waiting, rest));
        let piece = piece.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        if piece.is_empty() {
            return Ok(());
        }
        self.events.blocking_send(Event::Piece(piece)).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

impl Write for Pieces<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(PIECE_BYTES_MAX - self.waiting.len().min(PIECE_BYTES_MAX - 4));
        self.waiting.extend_from_slice(&bytes[..taken]);
        if self.waiting.len() >= PIECE_BYTES_MAX {
            self.send()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.send()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_keep_characters_whole() {
        let (events, mut receiver) = mpsc::channel(64);
        let text = "é€𝄞".repeat(PIECE_BYTES_MAX / 3);
        let mut pieces = Pieces { events: &events, waiting: Vec::new() };
        // Odd portions, so that characters are torn.
        text.as_bytes().chunks(4_099).try_for_each(|chunk| pieces.write_all(chunk)).unwrap();
        pieces.flush().unwrap();
        drop(events);
        let mut back = String::new();
        while let Some(event) = receiver.blocking_recv() {
            let Event::Piece(piece) = event else { panic!("only pieces come: {event:?}") };
            assert!(piece.len() <= PIECE_BYTES_MAX + 4);
            back.push_str(&piece);
        }
        assert_eq!(back, text);
    }
}
