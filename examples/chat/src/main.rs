//! A chat in the terminal: `chat --name alice create ROOM`, `chat --name bob join TICKET`.
//!
//! A room is a database that every member has a copy of. Messages written while nobody can be reached arrive later; members
//! find each other's nodes in the room itself, so that it goes on without the one who made it.
#![allow(clippy::print_stdout, reason = "the ticket is to be left on the terminal")]

mod app;
mod input;
mod room;
mod screen;
mod text;

use std::io::{IsTerminal, stdin, stdout};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use eidetica::sync::Ticket;
use jiff::tz::TimeZone;

use crate::app::App;
use crate::room::Home;

/// Whatever ends the program.
pub(crate) type Failure = Box<dyn std::error::Error>;

/// A chat in the terminal
#[derive(Parser)]
#[command(name = "chat")]
struct Arguments {
    /// What others see of you
    #[arg(long, env = "USER", value_parser = name)]
    name: String,
    /// The folder with your rooms; without it they are forgotten in the end
    #[arg(long)]
    data: Option<PathBuf>,
    /// Where to listen over HTTP, HOST:PORT; without it where the folder's node did before, or at a free port of this machine
    #[arg(long)]
    listen: Option<String>,
    /// Talk over iroh, through NATs and relays too; over HTTP besides only with --listen
    #[arg(long)]
    iroh: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make a room, and print the ticket that others join with
    Create {
        /// Its name
        #[arg(value_parser = name)]
        room: String,
    },
    /// Join the room of a ticket
    Join {
        /// What `create` or /ticket showed
        ticket: Ticket,
    },
    /// Open a room again that is kept in the folder
    Open {
        /// Its name
        room: String,
    },
}

fn name(text: &str) -> Result<String, &'static str> {
    let name = text.trim();
    if name.is_empty() || text::plain(name) != name || name.contains('\n') {
        return Err("a name has at least one character, and no control characters");
    }
    if name.len() > 100 { Err("a name has 100 bytes at most") } else { Ok(name.to_owned()) }
}

#[cfg(feature = "iroh")]
fn enable_iroh(home: &Home) -> Result<(), Failure> {
    Ok(home.enable_iroh(eidetica::sync::transports::iroh::IrohTransport::new())?)
}

#[cfg(not(feature = "iroh"))]
fn enable_iroh(_: &Home) -> Result<(), Failure> {
    Err("this build has no iroh: build it with --features iroh".into())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("chat: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<(), Failure> {
    if !(stdin().is_terminal() && stdout().is_terminal()) {
        return Err("it needs a terminal".into());
    }
    let home = Home::open(arguments.data.as_deref(), &arguments.name)?;
    if arguments.iroh {
        enable_iroh(&home)?;
    }
    if !arguments.iroh || arguments.listen.is_some() {
        home.enable_http()?;
    }
    home.listen(arguments.listen.as_deref()).await?;
    let mut ticket = None;
    let room = match arguments.command {
        Command::Create { room } => {
            if home.find(&room)?.is_some() {
                return Err(format!("there is a room {room:?} in the folder: \"open\" opens it").into());
            }
            let room = home.create(&room)?;
            let made = room.ticket()?.to_string();
            println!("Others join with this ticket:\n\n{made}\n");
            ticket = Some(made);
            room
        }
        Command::Join { ticket } => {
            println!("Joining …");
            home.join(&ticket).await?
        }
        Command::Open { room } => {
            let found = home.find(&room)?;
            let hint = || format!("there is no room {room:?} in the folder: make or join one, with --data");
            home.enter(found.ok_or_else(hint)?)?
        }
    };
    App::new(room, ticket, TimeZone::system())?.run().await
}
