//! Shared notes: `notes DIR [TICKET]`.
//!
//! Without a ticket it creates a notebook in the folder and prints a ticket; with one it joins that notebook. Either way
//! each line typed becomes a note on both sides, and an empty line lists them.
#![allow(clippy::print_stdout, reason = "that is what it is for")]

use std::io::BufRead;

use eidetica::auth::Permission;
use eidetica::backend::File;
use eidetica::crdt::Doc;
use eidetica::store::DocStore;
use eidetica::sync::{InviteOptions, Ticket};
use eidetica::{Database, Instance, Result};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().unwrap_or_else(|| "notes-data".to_owned());
    let instance = Instance::open(Box::new(File::open(&folder)?))?.enable_sync()?;
    if instance.list_users()?.is_empty() {
        instance.create_user("me", None)?;
    }
    let user = instance.login_user("me", None)?;
    let sync = instance.sync()?;
    sync.enable_http_transport()?;
    sync.start_server_async("127.0.0.1:0").await?;

    let notes: Database = match (arguments.next(), instance.list_databases()?.first()) {
        (Some(ticket), _) => user.join(&ticket.parse::<Ticket>()?).await?,
        (None, Some(known)) => user.open_database(known)?,
        (None, None) => user.create_database(Doc::new(), user.get_default_key()?)?,
    };
    if notes.permission_of(user.get_default_key()?)? == Some(Permission::Admin) {
        println!("share this: {}", notes.invite(Permission::Write, InviteOptions::default())?);
    }
    for line in std::io::stdin().lock().lines().map_while(std::result::Result::ok) {
        if line.is_empty() {
            for (number, note) in notes.get_store_viewer::<DocStore>("notes")?.get_all()?.iter() {
                println!("{number}: {note}");
            }
            continue;
        }
        let transaction = notes.new_transaction()?;
        let store = transaction.get_store::<DocStore>("notes")?;
        let number = store.keys()?.len() + 1;
        store.set(format!("{number:04} by {}", user.get_default_key()?.short()), line)?;
        transaction.commit_async().await?;
    }
    instance.close()
}
