//! Connections that others opened, and the links on them.
//!
//! All of them are served by the endpoint's one task. A connection outlives the listener for as long as it has links:
//! further ones are refused then, so that whoever dials is told at once.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::{Arc, Weak};
use std::time::Duration;

use eidetica_kernel::transport::Link;
use eidetica_kernel::{Context, Error, ErrorKind, Result};
use futures_util::StreamExt;
use futures_util::future::{Either, select};
use futures_util::stream::FuturesUnordered;
use iroh::endpoint::{Connection, Incoming, RecvStream, SendStream, VarInt};
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc, watch};

use crate::carrier::{Carrier, LINK, code};
use crate::link;
use crate::node::{Lease, Settings};

/// Where links go while somebody listens.
pub(crate) struct Door {
    ready: mpsc::Sender<Link>,
    lease: Lease,
}

/// Serves who comes.
pub(crate) struct Reception {
    context: Context,
    settings: Arc<Settings>,
    door: watch::Sender<Option<Arc<Door>>>,
    waiting: Mutex<Waiting>,
}

impl Reception {
    pub(crate) fn new(context: Context, settings: Arc<Settings>) -> Self {
        Self { context, settings, door: watch::Sender::new(None), waiting: Mutex::default() }
    }

    /// Begins to accept links.
    pub(crate) fn open(&self, lease: Lease) -> Result<(Arc<Door>, mpsc::Receiver<Link>)> {
        let (ready, accepted) = mpsc::channel(self.settings.options.accept_queue_max);
        let door = Arc::new(Door { ready, lease });
        let opened = self.door.send_if_modified(|current| {
            let vacant = current.is_none();
            if vacant {
                *current = Some(door.clone());
            }
            vacant
        });
        if opened {
            return Ok((door, accepted));
        }
        Err(Error::new(ErrorKind::InUse, "listening at", "iroh", "this transport listens already"))
    }

    /// Ends what [`Reception::open`] began.
    pub(crate) fn close(&self, door: &Arc<Door>) {
        self.door.send_if_modified(|current| {
            let own = current.as_ref().is_some_and(|current| Arc::ptr_eq(current, door));
            if own {
                *current = None;
            }
            own
        });
    }

    pub(crate) fn is_open(&self) -> bool {
        self.door.borrow().is_some()
    }

    fn patience(&self) -> Duration {
        Duration::from_millis(self.settings.options.handshake_timeout_ms)
    }

    /// Serves one connection, from its handshake to its last link.
    pub(crate) async fn receive(self: &Arc<Self>, incoming: Incoming) {
        let evicted = Arc::new(Notify::new());
        let mut place = Some(Place::take(self, evicted.clone()));
        let handshake = async {
            tokio::select! {
                connected = incoming => connected.map_err(|error| tracing::debug!(%error, "a handshake failed")).ok(),
                () = evicted.notified() => None,
            }
        };
        let connection = match select(pin!(handshake), self.context.clock.sleep(self.patience())).await {
            Either::Left((Some(connection), _)) => connection,
            Either::Left((None, _)) => return,
            Either::Right(_) => {
                tracing::debug!("gave up waiting for a handshake");
                return;
            }
        };
        let visit = Visit { connection, idle: Arc::default(), carrier: Mutex::default() };
        let code = self.serve(&visit, &mut place, &evicted).await;
        visit.connection.close(code, b"");
    }

    /// Takes streams until there is nothing more to wait for.
    async fn serve(
        self: &Arc<Self>,
        visit: &Visit,
        place: &mut Option<Place>,
        evicted: &Arc<Notify>,
    ) -> VarInt {
        let mut door = self.door.subscribe();
        let mut greetings = FuturesUnordered::new();
        let mut patience = self.context.clock.sleep(self.patience());
        loop {
            let linked = visit.is_linked();
            if linked {
                *place = None;
            } else if place.is_none() {
                *place = Some(Place::take(self, evicted.clone()));
                patience = self.context.clock.sleep(self.patience());
            }
            let listening = door.borrow_and_update().is_some();
            if !linked && !listening && greetings.is_empty() {
                return code::NOT_LISTENING;
            }
            tokio::select! {
                stream = visit.connection.accept_bi() => match stream {
                    Ok((outgoing, incoming)) => greetings.push(self.greet(visit, outgoing, incoming)),
                    Err(error) => {
                        tracing::debug!(remote = %visit.connection.remote_id(), %error, "a connection ended");
                        return code::DONE;
                    }
                },
                Some(()) = greetings.next() => {}
                () = visit.idle.notified() => {}
                _ = door.changed() => {}
                () = evicted.notified(), if !linked => return code::LATE,
                () = &mut patience, if !linked => return code::LATE,
            }
        }
    }

