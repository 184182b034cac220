//! From a transport's link to a channel: who is at the other end, sealed messages, and many streams over one link.
//!
//! The bytes are specified in the kernel's `PROTOCOL.md`, chapters "Handshake" to "Priorities".
//!
//! - [`initiate`] and [`respond`] turn a [`Link`](eidetica_kernel::transport::Link) into a [`Channel`].
//! - [`Mux`] puts frames of many streams into messages and takes them out again. It does no I/O and reads no clock.
//!
//! Whoever drives a channel runs two loops: one takes messages from [`Mux::next_message`] to
//! [`ChannelSender::send`], the other feeds what [`ChannelReceiver::recv`] yields to [`Mux::on_message`]. The second
//! never waits for the first, nor for whoever takes the events: credit bounds what can arrive.

mod compress;
mod exchange;
mod frame;
mod halves;
mod handshake;
mod identity;
mod mux;
mod noise;
mod offer;
mod proof;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod wire;

pub(crate) use compress::{compress, decompress};
pub(crate) use frame::{Class, Event, FLAG_COMPRESSED, Reason};
pub(crate) use halves::{ChannelReceiver, ChannelSender};
pub(crate) use handshake::{Channel, ChannelConfig, initiate, refuse_busy, respond};
pub(crate) use identity::Identity;
pub(crate) use mux::Mux;
pub(crate) use proof::{Role, session_proof, verify_session_proof};
