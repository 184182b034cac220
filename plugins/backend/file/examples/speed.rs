//! Prints what commits and flushes cost beside the disk's own price: `cargo run --release --example speed [FOLDER]`.
#![allow(clippy::print_stdout, reason = "an example program")]

use std::io::Write as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use eidetica_backend_file::File;
use eidetica_kernel::backend::{Backend, Batch};

type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;

const ROUND: Duration = Duration::from_secs(2);

fn main() -> Outcome {
    let base = std::env::args_os().nth(1).map_or_else(std::env::temp_dir, PathBuf::from);
    let folder = base.join(format!("eidetica-speed-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let measured = measure(&folder);
    std::fs::remove_dir_all(&folder)?;
    measured
}

fn measure(folder: &std::path::Path) -> Outcome {
    let raw = std::fs::File::create(folder.join("raw"))?;
    let backend = File::open(folder.join("rows"))?;
    // Turn about, since a disk's price changes from second to second.
    for _ in 0..3 {
        let appended = per_second(1, |_, _| {
            (&raw).write_all(&[7; 500])?;
            Ok(raw.sync_data()?)
        })?;
        let durable = per_second(1, |thread, number| {
            backend.commit(batch(thread, number))?;
            Ok(backend.flush()?)
        })?;
        println!(
            "raw append + fdatasync {appended:.0}/s, commit of 4 rows + flush {durable:.0}/s, ratio {:.2}",
            durable / appended
        );
    }
    for threads in [4, 16] {
        let durable = per_second(threads, |thread, number| {
            backend.commit(batch(thread, number))?;
            Ok(backend.flush()?)
        })?;
        println!("{threads} threads, commit + flush: {durable:.0}/s");
    }
    let plain = per_second(1, |thread, number| Ok(backend.commit(batch(thread, number))?))?;
    println!("commit without flush: {plain:.0}/s");
    let shared = per_second(1, |thread, number| {
        backend.commit(batch(thread, number))?;
        if number % 1_000 == 0 {
            backend.flush()?;
        }
        Ok(())
    })?;
    println!("commit, a flush per 1,000: {shared:.0}/s");
    let gets = per_second(1, |_, number| {
        backend.get(&[&[1, 0], &(number % 4_000).to_be_bytes()[..]].concat())?;
        Ok(())
    })?;
    println!("get: {gets:.0}/s");
    let started = Instant::now();
    drop(backend);
    let closed = started.elapsed();
    let started = Instant::now();
    drop(File::open(folder.join("rows"))?);
    println!("dropped in {closed:?}, opened in {:?}", started.elapsed());
    Ok(())
}

fn per_second(threads: u8, work: impl Fn(u8, u64) -> Outcome + Sync) -> Outcome<f64> {
    let started = Instant::now();
    let total = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads)
            .map(|thread| {
                let work = &work;
                scope.spawn(move || {
                    let mut number = 0;
                    while started.elapsed() < ROUND {
                        work(thread, number).map_err(|error| error.to_string())?;
                        number += 1;
                    }
                    Ok::<u64, String>(number)
                })
            })
            .collect();
        let counts =
            threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| Err("a panic".into())));
        counts.sum::<Result<u64, String>>()
    })?;
    Ok(total as f64 / started.elapsed().as_secs_f64())
}

/// A row per table, about 500 bytes together; one key is random as a hash is.
fn batch(thread: u8, number: u64) -> Batch {
    let mut batch = Batch::new();
    let random = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    for (table, number, length) in [(1, number, 250), (2, random, 16), (3, number, 100), (4, number, 60)] {
        let key = [&[table, thread], &number.to_be_bytes()[..]].concat();
        batch.put(key, vec![table; length]);
    }
    batch
}
