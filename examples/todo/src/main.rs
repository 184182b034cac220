//! A todo list that several people share: `todo add TEXT`, `list`, `done N`, `share`, `join TICKET`.
//!
//! A folder has one list. Run again, `join` exchanges what has changed since; `share` does it all the time.
#![allow(clippy::print_stdout, reason = "that is what it is for")]

use eidetica::store::{RowId, Table};
use eidetica::sync::{InviteOptions, Ticket};
use eidetica::{Instance, Result, auth::Permission, backend::File, crdt::Doc};

/// A todo list that several people share
#[derive(clap::Parser)]
#[command(name = "todo")]
struct Arguments {
    /// The folder with the list
    #[arg(long, global = true, env = "TODO_DATA", default_value = "todo-data")]
    data: std::path::PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
#[rustfmt::skip]
enum Command {
    /// Add a task
    Add { text: String },
    /// List the tasks with their numbers
    List,
    /// Tick a task off
    Done { number: usize },
    /// Print a ticket, and exchange changes until Ctrl-C
    Share { #[arg(long, default_value = "127.0.0.1:0")] listen: String },
    /// Fetch the list of a ticket, or exchange changes with it again
    Join { ticket: Ticket },
}

#[derive(serde::Serialize, serde::Deserialize)]
struct Task {
    text: String,
    done: bool,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::process::ExitCode {
    let run = run(clap::Parser::parse()).await.inspect_err(|error| eprintln!("todo: {error}"));
    u8::from(run.is_err()).into()
}

async fn run(Arguments { data, command }: Arguments) -> std::result::Result<(), Box<dyn std::error::Error>> {
    let instance = Instance::open(Box::new(File::open(data)?))?.enable_sync()?;
    if instance.list_users()?.is_empty() {
        instance.create_user("me", None)?;
    }
    let user = instance.login_user("me", None)?;
    let sync = instance.sync()?;
    sync.enable_http_transport()?;
    let list = match (&command, instance.list_databases()?.first()) {
        (Command::Join { ticket }, held) if held.is_none_or(|held| held == ticket.database()) => {
            user.join(ticket).await?
        }
        (Command::Join { .. }, _) => {
            return Err("this folder has another list: name a new one with --data".into());
        }
        (_, Some(held)) => user.open_database(held)?,
        (Command::List | Command::Done { .. }, None) => return Err("there is no list yet: add a task".into()),
        (_, None) => user.create_database(Doc::new(), user.get_default_key()?)?,
    };
    let transaction = list.new_transaction()?;
    let tasks = transaction.get_store::<Table<Task>>("tasks")?;
    let mut all = tasks.scan().collect::<Result<Vec<(RowId, Task)>>>()?;
    match command {
        Command::Add { text } => {
            let task = Task { text, done: false };
            all.push((tasks.insert(&task)?, task));
            transaction.commit()?;
        }
        Command::Done { number } => {
            let found = number.checked_sub(1).and_then(|at| all.get_mut(at));
            let (id, task) = found.ok_or("there is no task of that number")?;
            task.done = true;
            tasks.update(id, task)?;
            transaction.commit()?;
        }
        Command::Share { listen } => {
            sync.start_server_async(listen).await?;
            let ticket =
                list.invite(Permission::Write, InviteOptions { uses: None, ..Default::default() })?;
            println!("Others run this, and again to exchange changes:\n\n    todo join '{ticket}'\n");
            println!("Ctrl-C ends it.");
            return Ok(tokio::signal::ctrl_c().await?);
        }
        Command::List | Command::Join { .. } => {}
    }
    for (number, (_, task)) in (1..).zip(&all) {
        println!("{number:3} [{}] {}", if task.done { 'x' } else { ' ' }, task.text);
    }
    println!("{} of {} done", all.iter().filter(|(_, task)| task.done).count(), all.len());
    Ok(instance.close()?)
}
