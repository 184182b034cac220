//! Whether commits slow down as a database's history grows. The limit: the speed at its beginning.

use std::sync::Arc;

use eidetica::Database;
use eidetica::backend::Backend;

use crate::Result;
use crate::measure::{Pairs, rate, timed};
use crate::report::{Bar, Line};
use crate::setup::{Node, commit, held_bytes, memory};

const COMMITS: f64 = 200_000.0;
/// Parts of the first and of the last tenth that are measured in turns.
const TURNS: usize = 20;

/// A database with its number of commits so far.
struct Grown {
    backend: Arc<dyn Backend>,
    database: Database,
    commits: usize,
}

impl Grown {
    fn new() -> Result<Self> {
        let backend = memory();
        let mut new = Self { database: Node::open(backend.clone())?.database()?, backend, commits: 0 };
        // Caches and the allocator warm up first.
        new.grow(1_000)?;
        Ok(new)
    }

    /// Commits per second.
    fn grow(&mut self, commits: usize) -> Result<f64> {
        let took = timed(commits, |_| {
            self.commits += 1;
            commit(&self.database, self.commits)
        })?;
        Ok(rate(commits, took))
    }
}

pub(crate) fn run(scale: f64) -> Result<Vec<Line>> {
    let tenth = (COMMITS * scale / 10.0) as usize;
    let mut old = Grown::new()?;
    let mut tenths = Vec::new();
    for _ in 0..9 {
        tenths.push(old.grow(tenth)?);
    }
    // A machine's speed may change within seconds: the last tenth of one history and the first of another take turns.
    let mut young = Grown::new()?;
    let mut pairs = Pairs::new();
    for _ in 0..TURNS {
        pairs.push(old.grow(tenth / TURNS)?, young.grow(tenth / TURNS)?);
    }
    let last = pairs.medians();
    tenths.push(last.value);
    let tenths: Vec<String> = tenths.iter().map(|rate| format!("{rate:.0}")).collect();
    let held = held_bytes(&*old.backend)? + held_bytes(&*young.backend)?;
    Ok(vec![
        Line::new("commits, last tenth", last.value, "/s")
            .limit_with_ratio("first tenth, in turns", last.limit, last.ratio)
            .bar(Bar::RatioAtLeast(0.9))
            .note(format!("all tenths: {}", tenths.join(" "))),
        Line::peak_memory(held)?,
    ])
}
