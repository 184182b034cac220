//! Deliberately broken backends: the suite catches each by the case meant for it.

use std::ops::Bound;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use eidetica_conformance::backend::{Backend, Counting, FaultyBackend, Place, Reference, Suite};
use eidetica_kernel::ErrorKind;
use eidetica_kernel::backend::{BackendCapabilities, Batch, Page, Scan, Snapshot, Watch, Write};
use eidetica_kernel::error::Result;

/// What is wrong with a backend. Each method does what the sound backend does unless replaced.
trait Break: Send + Sync + 'static {
    fn commit(&self, sound: &dyn Backend, batch: Batch) -> Result<()> {
        sound.commit(batch)
    }

    fn scan(&self, sound: &dyn Backend, scan: &Scan) -> Result<Page> {
        sound.scan(scan)
    }

    fn snapshot(&self, sound: &Arc<dyn Backend>) -> Result<Arc<dyn Snapshot>> {
        sound.snapshot()
    }

    fn flush(&self, sound: &dyn Backend) -> Result<()> {
        sound.flush()
    }

    fn watch(&self, sound: &dyn Backend, prefix: &[u8]) -> Option<Box<dyn Watch>> {
        sound.watch(prefix)
    }

    fn close(&self, sound: &dyn Backend) -> Result<()> {
        sound.close()
    }
}

struct Broken<B> {
    sound: Arc<dyn Backend>,
    how: B,
}

impl<B: Break> Backend for Broken<B> {
    fn capabilities(&self) -> BackendCapabilities {
        self.sound.capabilities()
    }

    fn get(&self, key: &[u8]) -> Result<Option<Bytes>> {
        self.sound.get(key)
    }

    fn get_many(&self, keys: &[&[u8]]) -> Result<Vec<Option<Bytes>>> {
        self.sound.get_many(keys)
    }

    fn scan(&self, scan: &Scan) -> Result<Page> {
        self.how.scan(&*self.sound, scan)
    }

    fn snapshot(&self) -> Result<Arc<dyn Snapshot>> {
        self.how.snapshot(&self.sound)
    }

    fn commit(&self, batch: Batch) -> Result<()> {
        self.how.commit(&*self.sound, batch)
    }

    fn flush(&self) -> Result<()> {
        self.how.flush(&*self.sound)
    }

    fn watch(&self, prefix: &[u8]) -> Option<Box<dyn Watch>> {
        self.how.watch(&*self.sound, prefix)
    }

    fn close(&self) -> Result<()> {
        self.how.close(&*self.sound)
    }
}

fn batch_of(writes: impl IntoIterator<Item = Write>) -> Batch {
    let mut batch = Batch::new();
    for write in writes {
        match write {
            Write::Put(key, value) => batch.put(key, value),
            Write::Delete(key) => batch.delete(key),
        };
    }
    batch
}

/// The names of the cases that fail for a backend broken so.
fn caught<B: Break + Clone>(how: B) -> Vec<&'static str> {
    let suite = Suite::new("broken", move || {
        let rows = Reference::new();
        let how = how.clone();
        Place::new(move || Ok(Arc::new(Broken { sound: Arc::new(rows.again()), how: how.clone() })))
    });
    suite.failures().into_iter().map(|(name, _)| name).collect()
}

/// The same for a backend whose unflushed batches are lost whenever its place is opened.
fn caught_durable<B: Break + Clone>(how: B) -> Vec<&'static str> {
    let suite = Suite::new("broken", move || {
        let disk = FaultyBackend::new(Reference::new());
        let how = how.clone();
        Place::new(move || {
            disk.crash(0)?;
            Ok(Arc::new(Broken { sound: Arc::new(disk.again()), how: how.clone() }))
        })
    });
    suite.failures().into_iter().map(|(name, _)| name).collect()
}

#[derive(Clone)]
struct Sound;
impl Break for Sound {}

#[test]
fn sound_backends_pass() {
    assert_eq!(caught(Sound), Vec::<&str>::new());
    assert_eq!(caught_durable(Sound), Vec::<&str>::new());
    let counting = Suite::new("counting", || {
        let rows = Reference::new();
        Place::new(move || Ok(Arc::new(Counting::new(rows.again()))))
    });
    assert!(counting.failures().is_empty());
}

