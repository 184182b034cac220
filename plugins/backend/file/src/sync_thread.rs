//! Asks the disk in the background, some time after a commit.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use eidetica_kernel::error::{Error, Result};
use parking_lot::{Condvar, Mutex};

/// A thread that sleeps until woken, and then works once within the interval.
pub(crate) struct SyncThread {
    signal: Arc<Signal>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Default)]
struct Signal {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    dirty: bool,
    stop: bool,
}

impl SyncThread {
    pub(crate) fn start(interval_ms: u64, work: impl Fn() + Send + 'static) -> Result<Self> {
        let signal = Arc::new(Signal::default());
        let thread = {
            let signal = signal.clone();
            let interval = Duration::from_millis(interval_ms);
            std::thread::Builder::new()
                .name("eidetica-file-sync".to_owned())
                .spawn(move || {
                    while signal.wait(interval) {
                        work()
                    }
                })
                .map_err(|error| Error::io("starting a thread", "eidetica-file-sync", error))?
        };
        Ok(Self { signal, thread: Mutex::new(Some(thread)) })
    }

    /// There is something to do.
    pub(crate) fn wake(&self) {
        let mut state = self.signal.state.lock();
        if !state.dirty {
            state.dirty = true;
            self.signal.changed.notify_all();
        }
    }

    /// Ends the thread and waits for it.
    pub(crate) fn stop(&self) {
        self.signal.state.lock().stop = true;
        self.signal.changed.notify_all();
        if let Some(thread) = self.thread.lock().take() {
            // A panic of the thread was reported by its hook, and the next flush finds the damage.
            drop(thread.join());
        }
    }
}

impl Signal {
    /// Waits for something to do and then for the interval; `false` when it is time to end.
    fn wait(&self, interval: Duration) -> bool {
        let mut state = self.state.lock();
        while !state.dirty && !state.stop {
            self.changed.wait(&mut state);
        }
        let due = Instant::now() + interval;
        while !state.stop && !self.changed.wait_until(&mut state, due).timed_out() {}
        state.dirty = false;
        !state.stop
    }
}
