//! Several threads at once.

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use eidetica_kernel::backend::{Backend, Batch, Row, Scan, Watch};
use eidetica_kernel::error::ErrorKind;

use super::check::{Random, all_rows, put};
use super::suite::{Case, Place};
use crate::check::{Outcome, ensure, fail, same};

pub(super) const CASES: &[Case] = &[
    Case::new("of_competing_commits_one_wins", "B2 B7", of_competing_commits_one_wins),
    Case::new("no_increment_is_lost", "B2 B7", no_increment_is_lost),
    Case::new("a_watch_tells_of_what_can_be_read", "B4 B7", a_watch_tells_of_what_can_be_read),
    Case::new("readers_see_whole_batches", "B1 B7 S1", readers_see_whole_batches),
    Case::new("flushes_run_beside_commits", "B5 B7", flushes_run_beside_commits),
];

const THREADS: usize = 4;
const INCREMENTS: u64 = 150;

fn number(value: Option<Bytes>) -> Outcome<u64> {
    match value.as_deref().map(<[u8; 8]>::try_from) {
        None => Ok(0),
        Some(Ok(bytes)) => Ok(u64::from_be_bytes(bytes)),
        Some(Err(_)) => fail("a value that nobody wrote"),
    }
}

/// Runs `work` in several threads and returns the first failure.
fn in_threads(work: impl Fn(usize) -> Outcome + Sync) -> Outcome {
    thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> = (0..THREADS).map(|thread| scope.spawn(move || work(thread))).collect();
        threads.into_iter().try_for_each(|thread| match thread.join() {
            Ok(outcome) => outcome,
            Err(_) => fail("a thread panicked"),
        })
    })
}

const ROUNDS: u64 = 200;

/// In each round all threads read the same value before any of them writes, so that it doesn't take luck to meet. Every second
/// time they write several rows: what is right for one row isn't always for more.
fn of_competing_commits_one_wins(place: &Place) -> Outcome {
    let backend = place.open()?;
    let together = Barrier::new(THREADS);
    let won = AtomicU64::new(0);
    in_threads(|thread| {
        let mut failed = None;
        for round in 0..ROUNDS {
            let mut batch = increment(&*backend);
            if let (Ok(batch), 1) = (&mut batch, round % 2) {
                batch.put("winner", vec![thread as u8]).put("round", round.to_be_bytes().to_vec());
            }
            together.wait();
            // A thread that fails goes on to the barriers, where the others wait for it.
            match batch.map(|batch| backend.commit(batch)) {
                Ok(Ok(())) => drop(won.fetch_add(1, Ordering::SeqCst)),
                Ok(Err(error)) if error.kind() == ErrorKind::Conflict => {}
                Ok(Err(error)) => failed = Some(error.into()),
                Err(error) => failed = Some(error),
            }
            together.wait();
        }
        failed.map_or(Ok(()), Err)
    })?;
    same("commits that won, one per round", won.into_inner(), ROUNDS)?;
    same("the counter", number(backend.get(b"counter")?)?, ROUNDS)
}

/// Writes the counter's next value if it still has the one read here.
fn increment(backend: &dyn Backend) -> Outcome<Batch> {
    let found = backend.get(b"counter")?;
    let mut batch = Batch::new();
    match &found {
        Some(value) => batch.expect_equals("counter", value.clone()),
        None => batch.expect_absent("counter"),
    };
    batch.put("counter", (number(found)? + 1).to_be_bytes().to_vec());
    Ok(batch)
}

fn no_increment_is_lost(place: &Place) -> Outcome {
    let backend = place.open()?;
    in_threads(|_| {
        for _ in 0..INCREMENTS {
            loop {
                match backend.commit(increment(&*backend)?) {
                    Ok(()) => break,
                    Err(error) if error.kind() == ErrorKind::Conflict => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(())
    })?;
    same("the counter", number(backend.get(b"counter")?)?, THREADS as u64 * INCREMENTS)
}

/// Whoever is told of a change and then reads has read it: nobody tells a second time.
fn a_watch_tells_of_what_can_be_read(place: &Place) -> Outcome {
    let backend = place.open()?;
    // A backend without watches is polled by the engine.
    let Some(mut watch) = backend.watch(b"round") else { return Ok(()) };
    let committed = AtomicU64::new(0);
    let (together, over) = (Barrier::new(2), AtomicBool::new(false));
    let started = Instant::now();
    thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut outcome = Ok(());
            for round in 1.. {
                outcome = outcome.and(backend.commit(put(b"round", &u64::to_be_bytes(round))));
                committed.store(round, Ordering::SeqCst);
                together.wait();
                if over.load(Ordering::SeqCst) {
                    break;
                }
            }
            outcome
        });
        let mut outcome = Ok(());
        for round in 1.. {
            let read = read_when_told(&*backend, &mut *watch, || committed.load(Ordering::SeqCst) >= round);
            outcome = outcome.and(read.and_then(|read| {
                ensure(read == Some(round), || {
                    format!(
                        "the watch told of commit {round}, what was read then is {read:?}, and it tells no more"
                    )
                })
            }));
            // The writer waits where all is over as well.
            let last = outcome.is_err() || (round >= WATCHED_MIN && started.elapsed() >= WATCHED);
            over.store(last, Ordering::SeqCst);
            together.wait();
            if last {
                break;
            }
        }
        match writer.join() {
            Ok(written) => written.map_err(Into::into).and(outcome),
            Err(_) => fail("a writer panicked"),
        }
    })
}

