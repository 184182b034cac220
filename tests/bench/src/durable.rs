//! Commits that are on disk when they return. The limit: appending as many bytes to a file, and `fdatasync` after each.

use std::io::Write;
use std::sync::Arc;

use eidetica::backend::File;

use crate::Result;
use crate::measure::{Pairs, median, rate, rate_of_threads, thread_time, timed};
use crate::report::{Bar, Line};
use crate::setup::{Node, Observed, commit, memory};

const ROUNDS: usize = 10;
const PER_ROUND: f64 = 300.0;
const THREADS: usize = 8;

pub(crate) fn run(scale: f64) -> Result<Vec<Line>> {
    let per_round = (PER_ROUND * scale).max(THREADS as f64) as usize;
    let record = vec![0x5a; bytes_per_commit()?];
    let folder = tempfile::tempdir()?;
    let mut appended = std::fs::File::create(folder.path().join("appended"))?;
    let data = folder.path().join("data");
    let node = Node::open(Arc::new(File::open(&data)?))?;
    let database = node.database()?;
    let (mut alone, mut shared, mut reopened) = (Pairs::new(), Pairs::new(), Pairs::new());
    let mut busy_us = Vec::new();
    let mut n = 0;
    for round in 0..=ROUNDS {
        let raw = timed(per_round, |_| {
            appended.write_all(&record)?;
            Ok(appended.sync_data()?)
        })?;
        let busy = thread_time()?;
        let commits = timed(per_round, |_| {
            n += 1;
            commit(&database, n)
        })?;
        busy_us.push((thread_time()? - busy).as_secs_f64() * 1e6 / per_round as f64);
        let each = per_round / THREADS;
        let together =
            rate_of_threads(THREADS, each, |thread, turn| commit(&database, n + 1 + thread * each + turn))?;
        n += THREADS * each;
        if round > 0 {
            alone.push(rate(per_round, commits), rate(per_round, raw));
            shared.push(together, rate(per_round, raw));
        }
    }
    let id = *database.root_id();
    node.instance.close()?;
    let node = Node::reopen(Arc::new(File::open(&data)?))?;
    let database = node.instance.load_database(id)?;
    for round in 0..=ROUNDS {
        let raw = timed(per_round, |_| {
            appended.write_all(&record)?;
            Ok(appended.sync_data()?)
        })?;
        let commits = timed(per_round, |_| {
            n += 1;
            commit(&database, n)
        })?;
        if round > 0 {
            reopened.push(rate(per_round, commits), rate(per_round, raw));
        }
    }
    node.instance.close()?;
    let limit = format!("appends of {} B with fdatasync/s", record.len());
    let (alone, shared, reopened) = (alone.medians(), shared.medians(), reopened.medians());
    Ok(vec![
        Line::new("durable commits, 1 thread", alone.value, "/s")
            .limit_with_ratio(limit.clone(), alone.limit, alone.ratio)
            .bar(Bar::RatioAtLeast(0.6))
            .note(format!(
                "{:.0} us of processor time each in the calling thread: the faster the disk, the more it weighs",
                median(&mut busy_us)
            )),
        Line::new("durable commits, 1 thread, folder opened again", reopened.value, "/s")
            .limit_with_ratio(limit.clone(), reopened.limit, reopened.ratio)
            .note("each flush writes the journal's new length too, until the journal is full and a new one begins"),
        Line::new(format!("durable commits, {THREADS} threads, one database"), shared.value, "/s")
            .limit_with_ratio(limit, shared.limit, shared.ratio)
            .note("above 1: concurrent commits share a flush"),
    ])
}

/// Bytes of keys and values that a commit of one key writes.
fn bytes_per_commit() -> Result<usize> {
    const COMMITS: usize = 200;
    let observed = Observed::new(memory());
    let database = Node::open(observed.clone())?.database()?;
    let before = observed.bytes();
    timed(COMMITS, |n| commit(&database, n))?;
    Ok((observed.bytes() - before) as usize / COMMITS)
}
