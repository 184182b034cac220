//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args as ClapArgs, Parser, Subcommand, ValueEnum};
use eidetica::KeyId;
use eidetica::auth::{Grantee, Permission};

/// A local-first, peer-to-peer database: the node and its command line.
///
/// While a node runs on the data folder (`eidetica serve`), commands are carried out by it; else each opens the folder
/// itself. Exit codes: 0 done, 1 failed, 2 usage, 3 refused, 4 unreachable.
#[derive(Debug, Parser)]
#[command(name = "eidetica", version, propagate_version = true)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command takes.
#[derive(Debug, ClapArgs)]
pub(crate) struct Global {
    /// The data folder; the platform's by default.
    #[arg(long, global = true, value_name = "DIR", env = "EIDETICA_DATA")]
    pub(crate) data: Option<PathBuf>,
    /// A configuration file (TOML).
    #[arg(long, global = true, value_name = "FILE", env = "EIDETICA_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// The profile of the configuration: dev or prod.
    #[arg(long, global = true, value_name = "PROFILE", env = "EIDETICA_PROFILE")]
    pub(crate) profile: Option<String>,
    /// Sets a key of the configuration, over file and environment.
    #[arg(long, global = true, value_name = "KEY=VALUE", action = ArgAction::Append)]
    pub(crate) set: Vec<String>,
    /// Who acts; the node's own user by default. A password is asked for, or read from EIDETICA_PASSWORD.
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) user: Option<String>,
    /// Answers, and errors too, as JSON.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// How to write the log, which goes to stderr; RUST_LOG says how much.
    #[arg(long, global = true, value_name = "FORMAT", default_value = "text")]
    pub(crate) log_format: LogFormat,
}

/// How the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Runs the node until SIGTERM or Ctrl-C.
    Serve {
        /// Where to listen: host:port; port 0 takes a free one.
        #[arg(long, value_name = "ADDR")]
        listen: Option<String>,
    },
    /// Plugins: which are linked into this program, what can be tuned, and a crate to begin one of your own with.
    #[command(subcommand)]
    Plugins(Plugins),
    /// Checks and shows the configuration, without opening anything.
    #[command(subcommand)]
    Config(Config),
    /// Writes completions for a shell.
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
    #[command(flatten)]
    Asking(Asking),
}

#[derive(Debug, Subcommand)]
pub(crate) enum Plugins {
    /// Lists them.
    List,
    /// Shows one, its options and their defaults.
    Show {
        /// backend, transport, store, auth or scheduler.
        kind: String,
        /// Its name.
        name: String,
    },
    /// Writes a crate with a plugin that works, its proof by the conformance kit, and a node that has it linked.
    ///
    /// What it does is small: a transport within the process, a sorted map, a last-writer-wins register, the policy that only
    /// a tree's creator changes rights, syncs at intervals. PLUGINS.md goes on from there.
    New {
        /// What it is.
        kind: PluginKind,
        /// The plugin's name, and its crate's: small letters, digits, `-` and `_`.
        name: String,
        /// The folder in which the crate's own is made.
        #[arg(long, value_name = "DIR", default_value = ".")]
        path: PathBuf,
    },
}

/// The five traits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum PluginKind {
    Backend,
    Transport,
    Store,
    Auth,
    Scheduler,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Config {
    /// Says whether it is in order, and if not, everything that is wrong.
    Check,
    /// Shows each value with its origin.
    Show,
    /// Writes the JSON schema of a configuration file.
    Schema,
}

