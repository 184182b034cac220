//! The nodes of one transport, the cases, and how they are run.

use std::any::Any;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use eidetica_kernel::error::Result;
use eidetica_kernel::runtime::BoxFuture;
use eidetica_kernel::transport::{Address, Transport, TransportCapabilities};
use libtest_mimic::{Arguments, Trial};

use super::{bounds, closing, dialling, listening, messages, tasks};
use crate::check::{Outcome, fail};
use crate::run::{failure, trial};

/// How long a case may take.
const CASE_MAX: Duration = Duration::from_secs(90);

/// Connects below the links to an address, writes bytes, and holds the connection as long as what it gives is held.
type Raw = dyn Fn(Address, Vec<u8>) -> BoxFuture<'static, Result<Box<dyn Any + Send>>> + Send + Sync;

/// Nodes of one transport that can reach each other, and nobody else.
///
/// ```
/// use eidetica_conformance::transport::{Network, Reference};
///
/// let hub = Reference::new();
/// let network = Network::new("", move || Ok(Box::new(hub.node())));
/// # let _ = network;
/// ```
pub struct Network {
    listen: Box<dyn Fn() -> String + Send + Sync>,
    node: Box<dyn Fn() -> Result<Box<dyn Transport>> + Send + Sync>,
    malformed: Vec<String>,
    raw: Option<Arc<Raw>>,
    guard: Option<Box<dyn Any + Send + Sync>>,
    case_max: Duration,
}

impl Network {
    /// A network whose nodes' transports `node` makes, a new one at each call. `listen` is what they are told to listen at:
    /// text that gives every node an address of its own (a port 0). Where there is no such text, see [`Network::fresh`].
    pub fn new(
        listen: impl Into<String>,
        node: impl Fn() -> Result<Box<dyn Transport>> + Send + Sync + 'static,
    ) -> Self {
        let listen = listen.into();
        Self {
            listen: Box::new(move || listen.clone()),
            node: Box::new(node),
            malformed: Vec::new(),
            raw: None,
            guard: None,
            case_max: CASE_MAX,
        }
    }

    /// Nodes are told to listen at what `listen` makes, another text at each call: for transports whose addresses are chosen, as the
    /// paths of sockets are.
    #[must_use]
    pub fn fresh(mut self, listen: impl Fn() -> String + Send + Sync + 'static) -> Self {
        self.listen = Box::new(listen);
        self
    }

    /// Texts that are no addresses of this transport, beside those that are nobody's.
    #[must_use]
    pub fn malformed<T: Into<String>>(mut self, texts: impl IntoIterator<Item = T>) -> Self {
        self.malformed.extend(texts.into_iter().map(Into::into));
        self
    }

    /// How a stranger connects to an address below the links, writes the bytes, and stays until what it gives is dropped.
    /// Without it, the cases of strangers who talk nonsense are skipped.
    #[must_use]
    pub fn raw(
        mut self,
        raw: impl Fn(Address, Vec<u8>) -> BoxFuture<'static, Result<Box<dyn Any + Send>>> + Send + Sync + 'static,
    ) -> Self {
        self.raw = Some(Arc::new(raw));
        self
    }

    /// Keeps `guard` until the case is over: a temporary folder, a server.
    #[must_use]
    pub fn keep(mut self, guard: impl Any + Send + Sync) -> Self {
        self.guard = Some(Box::new(guard));
        self
    }

    pub(super) fn node(&self) -> Result<Box<dyn Transport>> {
        (self.node)()
    }

    pub(super) fn listen_text(&self) -> String {
        (self.listen)()
    }

    pub(super) fn malformed_texts(&self) -> &[String] {
        &self.malformed
    }

    pub(super) fn raw_connection(
        &self,
        address: &Address,
        bytes: Vec<u8>,
    ) -> Option<BoxFuture<'static, Result<Box<dyn Any + Send>>>> {
        self.raw.as_ref().map(|raw| raw(address.clone(), bytes))
    }

    /// What must end soon; a third of the case's time is patience enough, and the failure names what still waits.
    pub(super) async fn in_time<F: Future>(&self, what: &str, future: F) -> Outcome<F::Output> {
        let most = self.case_max / 3;
        match tokio::time::timeout(most, future).await {
            Ok(output) => Ok(output),
            Err(_) => fail(format!("{what} still waits after {} s", most.as_secs())),
        }
    }

    /// Runs a case on a runtime of one thread.
    pub(super) fn run(&self, case: impl Future<Output = Outcome>) -> Outcome {
        self.run_on(&tokio::runtime::Builder::new_current_thread().enable_all().build()?, case)
    }

    pub(super) fn run_on(
        &self,
        runtime: &tokio::runtime::Runtime,
        case: impl Future<Output = Outcome>,
    ) -> Outcome {
        runtime.block_on(async {
            match tokio::time::timeout(self.case_max, case).await {
                Ok(outcome) => outcome,
                Err(_) => fail(format!("something still waits after {} s", self.case_max.as_secs())),
            }
        })
    }
}