/// The moment in which a watch goes wrong may be short: as many commits as fit in.
const WATCHED: Duration = Duration::from_secs(1);
const WATCHED_MIN: u64 = 100;

/// What was read when the watch told of a change last, before and once more after `over`.
fn read_when_told(
    backend: &dyn Backend,
    watch: &mut dyn Watch,
    over: impl Fn() -> bool,
) -> Outcome<Option<u64>> {
    let (mut read, mut looks) = (None, 0_u32);
    loop {
        let last = over();
        if watch.changed() {
            read = Some(number(backend.get(b"round")?)?);
        }
        if last {
            return Ok(read);
        }
        // Mostly without letting go of the processor: the moment that matters is short.
        looks += 1;
        if looks % 256 == 0 { thread::yield_now() } else { std::hint::spin_loop() }
    }
}

const ACCOUNTS: u64 = 16;
const DEPOSIT: u64 = 1_000;

fn account(index: u64) -> Vec<u8> {
    format!("account/{index:02}").into_bytes()
}

fn readers_see_whole_batches(place: &Place) -> Outcome {
    let backend = place.open()?;
    let mut batch = Batch::new();
    for index in 0..ACCOUNTS {
        batch.put(account(index), DEPOSIT.to_be_bytes().to_vec());
    }
    backend.commit(batch)?;
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut round = 0;
            while !done.load(Ordering::Relaxed) || round == 0 {
                round += 1;
                read_sums(&*backend)?;
            }
            Ok(())
        });
        let written = in_threads(|thread| transfers(&*backend, thread as u64 + 1));
        done.store(true, Ordering::Relaxed);
        match reader.join() {
            Ok(read) => written.and(read),
            Err(_) => fail("a reader panicked"),
        }
    })?;
    read_sums(&*backend)
}

fn transfers(backend: &dyn Backend, seed: u64) -> Outcome {
    let mut random = Random::new(seed);
    for _ in 0..120 {
        let (from, to) = (random.below(ACCOUNTS as usize) as u64, random.below(ACCOUNTS as usize) as u64);
        if from == to {
            continue;
        }
        loop {
            let [giver, taker] = [backend.get(&account(from))?, backend.get(&account(to))?];
            let (Some(giver), Some(taker)) = (giver, taker) else { return fail("an account is gone") };
            let (left, right) = (number(Some(giver.clone()))?, number(Some(taker.clone()))?);
            let Some(less) = left.checked_sub(1) else { break };
            let mut batch = Batch::new();
            batch.expect_equals(account(from), giver).expect_equals(account(to), taker);
            batch.put(account(from), less.to_be_bytes().to_vec());
            batch.put(account(to), (right + 1).to_be_bytes().to_vec());
            match backend.commit(batch) {
                Ok(()) => break,
                Err(error) if error.kind() == ErrorKind::Conflict => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(())
}

fn read_sums(backend: &dyn Backend) -> Outcome {
    let keys: Vec<Vec<u8>> = (0..ACCOUNTS).map(account).collect();
    let keys: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
    let sum = |values: Vec<Option<Bytes>>| values.into_iter().map(number).sum::<Outcome<u64>>();
    let of_rows = |rows: Vec<Row>| sum(rows.into_iter().map(|(_, value)| Some(value)).collect());
    let total = ACCOUNTS * DEPOSIT;
    same("sum of get_many", sum(backend.get_many(&keys)?)?, total)?;
    same("sum of a page", of_rows(backend.scan(&Scan::prefix(b"account/"))?.rows)?, total)?;
    let snapshot = backend.snapshot()?;
    let rows = all_rows(Scan::prefix(b"account/").limit(3), |scan| snapshot.scan(scan));
    // A snapshot may expire; what it returned before is true all the same.
    if let Ok(rows) = rows {
        same("sum of a snapshot's pages", of_rows(rows)?, total)?;
    }
    Ok(())
}

fn flushes_run_beside_commits(place: &Place) -> Outcome {
    let backend = place.open()?;
    in_threads(|thread| {
        for round in 0..25_u8 {
            let key = [b'k', thread as u8, round];
            backend.commit(put(&key, b"x"))?;
            backend.flush()?;
            ensure(backend.get(&key)?.is_some(), || "what was flushed can't be read".to_owned())?;
        }
        Ok(())
    })?;
    let durable = backend.capabilities().durable;
    let found = all_rows(Scan::prefix(b"k"), |scan| backend.scan(scan))?;
    same("rows", found.len(), THREADS * 25)?;
    drop(backend);
    if durable {
        let backend = place.open()?;
        same("rows after reopening", all_rows(Scan::prefix(b"k"), |scan| backend.scan(scan))?, found)?;
    }
    Ok(())
}
