//! Links whose halves are broken.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, Waker};

use async_trait::async_trait;
use bytes::Bytes;
use eidetica_kernel::runtime::TaskGuard;
use eidetica_kernel::transport::{LinkReceiver, LinkSender, MESSAGE_BYTES_MAX, check_message};
use eidetica_kernel::{Context, Error, ErrorKind, Result};
use tokio::sync::{Mutex, OwnedMutexGuard, Semaphore, mpsc};

use crate::{Break, catches};

/// Another way to send a message over a sound half; each half has a value of its own.
#[async_trait]
trait Send: Default + std::marker::Send + Sync + 'static {
    async fn send(&mut self, sound: &mut dyn LinkSender, message: Bytes) -> Result<()>;
}

/// Links that send so.
struct Sends<S>(std::marker::PhantomData<fn() -> S>);

impl<S: Send> Break for Sends<S> {
    fn sender(&self, sound: Box<dyn LinkSender>, _: &Context) -> Box<dyn LinkSender> {
        Box::new(Half { sound, how: S::default() })
    }
}

struct Half<S> {
    sound: Box<dyn LinkSender>,
    how: S,
}

#[async_trait]
impl<S: Send> LinkSender for Half<S> {
    async fn send(&mut self, message: Bytes) -> Result<()> {
        self.how.send(&mut *self.sound, message).await
    }

    async fn close(&mut self) -> Result<()> {
        self.sound.close().await
    }
}

#[track_caller]
fn sends<S: Send>(case: &str) {
    catches(case, || Sends::<S>(std::marker::PhantomData));
}

/// Every second small message overtakes the one before.
#[derive(Default)]
struct Reorders(Option<Bytes>);

#[async_trait]
impl Send for Reorders {
    async fn send(&mut self, sound: &mut dyn LinkSender, message: Bytes) -> Result<()> {
        match self.0.take() {
            None if message.len() == 4 => {
                self.0 = Some(message);
                Ok(())
            }
            None => sound.send(message).await,
            Some(held) => {
                sound.send(message).await?;
                sound.send(held).await
            }
        }
    }
}

#[test]
fn a_transport_that_reorders() {
    sends::<Reorders>("many_messages_arrive_in_order");
}

/// Small messages become one.
#[derive(Default)]
struct Merges(Vec<u8>);

#[async_trait]
impl Send for Merges {
    async fn send(&mut self, sound: &mut dyn LinkSender, message: Bytes) -> Result<()> {
        self.0.extend_from_slice(&message);
        if self.0.len() < 8 {
            return Ok(());
        }
        sound.send(std::mem::take(&mut self.0).into()).await
    }
}

#[test]
fn a_transport_that_merges_messages() {
    sends::<Merges>("messages_of_every_size_arrive_whole_both_ways");
}

#[derive(Default)]
struct Truncates;

#[async_trait]
impl Send for Truncates {
    async fn send(&mut self, sound: &mut dyn LinkSender, message: Bytes) -> Result<()> {
        let end = message.len().min(MESSAGE_BYTES_MAX - 1);
        sound.send(message.slice(..end)).await
    }
}

#[test]
fn a_transport_that_truncates_the_longest() {
    sends::<Truncates>("messages_of_every_size_arrive_whole_both_ways");
}

#[derive(Default)]
struct Swallows;

#[async_trait]
impl Send for Swallows {
    async fn send(&mut self, sound: &mut dyn LinkSender, message: Bytes) -> Result<()> {
        if message.len() > MESSAGE_BYTES_MAX {
            return Ok(());
        }
        sound.send(message).await
    }
}

#[test]
fn a_transport_that_takes_messages_over_the_limit() {
    sends::<Swallows>("a_message_over_the_limit_is_refused_and_the_link_goes_on");
}

/// A full link loses the message rather than wait.
#[derive(Default)]
struct Drops;

#[async_trait]
impl Send for Drops {
    async fn send(&mut self, sound: &mut dyn LinkSender, message: Bytes) -> Result<()> {
        tokio::select! {
            biased;
            sent = sound.send(message) => sent,
            () = std::future::ready(()) => Ok(()),
        }
    }
}

