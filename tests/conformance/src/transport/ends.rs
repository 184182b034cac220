//! Two nodes and the links between them.

use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use eidetica_kernel::Context;
use eidetica_kernel::transport::{Address, Link, Listener, Transport};

use tokio::task::JoinSet;

use super::suite::Network;
use crate::check::{Outcome, fail};
use crate::context::tokio_context;

/// How long a call that ought to wait is watched.
pub(super) const PATIENCE: Duration = Duration::from_millis(50);

/// Bytes of a message that fills a link soon.
pub(super) const LARGE_BYTES: usize = 60_000;

/// A node that dials, one that listens, and its address.
pub(super) struct Ends {
    pub(super) dialler: Box<dyn Transport>,
    pub(super) server: Box<dyn Transport>,
    pub(super) listener: Box<dyn Listener>,
    pub(super) address: Address,
    pub(super) context: Context,
}

impl Ends {
    pub(super) async fn open(network: &Network) -> Outcome<Self> {
        Self::open_with(network, tokio_context()).await
    }

    pub(super) async fn open_with(network: &Network, context: Context) -> Outcome<Self> {
        let (dialler, server) = (network.node()?, network.node()?);
        let listener = server.listen(&context, &network.listen_text()).await?;
        let address = first_address(&*listener)?;
        Ok(Self { dialler, server, listener, address, context })
    }

    /// Another listener of the same node, at `text`, in place of the one there was.
    pub(super) async fn listen_anew(&mut self, text: &str) -> Outcome {
        let listener = self.server.listen(&self.context, text).await?;
        self.address = first_address(&*listener)?;
        self.listener = listener;
        Ok(())
    }

    /// One more link: dialled and accepted.
    pub(super) async fn link(&mut self) -> Outcome<(Link, Link)> {
        let Self { dialler, listener, address, context, .. } = self;
        join_link(&**dialler, context, address, &mut **listener).await
    }
}

fn first_address(listener: &dyn Listener) -> Outcome<Address> {
    match listener.addresses().into_iter().next() {
        Some(address) => Ok(address),
        None => fail("a listener without an address (A5)"),
    }
}

/// Accepts links until one says this. Others may say nothing for ever: those of strangers, and of calls that were dropped.
pub(super) async fn accept_who_says(listener: &mut dyn Listener, greeting: &[u8]) -> Outcome<Link> {
    let mut accepted = JoinSet::new();
    loop {
        tokio::select! {
            link = listener.accept() => {
                let Some(mut link) = link? else { return fail("an open listener says it is closed (A2 T5)") };
                accepted.spawn(async move { (link.receiver.recv().await, link) });
            }
            Some(first) = accepted.join_next() => {
                if let (Ok(Some(message)), link) = first?
                    && message == greeting
                {
                    return Ok(link);
                }
            }
        }
    }
}

pub(super) async fn join_link(
    dialler: &dyn Transport,
    context: &Context,
    address: &Address,
    listener: &mut dyn Listener,
) -> Outcome<(Link, Link)> {
    let (dialled, accepted) = tokio::join!(dialler.connect(context, address), listener.accept());
    match accepted? {
        Some(accepted) => Ok((dialled?, accepted)),
        None => fail("an open listener says it is closed"),
    }
}

/// A link alone, its nodes and its listener held.
pub(super) async fn pair(network: &Network) -> Outcome<(Link, Link, Ends)> {
    let mut ends = Ends::open(network).await?;
    let (dialled, accepted) = ends.link().await?;
    Ok((dialled, accepted, ends))
}

/// `None` if it still waits after [`PATIENCE`]; it is dropped then.
pub(super) async fn at_once<F: Future>(future: F) -> Option<F::Output> {
    tokio::time::timeout(PATIENCE, future).await.ok()
}

/// Polls once, drops what still waits, and lets others run; `None` then.
pub(super) async fn poll_once<F: Future>(future: F) -> Option<F::Output> {
    let polled = tokio::select! {
        biased;
        output = future => Some(output),
        () = std::future::ready(()) => None,
    };
    if polled.is_none() {
        tokio::task::yield_now().await;
    }
    polled
}

/// Polls whenever it is woken, `polls` times at most, and drops it then; `None` if it still waits.
pub(super) async fn poll_times<F: Future>(polls: usize, future: F) -> Option<F::Output> {
    let mut future = std::pin::pin!(future);
    let mut left = polls.max(1);
    std::future::poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => {
            left -= 1;
            if left == 0 { Poll::Ready(None) } else { Poll::Pending }
        }
    })
    .await
}

/// Lets tasks that were just spawned run until they wait.
pub(super) async fn let_them_wait() {
    for _ in 0..8 {
        tokio::task::yield_now().await;
    }
}

/// Sends large messages until one waits; that one is dropped. Says how many went.
pub(super) async fn fill(link: &mut Link) -> Outcome<usize> {
    let mut sent = 0;
    while let Some(result) = at_once(link.sender.send(large(sent))).await {
        result?;
        sent += 1;
        if sent * LARGE_BYTES > super::bounds::UNDER_WAY_BYTES_MAX {
            return fail(format!(
                "{sent} messages of {LARGE_BYTES} bytes are under way, and send doesn't wait (L2)"
            ));
        }
    }
    Ok(sent)
}

/// A large message that carries its number.
pub(super) fn large(number: usize) -> Bytes {
    let mut message = vec![0x5a; LARGE_BYTES];
    message[..8].copy_from_slice(&(number as u64).to_le_bytes());
    message.into()
}

/// The number of a large message that came whole.
pub(super) fn number(message: &[u8]) -> Outcome<usize> {
    match message.split_at_checked(8) {
        Some((number, rest)) if rest.len() == LARGE_BYTES - 8 && rest.iter().all(|byte| *byte == 0x5a) => {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(number);
            Ok(u64::from_le_bytes(bytes) as usize)
        }
        _ => fail(format!("a message of {} bytes that nobody sent (L1)", message.len())),
    }
}
