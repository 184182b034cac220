//! Names that listen, and the links between them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, OnceLock, Weak};

use eidetica_kernel::error::excerpt;
use eidetica_kernel::transport::Link;
use eidetica_kernel::{Error, ErrorKind, Result};
use parking_lot::Mutex;
use tokio::sync::mpsc;

use crate::wire::Wire;

/// Longest name, in bytes.
const NAME_BYTES_MAX: usize = 128;

/// A network of this process: names, and the links between them, which can be cut.
///
/// Clones are the same network.
///
/// ```
/// use eidetica_transport_memory::{MemoryNetwork, MemoryTransport};
///
/// let network = MemoryNetwork::new();
/// let alice = MemoryTransport::on(&network);
/// let bob = MemoryTransport::on(&network);
/// network.isolate("alice"); // bob can't reach her any more
/// network.restore("alice");
/// # let _ = (alice, bob);
/// ```
#[derive(Clone, Default)]
pub struct MemoryNetwork(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    listeners: BTreeMap<String, Bound>,
    isolated: BTreeSet<String>,
    /// Open links under the name of each end that has one.
    links: BTreeMap<String, Vec<Weak<Wire>>>,
    fresh: u64,
}

struct Bound {
    number: u64,
    accepting: mpsc::Sender<Link>,
}

impl MemoryNetwork {
    /// A network of its own, which nothing outside shares.
    pub fn new() -> Self {
        Self::default()
    }

    /// The one network that everything in this process shares by default.
    pub fn process() -> Self {
        static PROCESS: OnceLock<MemoryNetwork> = OnceLock::new();
        PROCESS.get_or_init(Self::new).clone()
    }

    /// Breaks every link from or to `name`; what is under way is lost. New links can be opened at once.
    pub fn cut(&self, name: &str) {
        let wires = self.0.lock().links.remove(name).unwrap_or_default();
        for wire in wires.iter().filter_map(Weak::upgrade) {
            wire.cut();
        }
    }

    /// Breaks every link from or to `name`, and refuses new ones until [`MemoryNetwork::restore`].
    pub fn isolate(&self, name: &str) {
        self.0.lock().isolated.insert(name.to_owned());
        self.cut(name);
    }

    /// Ends what [`MemoryNetwork::isolate`] began.
    pub fn restore(&self, name: &str) {
        self.0.lock().isolated.remove(name);
    }

    /// The names that listen, sorted.
    pub fn names(&self) -> Vec<String> {
        self.0.lock().listeners.keys().cloned().collect()
    }

    pub(crate) fn bind(
        &self,
        name: &str,
        accept_queue_max: usize,
    ) -> Result<(Binding, mpsc::Receiver<Link>)> {
        check_listen_name(name)?;
        let mut state = self.0.lock();
        let name = if is_fresh(name) { state.fresh_name() } else { name.to_owned() };
        if state.listeners.contains_key(&name) {
            let subject = format_args!("memory:{name}");
            return Err(Error::new(
                ErrorKind::InUse,
                "listening at",
                subject,
                "something listens there already",
            )
            .hint("choose another name, or \"0\" for a fresh one"));
        }
        let (accepting, accepted) = mpsc::channel(accept_queue_max.max(1));
        state.fresh += 1;
        let number = state.fresh;
        state.listeners.insert(name.clone(), Bound { number, accepting });
        Ok((Binding { network: self.clone(), name, number }, accepted))
    }

    /// Where links to `to` are queued for acceptance.
    pub(crate) fn find(&self, from: Option<&str>, to: &str) -> Result<mpsc::Sender<Link>> {
        let unreachable =
            |reason| Error::new(ErrorKind::Unreachable, "connecting to", format_args!("memory:{to}"), reason);
        let state = self.0.lock();
        if [Some(to), from].into_iter().flatten().any(|name| state.isolated.contains(name)) {
            return Err(unreachable("it is isolated"));
        }
        let bound = state.listeners.get(to).ok_or_else(|| unreachable("nothing listens there"))?;
        Ok(bound.accepting.clone())
    }

    pub(crate) fn track(&self, names: &[&str], wire: &Arc<Wire>) {
        let mut state = self.0.lock();
        for name in names {
            let wires = state.links.entry((*name).to_owned()).or_default();
            wires.retain(|wire| wire.strong_count() > 0);
            wires.push(Arc::downgrade(wire));
        }
        let isolated = names.iter().any(|name| state.isolated.contains(*name));
        drop(state);
        if isolated {
            wire.cut();
        }
    }
}

impl fmt::Debug for MemoryNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryNetwork").field("names", &self.names()).finish_non_exhaustive()
    }
}

impl State {
    fn fresh_name(&mut self) -> String {
        loop {
            self.fresh += 1;
            let name = format!("node-{}", self.fresh);
            if !self.listeners.contains_key(&name) {
                return name;
            }
        }
    }
}

/// A bound name, free again once this is dropped.
pub(crate) struct Binding {
    network: MemoryNetwork,
    pub(crate) name: String,
    number: u64,
}

impl Drop for Binding {
    fn drop(&mut self) {
        let mut state = self.network.0.lock();
        if state.listeners.get(&self.name).is_some_and(|bound| bound.number == self.number) {
            state.listeners.remove(&self.name);
        }
    }
}

fn is_fresh(name: &str) -> bool {
    name.is_empty() || name == "0"
}

/// A name to listen at: like one to dial, or empty or "0".
pub(crate) fn check_listen_name(name: &str) -> Result<()> {
    if is_fresh(name) { Ok(()) } else { check_name(name) }
}

/// A name that can be dialled.
pub(crate) fn check_name(name: &str) -> Result<()> {
    let reason = if is_fresh(name) {
        "it names nobody"
    } else if name.len() > NAME_BYTES_MAX {
        "the name is longer than 128 bytes"
    } else if name.chars().any(|c| c.is_whitespace() || c.is_control()) {
        "the name contains blanks or control characters"
    } else {
        return Ok(());
    };
    Err(Error::new(ErrorKind::InvalidInput, "reading the memory address", excerpt(name, 80), reason)
        .hint("such addresses look like \"memory:alice\""))
}