/// Commands that a node carries out.
#[derive(Debug, Subcommand)]
pub(crate) enum Asking {
    /// Databases: make, list, look at, drop.
    #[command(subcommand)]
    Db(Db),
    /// Sets a value.
    Set {
        /// Name, id, or a unique beginning of the id.
        db: String,
        /// The store; it comes into being with the first value.
        store: String,
        /// Keys joined by dots (`\.` is a dot inside a key); numbers are indexes in lists.
        #[arg(allow_hyphen_values = true)]
        path: String,
        /// The value.
        #[arg(allow_hyphen_values = true, value_name = "JSON")]
        value: String,
    },
    /// Prints a value as JSON.
    Get {
        /// Name, id, or a unique beginning of the id.
        db: String,
        /// The store.
        store: String,
        /// As for set; the whole store without it.
        #[arg(allow_hyphen_values = true)]
        path: Option<String>,
    },
    /// Deletes a value; from a list, one element.
    Delete {
        /// Name, id, or a unique beginning of the id.
        db: String,
        /// The store.
        store: String,
        /// As for set.
        #[arg(allow_hyphen_values = true)]
        path: String,
    },
    /// Adds a value at the end of a list, which comes into being with its first element.
    Append {
        /// Name, id, or a unique beginning of the id.
        db: String,
        /// The store.
        store: String,
        /// As for set; it leads to the list.
        #[arg(allow_hyphen_values = true)]
        path: String,
        /// The value.
        #[arg(allow_hyphen_values = true, value_name = "JSON")]
        value: String,
    },
    /// Replaces a store with a document.
    Import {
        /// Name, id, or a unique beginning of the id.
        db: String,
        /// The store.
        store: String,
        /// A .json or .ndjson file, or - for standard input. Newline-delimited JSON becomes a list.
        file: PathBuf,
        /// It is newline-delimited JSON, whatever its name.
        #[arg(long)]
        ndjson: bool,
    },
    /// Writes a store, or an object of all stores, as JSON.
    Export {
        /// Name, id, or a unique beginning of the id.
        db: String,
        /// The store.
        store: Option<String>,
        /// With line breaks and indentation.
        #[arg(long)]
        pretty: bool,
    },
    /// Makes a ticket by which others can join.
    Share {
        /// Name, id, or a unique beginning of the id.
        db: String,
        #[command(flatten)]
        to: Allowed,
        /// How many keys may join by it.
        #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u32).range(1..))]
        uses: u32,
        /// How long it is good: 30m, 24h, 7d.
        #[arg(long, value_name = "TIME", default_value = "24h", value_parser = duration)]
        expires: Duration,
    },
    /// Joins a database by a ticket; returns when the first sync is complete.
    Join {
        /// As share printed it.
        ticket: String,
    },
    /// Peers: list, add, block, remove, try again, ping.
    #[command(subcommand)]
    Peer(Peer),
    /// Requests for access: make one, list, approve, reject.
    #[command(subcommand)]
    Request(Requests),
    /// Invites, which tickets carry: list, revoke.
    #[command(subcommand)]
    Invite(Invites),
    /// Exchanges databases with peers now: one or all, with one or all.
    Sync {
        /// Name, id, or a unique beginning of the id. A key here is a peer.
        db: Option<String>,
        /// Key, a unique beginning of it, display name, or an address.
        peer: Option<String>,
    },
    /// Gives a key, or "*" for everybody, a permission.
    Grant {
        /// Name, id, or a unique beginning of the id.
        db: String,
        /// The key, or "*".
        key: Grantee,
        /// read, write or admin.
        permission: Permission,
        /// Lower is more senior.
        #[arg(long, value_name = "N", default_value = "100")]
        seniority: u32,
        /// Only this store; may be repeated.
        #[arg(long = "store", value_name = "STORE")]
        stores: Vec<String>,
    },
    /// Takes every right from a key, or from everybody.
    Revoke {
        /// Name, id, or a unique beginning of the id.
        db: String,
        /// The key, or "*".
        key: Grantee,
        /// Void what the key wrote from this entry on: for a key that was stolen.
        #[arg(long, value_name = "ENTRY")]
        since: Option<String>,
    },
    /// Says why an entry has an effect, or none.
    Why {
        /// Name, id, or a unique beginning of the id.
        db: String,
        /// An entry's id, or a unique beginning of it.
        entry: String,
    },
    /// Shows the node, its databases, and how they stand with peers.
    Status {
        /// Go on, and show it whenever it changes.
        #[arg(long)]
        watch: bool,
    },
    /// Re-checks every hash, signature and rule; exit code 1 if something is wrong.
    Verify {
        /// Name, id, or a unique beginning of the id; all without it.
        db: Option<String>,
    },
    /// Derives the state of the stores from the entries again.
    Rebuild {
        /// Name, id, or a unique beginning of the id; all without it.
        db: Option<String>,
    },
    /// Keys: show, export, import.
    #[command(subcommand)]
    Key(Key),
    /// Users: add, list, change passwords.
    #[command(subcommand)]
    User(User),
}

