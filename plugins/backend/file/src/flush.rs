//! Flushes that share their work.

use eidetica_kernel::error::{Error, ErrorKind, Result};
use parking_lot::{Condvar, Mutex};

use crate::failure::broken;

/// Runs at most one flush at a time. Whoever arrives while one runs shares the next one, since the running one may have
/// missed the caller's commits.
#[derive(Default)]
pub(crate) struct SharedFlush {
    state: Mutex<State>,
    ended: Condvar,
}

#[derive(Default)]
struct State {
    running: bool,
    started: u64,
    ended: u64,
    /// A failed flush can't be made good by the next one: the operating system may have dropped what it couldn't write.
    failed: Option<Failed>,
}

#[derive(Clone)]
struct Failed {
    kind: ErrorKind,
    subject: String,
    reason: String,
}

impl SharedFlush {
    /// Returns when a flush that started after this call has ended.
    pub(crate) fn run(&self, flush: impl FnOnce() -> Result<()>) -> Result<()> {
        let mut state = self.state.lock();
        let wanted = state.started + 1;
        loop {
            if let Some(failed) = &state.failed {
                return Err(failed.error());
            }
            if state.ended >= wanted {
                return Ok(());
            }
            if !state.running {
                break;
            }
            self.ended.wait(&mut state);
        }
        state.running = true;
        state.started = wanted.max(state.started + 1);
        drop(state);
        let result = flush();
        let mut state = self.state.lock();
        state.running = false;
        match &result {
            Ok(()) => state.ended = state.started,
            // Nothing was tried: those who wait find that out on their own.
            Err(error) if error.kind() == ErrorKind::Closed => {}
            Err(error) => {
                state.failed = Some(Failed {
                    kind: error.kind(),
                    subject: error.subject().to_owned(),
                    reason: error.reason().to_owned(),
                });
            }
        }
        self.ended.notify_all();
        result
    }

    /// Fails once a flush has failed.
    pub(crate) fn check(&self) -> Result<()> {
        match &self.state.lock().failed {
            Some(failed) => Err(failed.error()),
            None => Ok(()),
        }
    }
}

impl Failed {
    fn error(&self) -> Error {
        let reason =
            format_args!("an earlier flush failed, and what reached the disk isn't known: {}", self.reason);
        broken(self.kind, "flushing", &self.subject, reason)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, mpsc};

    use super::*;

    #[test]
    fn those_who_arrive_during_a_flush_share_the_next_one() {
        let shared = Arc::new(SharedFlush::default());
        let flushes = Arc::new(AtomicUsize::new(0));
        let (entered_tx, entered) = mpsc::channel();
        let (go, go_rx) = mpsc::channel::<()>();
        let first = {
            let (shared, flushes) = (shared.clone(), flushes.clone());
            std::thread::spawn(move || {
                shared.run(|| {
                    flushes.fetch_add(1, Ordering::SeqCst);
                    entered_tx.send(()).unwrap();
                    go_rx.recv().unwrap();
                    Ok(())
                })
            })
        };
        entered.recv().unwrap();
        let others: Vec<_> = (0..8)
            .map(|_| {
                let (shared, flushes) = (shared.clone(), flushes.clone());
                let (arrived_tx, arrived) = mpsc::channel();
                let thread = std::thread::spawn(move || {
                    arrived_tx.send(()).unwrap();
                    shared.run(|| {
                        flushes.fetch_add(1, Ordering::SeqCst);
                        Ok(())
                    })
                });
                arrived.recv().unwrap();
                thread
            })
            .collect();
        go.send(()).unwrap();
        first.join().unwrap().unwrap();
        others.into_iter().for_each(|thread| thread.join().unwrap().unwrap());
        let flushes = flushes.load(Ordering::SeqCst);
        assert!((2..=9).contains(&flushes), "the first flush never serves those who came later: {flushes}");
    }

    #[test]
    fn a_failed_flush_is_not_made_good_by_the_next() {
        let shared = SharedFlush::default();
        let error = shared.run(|| Err(Error::new(ErrorKind::Io, "flushing", "x", "bad sector"))).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Io);
        let later = shared.run(|| Ok(())).unwrap_err();
        assert_eq!(later.kind(), ErrorKind::Io);
        assert!(later.reason().contains("bad sector"));
        assert!(shared.check().is_err());
    }
}
