//! The node `eidetica`: daemon and command line, as a library.
//!
//! A node with further plugins is a program of one's own that links them:
//!
//! ```no_run
//! // use my_transport as _;
//! fn main() -> std::process::ExitCode {
//!     eidetica_node::main()
//! }
//! ```
//!
//! A command is a request to a node: to the one that runs on the data folder, through a socket in that folder, else
//! to one that this process opens for as long as the command takes. Both answer through the same handlers.
//!
//! Exit codes: 0 done; 1 failed; 2 usage; 3 refused; 4 unreachable.

#![deny(unused_crate_dependencies)]

mod args;
mod client;
mod control;
mod failure;
mod folder;
mod handle;
mod local;
mod node;
mod output;
mod plugins;
mod pretty;
mod request;
mod serve;

use std::process::ExitCode;

use clap::Parser;
use eidetica_plugins as _;
#[cfg(test)]
use tempfile as _; // for the tests of the program

use crate::args::{Args, Command};
use crate::failure::{Exit, Failure};
use crate::output::Output;

/// The program: reads the command line, does what it says, and returns the exit code.
pub fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            if error.use_stderr() && asks_for_json(std::env::args_os().skip(1)) {
                let message = error.render().to_string();
                let message = message.trim().trim_start_matches("error: ");
                Output { json: true }.failure(&Failure::usage(message));
                return ExitCode::from(Exit::Usage as u8);
            }
            // Help and version are no errors; a closed pipe keeps neither from being said.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { Exit::Usage as u8 } else { 0 });
        }
    };
    let output = Output { json: args.global.json };
    let serves = matches!(args.command, Command::Serve { .. });
    match run(args, output) {
        Ok(()) => ExitCode::SUCCESS,
        // Who has read enough of an answer has what they wanted; a node that can't say that it is ready has failed.
        Err(failure) if failure.unread && !serves => ExitCode::SUCCESS,
        Err(failure) => {
            output.failure(&failure);
            ExitCode::from(failure.exit as u8)
        }
    }
}

/// Whether errors are wanted as JSON, from a command line that couldn't be read.
fn asks_for_json(words: impl Iterator<Item = std::ffi::OsString>) -> bool {
    words.take_while(|word| word != "--").any(|word| word == "--json")
}

fn run(args: Args, output: Output) -> Result<(), Failure> {
    let serves = matches!(args.command, Command::Serve { .. });
    output::trace(args.global.log_format, serves)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::failed(format!("starting: {error}")))?;
    let done = match args.command {
        Command::Serve { listen } => runtime.block_on(serve::serve(&args.global, listen, output)),
        Command::Plugins(command) => plugins::run(&command, output),
        Command::Config(command) => local::config(&args.global, &command, output),
        Command::Completions { shell } => local::completions(shell),
        Command::Asking(command) => runtime.block_on(client::ask(&args.global, command, output)),
    };
    // Handlers that a signal or an error left behind don't hold the program up.
    runtime.shutdown_background();
    done
}