#[derive(Debug, Subcommand)]
pub(crate) enum Db {
    /// Makes a database.
    Create {
        /// Its name.
        name: String,
        /// Even if one of this name is here already; they are told apart by their ids.
        #[arg(long)]
        allow_duplicate: bool,
    },
    /// Lists those held here.
    List,
    /// Shows one: entries, tips, stores, rights.
    Show {
        /// Name, id, or a unique beginning of the id.
        db: String,
    },
    /// Removes one from this node; peers keep theirs.
    Drop {
        /// Name, id, or a unique beginning of the id.
        db: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Peer {
    /// Lists them.
    List,
    /// Registers one, or adds addresses to it.
    Add {
        /// Its key, as `eidetica status` prints it there.
        key: KeyId,
        /// Where it can be reached: host:port, https://…, type:rest.
        #[arg(required = true, value_name = "ADDR")]
        addresses: Vec<String>,
        /// What to call it.
        #[arg(long)]
        name: Option<String>,
    },
    /// Refuses it from now on, both ways.
    Block {
        /// Key, a unique beginning of it, or display name.
        peer: String,
    },
    /// Forgets it.
    Remove {
        /// Key, a unique beginning of it, or display name.
        peer: String,
    },
    /// Forgets its failures, lets it in again if it was blocked, and tries it at once.
    Reset {
        /// Key, a unique beginning of it, or display name.
        peer: String,
    },
    /// Lists what was exchanged with it, newest first.
    History {
        /// Key, a unique beginning of it, or display name.
        peer: String,
        /// How many exchanges at most.
        #[arg(long, value_name = "N", default_value = "20")]
        last: usize,
    },
    /// Measures the round trip to it.
    Ping {
        /// Key, a unique beginning of it, or display name.
        peer: String,
    },
}

/// What is given to, or asked for.
#[derive(Debug, clap::Args)]
#[group(multiple = false)]
pub(crate) struct Allowed {
    /// To read (the default).
    #[arg(long)]
    read: bool,
    /// To read and write.
    #[arg(long)]
    write: bool,
    /// To do everything, rights included.
    #[arg(long)]
    admin: bool,
}

impl Allowed {
    pub(crate) fn permission(&self) -> Permission {
        match (self.read, self.write, self.admin) {
            (_, _, true) => Permission::Admin,
            (_, true, _) => Permission::Write,
            (true | false, false, false) => Permission::Read,
        }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Requests {
    /// Asks a peer for access to a database, and syncs it once that is granted; held requests are asked again by the same command.
    Access {
        /// The database's id; name or beginning where it is here already.
        db: String,
        /// An address; or key, a unique beginning of it, or display name of a peer that is known.
        peer: String,
        #[command(flatten)]
        to: Allowed,
    },
    /// Lists those that wait.
    List {
        /// Those that were decided too.
        #[arg(long)]
        all: bool,
    },
    /// Grants what is asked for; the peer gets it when it asks again, which it does by itself.
    Approve {
        /// A request's id, or a unique beginning of it.
        id: String,
        /// Grant this instead: read, write or admin.
        #[arg(long = "as", value_name = "PERMISSION")]
        permission: Option<Permission>,
    },
    /// Denies it, also when it is asked again.
    Reject {
        /// A request's id, or a unique beginning of it.
        id: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Invites {
    /// Lists those that were made here for a database.
    List {
        /// Name, id, or a unique beginning of the id.
        db: String,
    },
    /// Ends one: nobody joins by it any more. Who has joined stays.
    Revoke {
        /// Name, id, or a unique beginning of the id.
        db: String,
        /// An invite's id, or a unique beginning of it.
        id: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Key {
    /// Shows the user's keys, and the node's own.
    Show,
    /// Prints the secret of a key of the user's: whoever has it is this user.
    Export {
        /// Which one; the first by default.
        key: Option<KeyId>,
    },
    /// Adds a key from what export printed.
    Import {
        /// A file with it, or - for standard input.
        #[arg(default_value = "-")]
        file: PathBuf,
        /// What to call it.
        #[arg(long)]
        name: Option<String>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum User {
    /// Adds a user. The password is asked for, or read from EIDETICA_PASSWORD.
    Add {
        /// Their name.
        name: String,
        /// Without a password.
        #[arg(long)]
        no_password: bool,
    },
    /// Lists them.
    List,
    /// Changes a user's password. The old one, if there is one, is asked for, or read from EIDETICA_PASSWORD.
    Passwd {
        /// Their name.
        name: String,
        /// Remove the password.
        #[arg(long, conflicts_with = "new_from_stdin")]
        no_password: bool,
        /// Read the new password from the first line of standard input.
        #[arg(long)]
        new_from_stdin: bool,
    },
}

/// `30s`, `15m`, `24h`, `7d`; seconds without a unit.
fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let seconds = match &text[digits.len()..] {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        other => return Err(format!("unknown unit \"{other}\"; known: s, m, h, d")),
    };
    let count: u64 =
        digits.parse().map_err(|_| "expected a number and a unit, as 30m, 24h, 7d".to_owned())?;
    match count.checked_mul(seconds).filter(|seconds| *seconds <= 36_525 * 86_400) {
        Some(0) => Err("it would have expired already".to_owned()),
        Some(seconds) => Ok(Duration::from_secs(seconds)),
        None => Err("longer than a hundred years".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Args::command().debug_assert();
    }

    #[test]
    fn what_every_command_takes_goes_with_every_command() {
        // An argument of a command that had the name of a global one would panic.
        for line in [
            "serve --listen 127.0.0.1:0",
            "completions bash",
            "plugins show backend file",
            "plugins new transport foo --path folder",
            "config show",
            "db create notes --allow-duplicate",
            "db show notes",
            "set notes store path 1",
            "get notes store path",
            "delete notes store path",
            "append notes store path -1",
            "import notes store file --ndjson",
            "export notes store --pretty",
            "share notes --write --uses 2 --expires 1h",
            "join ticket",
            "request access 00ff 127.0.0.1:80 --write",
            "request list --all",
            "invite list notes",
            "invite revoke notes 00ff",
            "peer history peer --last 3",
            "request approve 00ff --as read",
            "request reject 00ff",
            "peer ping peer",
            "sync notes peer",
            "grant notes * read --seniority 7 --store a --store b",
            "revoke notes * --since 00",
            "why notes 00",
            "status --watch",
            "verify notes",
            "rebuild notes",
            "key export",
            "key import file --name n",
            "user add bob --no-password",
            "user passwd bob --new-from-stdin",
        ] {
            let global = [
                "--data",
                "d",
                "--config",
                "c",
                "--profile",
                "dev",
                "--set",
                "a.b=1",
                "--user",
                "u",
                "--json",
            ];
            let words = ["eidetica"].into_iter().chain(line.split(' ')).chain(global);
            let args = Args::try_parse_from(words).unwrap_or_else(|error| panic!("{line}: {error}"));
            assert_eq!(args.global.set, ["a.b=1"], "{line}");
            assert!(args.global.json, "{line}");
        }
    }

    #[test]
    fn durations_have_units() {
        assert_eq!(duration("30m"), Ok(Duration::from_secs(1_800)));
        assert_eq!(duration("7d"), Ok(Duration::from_secs(604_800)));
        assert_eq!(duration("90"), Ok(Duration::from_secs(90)));
        for wrong in ["", "h", "1y", "-1h", "0h", "99999999999999999999d", "18446744073709551615d"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
