//! A first sync. The limit: verifying a signature per entry, in batches, on one core.

use std::time::Instant;

use eidetica::auth::Permission;
use eidetica::store::DocStore;
use eidetica::sync::InviteOptions;
use eidetica_kernel::{SecretKey, SignatureBatch};

use crate::Result;
use crate::measure::{median, rate, timed};
use crate::report::{Bar, Line};
use crate::setup::{Node, Observed, STORE, commit, held_bytes, key, memory};

const ENTRIES: f64 = 20_000.0;
const ROUNDS: usize = 3;
const SIGNATURES: usize = 256;

pub(crate) fn run(scale: f64) -> Result<Vec<Line>> {
    let entries = (ENTRIES * scale) as usize;
    let backend_of_a = memory();
    let a = Node::serving(backend_of_a.clone())?;
    let here = a.database()?;
    timed(entries, |n| commit(&here, n))?;
    let (mut rates, mut stored, mut sent) = (Vec::new(), Vec::new(), Vec::new());
    let mut held = 0;
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    for _ in 0..ROUNDS {
        let backend = Observed::new(memory());
        let b = Node::serving(backend.clone())?;
        let ticket = here.invite(Permission::Read, InviteOptions::default())?;
        let (bytes, on_loopback) = (backend.bytes(), loopback_bytes()?);
        let start = Instant::now();
        let there = runtime.block_on(b.user.join(&ticket))?;
        let took = start.elapsed();
        sent.push((loopback_bytes()? - on_loopback) as f64 / 1e6 / took.as_secs_f64());
        stored.push((backend.bytes() - bytes) as f64 / 1e6 / took.as_secs_f64());
        let last = there.get_store_viewer::<DocStore>(STORE)?.get(key(entries - 1))?;
        if there.entry_count() < entries as u64 || last.as_i64() != Some(entries as i64 - 1) {
            return Err(format!("only {} entries came", there.entry_count()).into());
        }
        rates.push(rate(there.entry_count() as usize, took));
        held = held_bytes(&*backend)?;
        b.instance.close()?;
    }
    held += held_bytes(&*backend_of_a)?;
    a.instance.close()?;
    Ok(vec![
        Line::new("entries, first sync", median(&mut rates), "/s")
            .limit(format!("signatures verified/s, batches of {SIGNATURES}, 1 core"), verified_per_second()?)
            .bar(Bar::AtLeast(10_000.0))
            .note("from dialling to the end of the first exchange; above 1: an author's last entry vouches for the earlier ones"),
        Line::new("keys and values persisted", median(&mut stored), "MB/s"),
        Line::peak_memory(held)?,
        Line::new("bytes on the loopback interface", median(&mut sent), "MB/s")
            .note("compressed, sealed, both directions; counts what others send there too"),
    ])
}

/// Signatures of one author, verified in batches.
fn verified_per_second() -> Result<f64> {
    let author = SecretKey::from_bytes([7; 32]);
    let public = author.public_key();
    let messages: Vec<_> = (0..SIGNATURES)
        .map(|n| {
            let message = [n as u8; 64];
            (message, author.sign(&message))
        })
        .collect();
    let mut rates = Vec::new();
    for _ in 0..20 {
        let took = timed(1, |_| {
            let mut batch = SignatureBatch::new();
            for (message, signature) in &messages {
                batch.push(&public, message, signature);
            }
            if batch.invalid([3; 32]).is_empty() { Ok(()) } else { Err("a signature is invalid".into()) }
        })?;
        rates.push(rate(SIGNATURES, took));
    }
    Ok(median(&mut rates))
}

/// Bytes that the loopback interface has carried.
fn loopback_bytes() -> Result<u64> {
    let table = std::fs::read_to_string("/proc/self/net/dev")?;
    let row = table.lines().find_map(|line| line.trim_start().strip_prefix("lo:")).ok_or("no loopback")?;
    Ok(row.split_whitespace().next().ok_or("no loopback")?.parse()?)
}