#[test]
fn writes_before_preconditions_are_caught() {
    #[derive(Clone)]
    struct WritesFirst;
    impl Break for WritesFirst {
        fn commit(&self, sound: &dyn Backend, batch: Batch) -> Result<()> {
            batch.check_limits()?;
            let (preconditions, writes) = batch.into_parts();
            let mut held = true;
            for expected in &preconditions {
                held &= expected.holds(sound.get(expected.key())?.as_deref());
            }
            sound.commit(batch_of(writes))?;
            let mut refused = Batch::new();
            if !held {
                refused.put("never", "").expect_absent("x").expect_equals("x", "");
            }
            sound.commit(refused)
        }
    }
    assert!(caught(WritesFirst).contains(&"refused_batch_leaves_nothing"));
}

#[test]
fn rows_written_one_by_one_are_caught() {
    #[derive(Clone)]
    struct OneByOne;
    impl Break for OneByOne {
        fn commit(&self, sound: &dyn Backend, batch: Batch) -> Result<()> {
            batch.check_limits()?;
            let (preconditions, writes) = batch.into_parts();
            let mut first = Batch::new();
            for expected in preconditions {
                use eidetica_kernel::backend::Precondition::{Absent, Equals};
                match expected {
                    Absent(key) => first.expect_absent(key),
                    Equals(key, value) => first.expect_equals(key, value),
                };
            }
            sound.commit(first)?;
            for write in writes {
                sound.commit(batch_of([write]))?;
                (0..20).for_each(|_| std::thread::yield_now());
            }
            Ok(())
        }
    }
    assert!(caught(OneByOne).contains(&"readers_see_whole_batches"));
}

#[test]
fn ignored_preconditions_are_caught() {
    #[derive(Clone)]
    struct Ignores;
    impl Break for Ignores {
        fn commit(&self, sound: &dyn Backend, batch: Batch) -> Result<()> {
            batch.check_limits()?;
            sound.commit(batch_of(batch.into_parts().1))
        }
    }
    let caught = caught(Ignores);
    assert!(caught.contains(&"preconditions_decide") && caught.contains(&"of_competing_commits_one_wins"));
}

#[test]
fn checking_and_applying_in_two_steps_is_caught() {
    #[derive(Clone)]
    struct TwoSteps;
    impl Break for TwoSteps {
        fn commit(&self, sound: &dyn Backend, batch: Batch) -> Result<()> {
            for expected in batch.preconditions() {
                if !expected.holds(sound.get(expected.key())?.as_deref()) {
                    return sound.commit(batch);
                }
            }
            batch.check_limits()?;
            (0..100).for_each(|_| std::thread::yield_now());
            sound.commit(batch_of(batch.into_parts().1))
        }
    }
    assert!(caught(TwoSteps).contains(&"of_competing_commits_one_wins"));
}

#[test]
fn two_steps_for_several_rows_are_caught() {
    #[derive(Clone)]
    struct TwoSteps;
    impl Break for TwoSteps {
        fn commit(&self, sound: &dyn Backend, batch: Batch) -> Result<()> {
            batch.check_limits()?;
            for expected in batch.preconditions() {
                if batch.writes().len() == 1 || !expected.holds(sound.get(expected.key())?.as_deref()) {
                    return sound.commit(batch);
                }
            }
            (0..100).for_each(|_| std::thread::yield_now());
            sound.commit(batch_of(batch.into_parts().1))
        }
    }
    assert!(caught(TwoSteps).contains(&"of_competing_commits_one_wins"));
}

#[test]
fn large_batches_out_of_order_are_caught() {
    #[derive(Clone)]
    struct Sorts;
    impl Break for Sorts {
        fn commit(&self, sound: &dyn Backend, batch: Batch) -> Result<()> {
            if batch.writes().len() <= 20 || !batch.preconditions().is_empty() {
                return sound.commit(batch);
            }
            let mut writes = batch.into_parts().1;
            writes.sort_unstable_by(|one, other| one.key().cmp(other.key()));
            sound.commit(batch_of(writes))
        }
    }
    assert_eq!(caught(Sorts), ["last_write_stands_in_large_batches"]);
}

#[test]
fn pages_cut_short_for_their_bytes_are_caught() {
    #[derive(Clone)]
    struct CutsPages;
    impl Break for CutsPages {
        fn scan(&self, sound: &dyn Backend, scan: &Scan) -> Result<Page> {
            let mut page = sound.scan(scan)?;
            let mut bytes = 0;
            page.rows.retain(|(_, value)| {
                bytes += value.len();
                bytes <= 16 << 20
            });
            Ok(page)
        }
    }
    assert_eq!(caught(CutsPages), ["pages_of_large_values_hold_each_row_once"]);
}

