//! `eidetica serve`: the node that stays.

use std::io::{self, Read};
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::OwnedReadHalf;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Semaphore, mpsc};

use crate::args::Global;
use crate::client;
use crate::control::{Control, read_line};
use crate::failure::Failure;
use crate::folder::Folder;
use crate::handle;
use crate::node::{Node, OWN_USER};
use crate::output::Output;
use crate::request::{Event, PIECE_BYTES_MAX, Request};

/// Commands under way at once; more wait.
const COMMANDS_MAX: usize = 64;
/// How long somebody who connected may take for the request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// Runs a node until a signal asks it to stop.
pub(crate) async fn serve(global: &Global, listen: Option<String>, output: Output) -> Result<(), Failure> {
    // From here on a signal is a request to stop cleanly, however far the start has come.
    let mut stop =
        Stop::new().map_err(|error| Failure::failed(format_args!("waiting for signals: {error}")))?;
    let folder = Folder::find(global, listen.as_deref())?;
    let instance = open(&folder).await?;
    let served = run(&folder, &instance, output, &mut stop).await;
    let closed = instance.close();
    served?;
    closed?;
    tracing::info!("stopped");
    Ok(())
}

/// Opens the folder for a node that stays: one that runs there already won't go away by waiting.
async fn open(folder: &Folder) -> Result<eidetica::Instance, Failure> {
    match client::reach(folder).await? {
        client::Reached::Opened(instance) => Ok(instance),
        client::Reached::Running(_) => {
            let folder = folder.path.display();
            Err(Failure::failed(format_args!(
                "a node runs on the data folder {folder} already; stop it, or choose another folder with --data"
            )))
        }
    }
}

async fn run(
    folder: &Folder,
    instance: &eidetica::Instance,
    output: Output,
    stop: &mut Stop,
) -> Result<(), Failure> {
    let node = Node::new(folder, instance.clone(), true)?;
    unlock(&node)?;
    folder.chosen.listen(&node.sync).await?;
    let control = Control::bind(&folder.path).map_err(|error| {
        Failure::failed(format_args!("making the control socket in {}: {error}", folder.path.display()))
    })?;
    let addresses: Vec<String> = node.sync.get_server_addresses()?.iter().map(ToString::to_string).collect();
    let (key, data) = (instance.device_key(), folder.path.display().to_string());
    tracing::info!(%key, ?addresses, data, "serving");
    let commands = tokio::spawn(answer_all(control, node));
    if output.json {
        let ready = json!({ "ready": true, "key": key.to_string(), "addresses": addresses, "data": data });
        output.line(&ready.to_string())?;
    } else {
        output.line(&format!("key      {key}"))?;
        for address in &addresses {
            output.line(&format!("address  {address}"))?;
        }
        output.line(&format!("data     {data}"))?;
        output.line("ready")?;
    }
    stop.asked().await;
    tracing::info!("stopping");
    // The socket goes with the task.
    commands.abort();
    let _ = commands.await;
    Ok(())
}

/// Logs the node's own user in where a password seals their keys.
fn unlock(node: &Node) -> Result<(), Failure> {
    if node.holds(OWN_USER) {
        return Ok(());
    }
    match client::password(OWN_USER)? {
        Some(password) => Ok(node.hold(OWN_USER, Some(&password))?),
        None => {
            tracing::warn!("the keys of the node's own user are sealed; set EIDETICA_PASSWORD");
            Ok(())
        }
    }
}

struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    fn new() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn asked(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Answers commands until it is dropped; commands under way then end with it.
async fn answer_all(control: Control, node: Arc<Node>) {
    let places = Arc::new(Semaphore::new(COMMANDS_MAX));
    let mut under_way = tokio::task::JoinSet::new();
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        match control.listener.accept().await {
            Ok((stream, _)) => {
                let node = node.clone();
                under_way.spawn(async move {
                    if let Err(error) = answer(stream, node).await {
                        tracing::debug!(%error, "a command's caller went away");
                    }
                    drop(place);
                });
            }
            Err(error) => {
                // Out of file descriptors, say: others may be given back meanwhile.
                tracing::warn!(%error, "accepting a command");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        while under_way.try_join_next().is_some() {}
    }
}

/// Answers one command.
async fn answer(stream: UnixStream, node: Arc<Node>) -> io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut read = BufReader::new(read);
    let line = tokio::time::timeout(REQUEST_TIMEOUT, read_line(&mut read)).await??;
    let Some(line) = line else { return Ok(()) };
    let request: Request = match serde_json::from_slice(&line) {
        Ok(request) => request,
        Err(error) => {
            let failure = Failure::failed(format_args!(
                "the node doesn't understand this command ({error}); is it of the same version?"
            ));
            return send(&mut write, &Event::Error(failure)).await;
        }
    };
    let (pieces, document) = mpsc::channel(4);
    let mut feeding = tokio::spawn(feed(read, pieces));
    let mut events = handle::start(
        node,
        request,
        Box::new(Document { pieces: document, piece: Vec::new(), at: 0, ended: false }),
    );
    let answered = loop {
        let event =
            events.recv().await.unwrap_or_else(|| Event::Error(Failure::failed("the command broke off")));
        let last = matches!(event, Event::Ok(_) | Event::Error(_));
        if let Err(error) = send(&mut write, &event).await {
            break Err(error);
        }
        if last {
            break Ok(());
        }
    };
    feeding.abort();
    let _ = (&mut feeding).await;
    answered
}

async fn send(write: &mut (impl tokio::io::AsyncWrite + Unpin), event: &Event) -> io::Result<()> {
    let mut line = serde_json::to_vec(event).map_err(io::Error::other)?;
    line.push(b'\n');
    write.write_all(&line).await
}

/// Takes the pieces of a document off the socket.
async fn feed(mut read: BufReader<OwnedReadHalf>, pieces: mpsc::Sender<io::Result<Vec<u8>>>) {
    loop {
        let piece = read_piece(&mut read).await;
        let goes_on = piece.as_ref().is_ok_and(|piece| !piece.is_empty());
        if pieces.send(piece).await.is_err() || !goes_on {
            return;
        }
    }
}

async fn read_piece(read: &mut BufReader<OwnedReadHalf>) -> io::Result<Vec<u8>> {
    let len = read.read_u32().await? as usize;
    if len > PIECE_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a piece of the document is too long"));
    }
    let mut piece = vec![0; len];
    read.read_exact(&mut piece).await?;
    Ok(piece)
}

/// A document that arrives in pieces, the last of them empty, for whoever reads it on a blocking thread.
struct Document {
    pieces: mpsc::Receiver<io::Result<Vec<u8>>>,
    piece: Vec<u8>,
    at: usize,
    ended: bool,
}

impl Read for Document {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.at == self.piece.len() && !self.ended {
            self.piece = self.pieces.blocking_recv().ok_or(io::ErrorKind::UnexpectedEof)??;
            self.at = 0;
            self.ended = self.piece.is_empty();
        }
        let len = into.len().min(self.piece.len() - self.at);
        into[..len].copy_from_slice(&self.piece[self.at..self.at + len]);
        self.at += len;
        Ok(len)
    }
}