    /// Makes a link of a stream, if that is what it is to be, and somebody listens.
    async fn greet(self: &Arc<Self>, visit: &Visit, mut outgoing: SendStream, mut incoming: RecvStream) {
        let mut kind = [0; 1];
        let patience = self.context.clock.sleep(self.patience());
        let asked = match select(pin!(incoming.read_exact(&mut kind)), patience).await {
            Either::Left((read, _)) => Some(read),
            Either::Right(_) => None,
        };
        let refused = match asked {
            Some(Ok(())) if kind == [LINK] => match self.admit(visit, outgoing, incoming).await {
                Ok(()) => return,
                Err((streams, code)) => {
                    (outgoing, incoming) = *streams;
                    code
                }
            },
            Some(Ok(())) => code::UNKNOWN,
            Some(Err(_)) => code::DONE,
            None => code::LATE,
        };
        // Where the stream is gone already, so much the better.
        outgoing.reset(refused).ok();
        incoming.stop(refused).ok();
    }

    /// Waits for room in the listener's queue; the streams come back with a reason if there is none any more.
    async fn admit(
        &self,
        visit: &Visit,
        mut outgoing: SendStream,
        incoming: RecvStream,
    ) -> Result<(), (Box<(SendStream, RecvStream)>, VarInt)> {
        let door = self.door.borrow().clone();
        let Some(door) = door else { return Err((Box::new((outgoing, incoming)), code::NOT_LISTENING)) };
        let Ok(room) = door.ready.reserve().await else {
            return Err((Box::new((outgoing, incoming)), code::NOT_LISTENING));
        };
        // The first byte of a stream always fits, unless the stream is gone.
        if outgoing.write_all(&[LINK]).await.is_err() {
            return Err((Box::new((outgoing, incoming)), code::DONE));
        }
        let name = visit.connection.remote_id().to_string();
        match link::open(&self.context, visit.carrier(&door.lease), name, outgoing, incoming) {
            Ok(link) => room.send(link),
            Err(error) => tracing::debug!(%error, "a link could not be made"),
        }
        Ok(())
    }
}

/// One connection.
struct Visit {
    connection: Connection,
    /// Told when its last link has ended.
    idle: Arc<Notify>,
    /// Held by its links.
    carrier: Mutex<Weak<Carrier>>,
}

impl Visit {
    fn is_linked(&self) -> bool {
        self.carrier.lock().strong_count() > 0
    }

    fn carrier(&self, lease: &Lease) -> Arc<Carrier> {
        let mut carrier = self.carrier.lock();
        carrier.upgrade().unwrap_or_else(|| {
            let new = Carrier::accepted(self.connection.clone(), lease.clone(), self.idle.clone());
            let new = Arc::new(new);
            *carrier = Arc::downgrade(&new);
            new
        })
    }
}

/// The connections without a link, oldest first.
#[derive(Default)]
struct Waiting {
    next: u64,
    places: BTreeMap<u64, Arc<Notify>>,
}

/// A place among those that wait; free again once this is dropped.
struct Place {
    reception: Arc<Reception>,
    number: u64,
}

impl Place {
    /// A place for one more; the oldest goes where there are too many.
    fn take(reception: &Arc<Reception>, evict: Arc<Notify>) -> Self {
        let mut waiting = reception.waiting.lock();
        if waiting.places.len() >= reception.settings.options.handshakes_max
            && let Some((_, oldest)) = waiting.places.pop_first()
        {
            oldest.notify_one();
        }
        waiting.next += 1;
        let number = waiting.next;
        waiting.places.insert(number, evict);
        drop(waiting);
        Self { reception: reception.clone(), number }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.reception.waiting.lock().places.remove(&self.number);
    }
}
