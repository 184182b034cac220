//! Files off the runtime's threads: a slow stick holds up nobody else.

use std::mem;

use eidetica_kernel::{Error, ErrorKind, Result};
use tokio::task::{JoinHandle, spawn_blocking};

/// Runs `work` on a thread that may wait.
pub(crate) async fn off<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    spawn_blocking(work).await.map_err(|error| stopped().caused_by(error))
}

fn stopped() -> Error {
    Error::new(ErrorKind::Closed, "working on", "the folder", "the runtime has stopped")
}

/// A state that is worked on by one thread at a time, of which only `run` waits: dropped, the next one goes on with the same work.
pub(crate) enum Off<S, T> {
    Here(S),
    Working(JoinHandle<(S, T)>),
    Lost,
}

impl<S: Send + 'static, T: Send + 'static> Off<S, T> {
    /// What `work` gives; or what work gives that a dropped call has begun, and `work` isn't done.
    pub(crate) async fn run(&mut self, work: impl FnOnce(&mut S) -> T + Send + 'static) -> Result<T> {
        *self = match mem::replace(self, Self::Lost) {
            Self::Here(mut state) => Self::Working(spawn_blocking(move || {
                let done = work(&mut state);
                (state, done)
            })),
            begun => begun,
        };
        self.settle().await?.ok_or_else(stopped)
    }

    /// Waits for work that a dropped call has begun, if there is some.
    pub(crate) async fn settle(&mut self) -> Result<Option<T>> {
        let Self::Working(work) = self else { return Ok(None) };
        match work.await {
            Ok((state, done)) => {
                *self = Self::Here(state);
                Ok(Some(done))
            }
            Err(error) => {
                *self = Self::Lost;
                Err(stopped().caused_by(error))
            }
        }
    }
}
