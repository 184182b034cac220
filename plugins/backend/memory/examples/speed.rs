//! Prints what a batch of ten small rows costs as the map grows: `cargo run --release --example speed`.
#![allow(clippy::print_stdout, reason = "an example program")]

use std::time::Instant;

use eidetica_backend_memory::InMemory;
use eidetica_kernel::backend::{Backend, Batch};
use eidetica_kernel::error::Result;

const BATCHES: u64 = 200_000;
const TENTH: u64 = BATCHES / 10;

fn main() -> Result<()> {
    for (name, snapshots) in [("no snapshot", false), ("a snapshot per batch", true)] {
        for (shape, random) in [("2 of 10 keys random", 2), ("all keys random", 10)] {
            let per_batch = run(snapshots, random)?;
            let [first, .., last] = per_batch[..] else { continue };
            println!(
                "{name}, {shape}: first tenth {first} ns, last tenth {last} ns per batch of 10 rows, ratio {:.2}",
                first as f64 / last as f64
            );
        }
    }
    Ok(())
}

fn run(snapshots: bool, random: u8) -> Result<Vec<u64>> {
    let backend = InMemory::new();
    let mut seed = 88_172_645_463_325_252_u64;
    let mut tenths = Vec::new();
    let mut started = Instant::now();
    for number in 0..BATCHES {
        let mut batch = Batch::new();
        let generation = number.to_be_bytes().to_vec();
        match number {
            0 => batch.expect_absent("generation"),
            _ => batch.expect_equals("generation", (number - 1).to_be_bytes().to_vec()),
        };
        batch.put("generation", generation);
        for row in 0..10_u8 {
            let mut key = vec![row, 0, 0, 0, 1];
            if row < random {
                seed ^= seed << 13;
                seed ^= seed >> 7;
                seed ^= seed << 17;
                key.extend_from_slice(&seed.to_be_bytes());
            } else {
                key.extend_from_slice(&number.to_be_bytes());
            }
            key.extend_from_slice(b"some/path");
            batch.put(key, vec![row; 40]);
        }
        let snapshot = if snapshots { Some(backend.snapshot()?) } else { None };
        backend.commit(batch)?;
        drop(snapshot);
        if (number + 1) % TENTH == 0 {
            tenths.push(u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX) / TENTH);
            started = Instant::now();
        }
    }
    Ok(tenths)
}