impl std::fmt::Debug for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Network").finish_non_exhaustive()
    }
}

/// What a case needs beyond the mandatory contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Nothing: every transport must pass.
    Nothing,
    /// [`TransportCapabilities::binds`].
    Binds,
    /// [`TransportCapabilities::proves_keys`].
    ProvesKeys,
    /// [`TransportCapabilities::encrypts`].
    Encrypts,
    /// [`Network::raw`].
    Raw,
}

impl Needs {
    fn missing(self, capabilities: TransportCapabilities, raw: bool) -> Option<&'static str> {
        let (there, missing) = match self {
            Self::Nothing => (true, ""),
            Self::Binds => (capabilities.binds, "it chooses its addresses by itself"),
            Self::ProvesKeys => (capabilities.proves_keys, "it proves no keys"),
            Self::Encrypts => (capabilities.encrypts, "it doesn't encrypt"),
            Self::Raw => (raw, "the test gives no way to connect below its links"),
        };
        (!there).then_some(missing)
    }
}

/// One behaviour that a transport must have.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// The behaviour, as a name.
    pub name: &'static str,
    /// The invariants it comes from.
    pub invariants: &'static str,
    /// What it needs beyond the mandatory contract.
    pub needs: Needs,
    run: fn(&Network) -> Outcome,
}

impl Case {
    pub(super) const fn new(
        name: &'static str,
        invariants: &'static str,
        run: fn(&Network) -> Outcome,
    ) -> Self {
        Self { name, invariants, needs: Needs::Nothing, run }
    }

    pub(super) const fn needs(mut self, needs: Needs) -> Self {
        self.needs = needs;
        self
    }
}

/// The cases, ready to run against one transport.
#[derive(Clone)]
pub struct Suite {
    name: String,
    network: Arc<dyn Fn() -> Network + Send + Sync>,
    case_max: Duration,
}

impl Suite {
    /// The suite for the transport `name`, whose networks `network` makes, a new one for each case.
    pub fn new(name: impl Into<String>, network: impl Fn() -> Network + Send + Sync + 'static) -> Self {
        Self { name: name.into(), network: Arc::new(network), case_max: CASE_MAX }
    }

    /// How long each case may take, 90 s unless told.
    #[must_use]
    pub fn case_max(mut self, case_max: Duration) -> Self {
        self.case_max = case_max;
        self
    }

    /// Every case, in the order they are run.
    pub fn cases() -> Vec<Case> {
        let cases = [
            messages::CASES,
            bounds::CASES,
            closing::CASES,
            listening::CASES,
            dialling::CASES,
            tasks::CASES,
            #[cfg(feature = "engine")]
            super::engine::CASES,
        ];
        cases.concat()
    }

    /// The cases as tests for [`libtest_mimic::run`].
    pub fn trials(&self) -> Vec<Trial> {
        let (capabilities, raw) = self.given();
        let as_trial = |case: Case| {
            let suite = self.clone();
            let skipped = case.needs.missing(capabilities, raw);
            trial(&self.name, (case.name, case.invariants), skipped, move || (case.run)(&suite.make()))
        };
        Self::cases().into_iter().map(as_trial).collect()
    }

    /// Runs the cases as a test program; its arguments are those of any Rust test program.
    pub fn main(&self) -> ExitCode {
        let mut arguments = Arguments::from_args();
        // More at a time would only wait for each other's processor time.
        arguments.test_threads.get_or_insert(2);
        libtest_mimic::run(&arguments, self.trials()).exit_code()
    }

    /// Runs every case that applies and returns those that failed, with why. For tests of the suite itself.
    pub fn failures(&self) -> Vec<(&'static str, String)> {
        let (capabilities, raw) = self.given();
        let applies = |case: &Case| case.needs.missing(capabilities, raw).is_none();
        let failed = |case: Case| Some((case.name, self.failure(case)?));
        Self::cases().into_iter().filter(applies).filter_map(failed).collect()
    }

    /// Why the case fails, if it does. For tests of the suite itself.
    pub fn failure(&self, case: Case) -> Option<String> {
        failure("T4", || (case.run)(&self.make()))
    }

    fn make(&self) -> Network {
        Network { case_max: self.case_max, ..(self.network)() }
    }

    /// What the transport declares, and whether strangers can be played.
    fn given(&self) -> (TransportCapabilities, bool) {
        let network = self.make();
        // A transport that can't be made fails every case, and each says why.
        let capabilities = network.node().map(|node| node.capabilities()).unwrap_or_default();
        (capabilities, network.raw.is_some())
    }
}

impl std::fmt::Debug for Suite {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Suite").field(&self.name).finish()
    }
}
