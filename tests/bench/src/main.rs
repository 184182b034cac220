//! Benchmarks: each figure beside a limit that was measured in the same run, their ratio, and the bar it has to reach.
//!
//! ```text
//! cargo run --release -p eidetica-bench [-- [--json] [--scale F] [NAME…]]
//! ```
//!
//! Without names all of them run. Each runs in a process of its own, so that none disturbs another's memory figures.
//! `--scale 0.1` does a tenth of the work: for profilers and for a quick look, never for a verdict.

#![allow(clippy::print_stdout, reason = "a benchmark's result is what it prints")]

mod commit;
mod durable;
mod get;
mod history;
mod live;
mod measure;
mod report;
mod setup;
mod sync;

use std::process::{Command, ExitCode, Stdio};

use report::{Line, Report};

/// What a benchmark can fail with.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// A benchmark: how much of the usual work to do, to what was measured.
type Run = fn(f64) -> Result<Vec<Line>>;

const BENCHMARKS: [(&str, &str, Run); 6] = [
    ("commit", "commits of one key each, in memory", commit::run),
    ("durable", "commits of one key each, on disk, flushed", durable::run),
    ("get", "reading one key of 100,000", get::run),
    ("sync", "a first sync of 20,000 entries over HTTP", sync::run),
    ("live", "a commit until the peer can read it, over an open HTTP link", live::run),
    ("history", "200,000 commits to one database, in memory", history::run),
];

struct Arguments {
    json: bool,
    /// Run this one here and print its report as JSON.
    child: Option<String>,
    scale: f64,
    names: Vec<String>,
}

fn main() -> ExitCode {
    match arguments().and_then(|arguments| match &arguments.child {
        Some(name) => child(name, arguments.scale),
        None => parent(&arguments),
    }) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn arguments() -> Result<Arguments> {
    let mut parsed = Arguments { json: false, child: None, scale: 1.0, names: Vec::new() };
    let mut given = std::env::args().skip(1);
    while let Some(argument) = given.next() {
        match argument.as_str() {
            "--json" => parsed.json = true,
            "--child" => parsed.child = Some(given.next().ok_or("--child needs a name")?),
            "--scale" => {
                let scale = given.next().and_then(|scale| scale.parse().ok());
                parsed.scale = scale.filter(|scale| *scale > 0.0).ok_or("--scale needs a number above 0")?;
            }
            name if BENCHMARKS.iter().any(|(known, ..)| *known == name) => parsed.names.push(argument),
            unknown => {
                let known: Vec<&str> = BENCHMARKS.iter().map(|(name, ..)| *name).collect();
                return Err(
                    format!("there is no benchmark {unknown:?}; there are {}", known.join(", ")).into()
                );
            }
        }
    }
    Ok(parsed)
}

fn child(name: &str, scale: f64) -> Result<()> {
    let (_, about, run) =
        BENCHMARKS.iter().find(|(known, ..)| *known == name).ok_or("there is no such benchmark")?;
    let lines = run(scale)?;
    let report =
        Report { name: name.to_owned(), about: (*about).to_owned(), lines, peak_kib: measure::peak_kib()? };
    println!("{}", serde_json::to_string(&report)?);
    Ok(())
}

fn parent(arguments: &Arguments) -> Result<()> {
    let chosen = BENCHMARKS.iter().filter(|(name, ..)| {
        arguments.names.is_empty() || arguments.names.iter().any(|wanted| wanted == name)
    });
    let (mut reports, mut failed) = (Vec::new(), Vec::new());
    for (name, ..) in chosen {
        let output = Command::new(std::env::current_exe()?)
            .args(["--child", name, "--scale", &arguments.scale.to_string()])
            .stderr(Stdio::inherit())
            .output()?;
        if !output.status.success() {
            failed.push(*name);
            continue;
        }
        let report: Report = serde_json::from_slice(&output.stdout)?;
        if !arguments.json {
            print!("{report}");
        }
        reports.push(report);
    }
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&reports)?);
    }
    if failed.is_empty() { Ok(()) } else { Err(format!("failed: {}", failed.join(", ")).into()) }
}
