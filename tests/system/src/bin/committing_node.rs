//! The process that crash tests kill: commits to a database in the folder it is given, and says so on its output.
//!
//! `committing_node FOLDER [COMMITS]`: prints the database's id, then after each commit its number.

use std::io::Write as _;

use eidetica::backend::File;
use eidetica::crdt::Doc;
use eidetica::store::DocStore;
use eidetica::{Instance, Result};

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().expect("a folder as the first argument");
    let commits = arguments.next().map_or(u64::MAX, |count| count.parse().expect("how many commits"));
    let instance = Instance::open(Box::new(File::open(folder)?))?;
    if instance.list_users()?.is_empty() {
        instance.create_user("user", None)?;
    }
    let user = instance.login_user("user", None)?;
    let database = match instance.list_databases()?.first() {
        Some(id) => user.open_database(id)?,
        None => user.create_database(Doc::new(), user.get_default_key()?)?,
    };
    say(database.root_id());
    let first = match database.get_store_viewer::<DocStore>("data")?.get("count") {
        Ok(count) => count.as_i64().unwrap_or_default() as u64,
        Err(_) => 0,
    };
    for number in (first..).take(usize::try_from(commits).unwrap_or(usize::MAX)) {
        let transaction = database.new_transaction()?;
        let store = transaction.get_store::<DocStore>("data")?;
        // Two stores, so that a torn commit would show; a payload of several pieces now and then.
        let length = if number % 16 == 15 { 300_000 } else { 100 };
        store.set_path(format!("rows.{number}"), "x".repeat(length))?;
        store.set("count", number as i64 + 1)?;
        transaction.get_store::<DocStore>("more")?.set("count", number as i64 + 1)?;
        transaction.commit()?;
        say(number + 1);
    }
    instance.close()
}

/// One line, at once.
fn say(line: impl std::fmt::Display) {
    writeln!(std::io::stdout(), "{line}").expect("the parent reads");
}
