//! One scenario under every combination of backend, transport, scheduler and admission, chosen by the config file alone.
//!
//! The combinations are those of the plugins that are linked. Some of them:
//! `cargo test -p eidetica-system-tests --test matrix -- iroh::periodic`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod combination;
mod scenario;

use std::process::ExitCode;

use eidetica_kernel::registry::Registry;
use eidetica_plugins as _;
use libtest_mimic::{Arguments, Failed, Trial};

use crate::combination::{Axes, Combination};

/// How many run at a time: mostly they wait, for disks, peers and intervals.
const AT_A_TIME: usize = 8;

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(AT_A_TIME);
    let axes = Axes::of(&Registry::linked().unwrap());
    let combinations = axes.combinations();
    if !arguments.list {
        // As the test harness itself does: for people and for machines.
        eprintln!("\n{axes} = {} combinations", combinations.len());
    }
    let trials = combinations.into_iter().map(|combination| {
        Trial::test(format!("matrix::{combination}"), move || run(&combination).map_err(Failed::from))
    });
    libtest_mimic::run(&arguments, trials.collect()).exit_code()
}

/// Writes a config file for each of two nodes, and has the scenario go by them. Like a node, on one thread.
fn run(combination: &Combination) -> eidetica::Result<()> {
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let files = folders.each_ref().map(|folder| {
        let file = folder.path().join("node.toml");
        std::fs::write(&file, combination.file(folder.path())).unwrap();
        file
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(scenario::two_nodes([&files[0], &files[1]]))
}