#[test]
fn a_watch_that_tells_before_the_commit_is_caught() {
    struct Told(Arc<AtomicU64>, u64);
    impl Watch for Told {
        fn changed(&mut self) -> bool {
            let now = self.0.load(Ordering::SeqCst);
            std::mem::replace(&mut self.1, now) != now
        }
    }
    #[derive(Clone, Default)]
    struct TellsFirst(Arc<AtomicU64>);
    impl Break for TellsFirst {
        fn commit(&self, sound: &dyn Backend, batch: Batch) -> Result<()> {
            self.0.fetch_add(1, Ordering::SeqCst);
            (0..20).for_each(|_| std::thread::yield_now());
            sound.commit(batch)
        }

        fn watch(&self, _: &dyn Backend, _: &[u8]) -> Option<Box<dyn Watch>> {
            Some(Box::new(Told(self.0.clone(), self.0.load(Ordering::SeqCst))))
        }
    }
    assert_eq!(caught(TellsFirst::default()), ["a_watch_tells_of_what_can_be_read"]);
}

#[test]
fn wrong_exclusive_bounds_are_caught() {
    #[derive(Clone)]
    struct Inclusive;
    impl Break for Inclusive {
        fn scan(&self, sound: &dyn Backend, scan: &Scan) -> Result<Page> {
            let mut scan = scan.clone();
            if let Bound::Excluded(end) = scan.end {
                scan.end = Bound::Included(end);
            }
            sound.scan(&scan)
        }
    }
    assert!(caught(Inclusive).contains(&"bounds_of_every_kind_are_kept"));
}

#[test]
fn wrong_order_is_caught() {
    #[derive(Clone)]
    struct ShortestFirst;
    impl Break for ShortestFirst {
        fn scan(&self, sound: &dyn Backend, scan: &Scan) -> Result<Page> {
            let mut page = sound.scan(scan)?;
            page.rows.sort_by_key(|(key, _)| key.len());
            Ok(page)
        }
    }
    assert!(caught(ShortestFirst).contains(&"keys_are_ordered_bytewise"));
}

#[test]
fn pages_that_hide_the_rest_are_caught() {
    #[derive(Clone)]
    struct NoMore;
    impl Break for NoMore {
        fn scan(&self, sound: &dyn Backend, scan: &Scan) -> Result<Page> {
            Ok(Page { more: false, ..sound.scan(scan)? })
        }
    }
    assert!(caught(NoMore).contains(&"pages_hold_each_row_once"));
}

#[test]
fn snapshots_that_see_later_batches_are_caught() {
    struct Live(Arc<dyn Backend>);
    impl Snapshot for Live {
        fn get(&self, key: &[u8]) -> Result<Option<Bytes>> {
            self.0.get(key)
        }

        fn scan(&self, scan: &Scan) -> Result<Page> {
            self.0.scan(scan)
        }
    }
    #[derive(Clone)]
    struct LiveSnapshots;
    impl Break for LiveSnapshots {
        fn snapshot(&self, sound: &Arc<dyn Backend>) -> Result<Arc<dyn Snapshot>> {
            Ok(Arc::new(Live(sound.clone())))
        }
    }
    assert!(caught(LiveSnapshots).contains(&"snapshot_sees_no_later_batch"));
}

#[test]
fn snapshots_that_end_with_another_of_their_moment_are_caught() {
    /// Shows what is now once another snapshot of its moment has gone.
    struct Shared {
        then: Arc<dyn Snapshot>,
        now: Arc<dyn Backend>,
        unpinned: Arc<AtomicBool>,
    }
    impl Snapshot for Shared {
        fn get(&self, key: &[u8]) -> Result<Option<Bytes>> {
            let then = self.then.get(key)?;
            if self.unpinned.load(Ordering::SeqCst) { self.now.get(key) } else { Ok(then) }
        }

        fn scan(&self, scan: &Scan) -> Result<Page> {
            let then = self.then.scan(scan)?;
            if self.unpinned.load(Ordering::SeqCst) { self.now.scan(scan) } else { Ok(then) }
        }
    }
    impl Drop for Shared {
        fn drop(&mut self) {
            self.unpinned.store(true, Ordering::SeqCst);
        }
    }
    /// What the snapshots since the last commit share.
    #[derive(Clone, Default)]
    struct OnePin(Arc<Mutex<Arc<AtomicBool>>>);
    impl Break for OnePin {
        fn commit(&self, sound: &dyn Backend, batch: Batch) -> Result<()> {
            sound.commit(batch)?;
            *self.0.lock().unwrap() = Arc::default();
            Ok(())
        }

        fn snapshot(&self, sound: &Arc<dyn Backend>) -> Result<Arc<dyn Snapshot>> {
            let unpinned = self.0.lock().unwrap().clone();
            Ok(Arc::new(Shared { then: sound.snapshot()?, now: sound.clone(), unpinned }))
        }
    }
    let caught = caught(OnePin::default());
    assert!(caught.contains(&"snapshots_of_one_moment_stay_apart"), "{caught:?}");
}