#[test]
fn a_transport_that_drops_messages_under_load() {
    sends::<Drops>("send_waits_when_the_remote_does_not_read");
    sends::<Drops>("many_messages_arrive_in_order");
}

/// What a dropped call had sent already is sent once more.
#[derive(Default)]
struct Doubles(Option<Bytes>);

#[async_trait]
impl Send for Doubles {
    async fn send(&mut self, sound: &mut dyn LinkSender, message: Bytes) -> Result<()> {
        if self.0.as_ref() == Some(&message) {
            sound.send(message.clone()).await?;
        }
        self.0 = Some(message.clone());
        sound.send(message).await
    }
}

#[test]
fn a_transport_that_sends_twice_what_was_dropped() {
    sends::<Doubles>("a_dropped_send_leaves_nothing_torn_or_doubled");
}

/// A message is handed on by the next call only.
#[derive(Default)]
struct Buffers(Option<Bytes>);

#[async_trait]
impl Send for Buffers {
    async fn send(&mut self, sound: &mut dyn LinkSender, message: Bytes) -> Result<()> {
        match self.0.replace(message) {
            Some(held) => sound.send(held).await,
            None => Ok(()),
        }
    }
}

#[test]
fn a_transport_that_waits_for_the_next_call() {
    sends::<Buffers>("what_was_taken_needs_no_further_call_to_arrive");
}

struct Unbounded;

impl Break for Unbounded {
    fn sender(&self, mut sound: Box<dyn LinkSender>, context: &Context) -> Box<dyn LinkSender> {
        struct Half(mpsc::UnboundedSender<Bytes>, #[allow(dead_code, reason = "held")] TaskGuard);
        #[async_trait]
        impl LinkSender for Half {
            async fn send(&mut self, message: Bytes) -> Result<()> {
                check_message(&message)?;
                self.0.send(message).map_err(|_| Error::new(ErrorKind::Unreachable, "sending", "", "gone"))
            }
            async fn close(&mut self) -> Result<()> {
                Ok(())
            }
        }
        let (queue, mut queued) = mpsc::unbounded_channel();
        let pumping = async move {
            while let Some(message) = queued.recv().await {
                if sound.send(message).await.is_err() {
                    return;
                }
            }
        };
        Box::new(Half(queue, context.spawner.spawn("pump", Box::pin(pumping))))
    }
}

#[test]
fn a_transport_whose_queue_has_no_bound() {
    catches("send_waits_when_the_remote_does_not_read", || Unbounded);
}

#[derive(Default)]
struct OneForAll(Arc<Mutex<()>>);

impl Break for OneForAll {
    fn sender(&self, sound: Box<dyn LinkSender>, _: &Context) -> Box<dyn LinkSender> {
        /// Holds what all links share as long as its own is full.
        struct Half(Box<dyn LinkSender>, Arc<Mutex<()>>, Option<OwnedMutexGuard<()>>);
        #[async_trait]
        impl LinkSender for Half {
            async fn send(&mut self, message: Bytes) -> Result<()> {
                if self.2.is_none() {
                    self.2 = Some(self.1.clone().lock_owned().await);
                }
                self.0.send(message).await?;
                self.2 = None;
                Ok(())
            }
            async fn close(&mut self) -> Result<()> {
                self.0.close().await
            }
        }
        Box::new(Half(sound, self.0.clone(), None))
    }
}

#[test]
fn a_transport_whose_links_wait_for_each_other() {
    catches("a_link_that_nobody_reads_delays_no_other", OneForAll::default);
}

/// Takes its room along when it is dropped.
struct Leaks(Arc<Semaphore>);

impl Default for Leaks {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(100)))
    }
}

#[async_trait]
impl Send for Leaks {
    async fn send(&mut self, sound: &mut dyn LinkSender, message: Bytes) -> Result<()> {
        if let Ok(room) = self.0.acquire().await {
            room.forget();
        }
        let sent = sound.send(message).await;
        self.0.add_permits(1);
        sent
    }
}

#[test]
fn a_transport_whose_dropped_sends_take_room() {
    sends::<Leaks>("many_dropped_sends_take_no_room");
}

/// Waits without a way to be woken.
struct Sleeps;

impl Break for Sleeps {
    fn sender(&self, sound: Box<dyn LinkSender>, _: &Context) -> Box<dyn LinkSender> {
        struct Half(Box<dyn LinkSender>);
        #[async_trait]
        impl LinkSender for Half {
            async fn send(&mut self, message: Bytes) -> Result<()> {
                let mut sending = self.0.send(message);
                poll_fn(|_| sending.as_mut().poll(&mut TaskContext::from_waker(Waker::noop()))).await
            }
            async fn close(&mut self) -> Result<()> {
                self.0.close().await
            }
        }
        Box::new(Half(sound))
    }
}

#[test]
fn a_transport_whose_waiting_send_nobody_wakes() {
    catches("a_half_that_waits_is_woken_by_itself", || Sleeps);
    catches("a_waiting_send_and_a_waiting_recv_wake_when_the_remote_goes", || Sleeps);
}

/// A receiving half of whose end the remote isn't told: never, or only when something is left to read.
struct Forgotten {
    sound: Option<Box<dyn LinkReceiver>>,
    only_unread: bool,
}

#[async_trait]
impl LinkReceiver for Forgotten {
    async fn recv(&mut self) -> Result<Option<Bytes>> {
        match &mut self.sound {
            Some(sound) => sound.recv().await,
            None => Ok(None),
        }
    }
}

impl Drop for Forgotten {
    fn drop(&mut self) {
        let Some(mut sound) = self.sound.take() else { return };
        let mut unread = || {
            let left = sound.recv().as_mut().poll(&mut TaskContext::from_waker(Waker::noop()));
            matches!(left, Poll::Ready(Ok(Some(_))))
        };
        if !self.only_unread || unread() {
            std::mem::forget(sound);
        }
    }
}

struct DeafWhenUnread;

impl Break for DeafWhenUnread {
    fn receiver(&self, sound: Box<dyn LinkReceiver>) -> Box<dyn LinkReceiver> {
        Box::new(Forgotten { sound: Some(sound), only_unread: true })
    }
}

#[test]
fn a_transport_that_does_not_tell_that_a_half_was_dropped_unread() {
    catches("dropping_either_half_on_either_side_ends_the_other_side", || DeafWhenUnread);
}

/// Yields with a message in hand, if it had to wait for that.
struct LosesWhatItWaitedFor;

impl Break for LosesWhatItWaitedFor {
    fn receiver(&self, sound: Box<dyn LinkReceiver>) -> Box<dyn LinkReceiver> {
        struct Half(Box<dyn LinkReceiver>);
        #[async_trait]
        impl LinkReceiver for Half {
            async fn recv(&mut self) -> Result<Option<Bytes>> {
                let mut waited = false;
                let mut receiving = self.0.recv();
                let message = poll_fn(|context| {
                    let polled = receiving.as_mut().poll(context);
                    waited |= polled.is_pending();
                    polled
                })
                .await;
                if waited {
                    tokio::task::yield_now().await;
                }
                message
            }
        }
        Box::new(Half(sound))
    }
}

#[test]
fn a_transport_that_loses_what_recv_has_waited_for() {
    catches("a_dropped_recv_loses_nothing", || LosesWhatItWaitedFor);
}

struct LosesOnDrop;

impl Break for LosesOnDrop {
    fn receiver(&self, sound: Box<dyn LinkReceiver>) -> Box<dyn LinkReceiver> {
        struct Half(Box<dyn LinkReceiver>);
        #[async_trait]
        impl LinkReceiver for Half {
            async fn recv(&mut self) -> Result<Option<Bytes>> {
                let message = self.0.recv().await;
                // Taken already, and lost when this is dropped here.
                tokio::task::yield_now().await;
                message
            }
        }
        Box::new(Half(sound))
    }
}

#[test]
fn a_transport_that_loses_a_message_when_recv_is_dropped() {
    catches("a_dropped_recv_loses_nothing", || LosesOnDrop);
}

struct HalfDeaf;

impl Break for HalfDeaf {
    fn receiver(&self, sound: Box<dyn LinkReceiver>) -> Box<dyn LinkReceiver> {
        Box::new(Forgotten { sound: Some(sound), only_unread: false })
    }
}

#[test]
fn a_transport_that_does_not_tell_that_a_half_was_dropped() {
    catches("dropping_either_half_on_either_side_ends_the_other_side", || HalfDeaf);
}