#[test]
fn over_long_keys_are_caught() {
    #[derive(Clone)]
    struct CutsKeys;
    impl Break for CutsKeys {
        fn commit(&self, sound: &dyn Backend, batch: Batch) -> Result<()> {
            let cut = |write: Write| match write {
                Write::Put(key, value) => Write::Put(key.slice(..key.len().min(1_024)), value),
                Write::Delete(key) => Write::Delete(key.slice(..key.len().min(1_024))),
            };
            match batch.check_limits() {
                Err(error) if error.kind() == ErrorKind::LimitExceeded => {
                    sound.commit(batch_of(batch.into_parts().1.into_iter().map(cut)))
                }
                _ => sound.commit(batch),
            }
        }
    }
    assert!(caught(CutsKeys).contains(&"longer_keys_and_values_are_refused"));
}

#[test]
fn backends_that_stay_open_are_caught() {
    #[derive(Clone)]
    struct StaysOpen;
    impl Break for StaysOpen {
        fn close(&self, _sound: &dyn Backend) -> Result<()> {
            Ok(())
        }
    }
    assert!(caught(StaysOpen).contains(&"closed_backend_refuses_every_call"));
}

#[test]
fn flushes_that_persist_nothing_are_caught() {
    #[derive(Clone)]
    struct NoFlush;
    impl Break for NoFlush {
        fn flush(&self, _sound: &dyn Backend) -> Result<()> {
            Ok(())
        }
    }
    assert!(caught_durable(NoFlush).contains(&"flushed_batches_survive_reopening"));
}

#[test]
fn a_crash_keeps_the_prefix_asked_for_and_kills_every_handle() {
    let backend = FaultyBackend::new(Reference::new());
    let put = |key: &'static str| {
        let mut batch = Batch::new();
        batch.put(key, "1");
        backend.commit(batch)
    };
    put("flushed").unwrap();
    backend.flush().unwrap();
    put("a").unwrap();
    put("b").unwrap();
    put("c").unwrap();
    assert_eq!(backend.unflushed(), 3);
    let snapshot = backend.snapshot().unwrap();
    backend.crash(2).unwrap();
    assert_eq!(put("d").unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(snapshot.get(b"a").unwrap_err().kind(), ErrorKind::Closed);
    let again = backend.again();
    let found = again.get_many(&[b"flushed", b"a", b"b", b"c"]).unwrap();
    assert_eq!(found.iter().map(Option::is_some).collect::<Vec<_>>(), [true, true, true, false]);
}

#[test]
fn injected_failures_come_in_order_and_leave_nothing() {
    let backend = FaultyBackend::new(Reference::new());
    let put = |key: &'static str| {
        let mut batch = Batch::new();
        batch.put(key, "1").put("second", "1");
        backend.commit(batch)
    };
    backend.fail_next_commit(ErrorKind::Full);
    backend.fail_next_commit(ErrorKind::Io);
    assert_eq!(put("a").unwrap_err().kind(), ErrorKind::Full);
    assert_eq!(put("a").unwrap_err().kind(), ErrorKind::Io);
    assert_eq!(backend.get(b"a").unwrap(), None);
    backend.tear_next_commit(1);
    assert_eq!(put("a").unwrap_err().kind(), ErrorKind::Io);
    assert!(backend.get(b"a").unwrap().is_some() && backend.get(b"second").unwrap().is_none());
    backend.fail_next_flush(ErrorKind::Io);
    assert_eq!(backend.flush().unwrap_err().kind(), ErrorKind::Io);
    backend.fail_next_read(ErrorKind::Corrupt);
    assert_eq!(backend.get(b"a").unwrap_err().kind(), ErrorKind::Corrupt);
    assert!(backend.get(b"a").is_ok());
}
