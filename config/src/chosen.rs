//! Which plugins were chosen, and everything else an instance is opened with.

use std::sync::Arc;

use eidetica_kernel::Address;
use eidetica_kernel::options::OptionFault;
use eidetica_kernel::registry::{
    AuthFactory, BackendFactory, Descriptor, OpenContext, Plugin, Registry, SchedulerFactory, StoreFactory,
    TransportFactory,
};
use figment::value::{Dict, Value};

use crate::decode::{Reader, join, text};
use crate::fault::unknown;
use crate::sections::{Admission, AdmissionTable, Node, Peer, PeerTable, SECTIONS};

/// The capabilities that `backend.require` can name.
const CAPABILITIES: [&str; 3] = ["durable", "shared-by-processes", "watches-others"];

/// Chosen, validated plugins and settings; nothing is open yet.
#[derive(Debug)]
pub struct Chosen {
    /// Where bytes rest.
    pub backend: Box<dyn BackendFactory>,
    /// How other nodes are reached: by name, in the order of `transport.use`.
    pub transports: Vec<(&'static str, Box<dyn TransportFactory>)>,
    /// When to sync what with whom.
    pub scheduler: Arc<dyn SchedulerFactory>,
    /// Who may do what.
    pub auth: Box<dyn AuthFactory>,
    /// The store kinds, by name.
    pub stores: Vec<(&'static str, Box<dyn StoreFactory>)>,
    /// Who may join.
    pub admission: Admission,
    /// The nodes to sync with.
    pub peers: Vec<Peer>,
    /// The node itself.
    pub node: Node,
}

impl Chosen {
    /// What the factories are opened with.
    pub fn open_context(&self) -> OpenContext {
        OpenContext { data_dir: self.node.data_dir.clone() }
    }
}

/// Reads everything; `None` if a fault leaves a gap.
pub(crate) fn choose(reader: &mut Reader, registry: &Registry) -> Option<Chosen> {
    let top: Vec<String> =
        reader.root.as_dict().map(|dict| dict.keys().cloned().collect()).unwrap_or_default();
    for key in top.iter().filter(|key| !SECTIONS.contains(&key.as_str())) {
        reader.malformed(key.clone(), unknown("unknown key", key, &SECTIONS));
    }
    let backend = backend(reader, registry);
    let transports = many(
        reader,
        registry,
        "transport",
        |plugin| match plugin {
            Plugin::Transport(descriptor) => Some(descriptor),
            _ => None,
        },
        |factory| factory.validate(),
    );
    let scheduler = one(
        reader,
        registry,
        "scheduler",
        |plugin| match plugin {
            Plugin::Scheduler(descriptor) => Some(descriptor),
            _ => None,
        },
        |factory| factory.validate(),
    );
    let auth = one(
        reader,
        registry,
        "auth",
        |plugin| match plugin {
            Plugin::Auth(descriptor) => Some(descriptor),
            _ => None,
        },
        |factory| factory.validate(),
    );
    let stores = many(
        reader,
        registry,
        "store",
        |plugin| match plugin {
            Plugin::Store(descriptor) => Some(descriptor),
            _ => None,
        },
        |factory| factory.validate(),
    );
    let admission = section::<AdmissionTable>(reader, "admission").map(|table| table.admission());
    let node = section::<Node>(reader, "node");
    for (path, message) in node.iter().flat_map(Node::faults) {
        reader.unfit(join("node", &path), message);
    }
    if let Some(listen) = node.as_ref().and_then(|node| node.listen.as_deref())
        && !listen.trim().is_empty()
    {
        listening(reader, registry, &transports, listen);
    }
    let peers = peers(reader);
    Some(Chosen {
        backend: backend?,
        transports,
        scheduler: scheduler?.into(),
        auth: auth?,
        stores,
        admission: admission?,
        peers,
        node: node?,
    })
}

/// Checks the node's address with the transports that will listen there: as each would its own option `listen`.
fn listening(
    reader: &mut Reader,
    registry: &Registry,
    transports: &[(&'static str, Box<dyn TransportFactory>)],
    listen: &str,
) {
    for (name, _) in transports.iter().filter(|(_, transport)| transport.capabilities().binds) {
        // A text with the transport's name in front is for that transport alone.
        let own = match listen.parse::<Address>() {
            Ok(typed) if typed.transport_type == *name => typed.address,
            _ => listen.to_owned(),
        };
        let mut options = reader.table(&format!("transport.{name}"));
        options.insert("listen".to_owned(), Value::from(own.clone()));
        let options = Value::from(options);
        let Ok(descriptor) = registry.transport(name) else { continue };
        // Other options that are wrong were told already; a transport without this one says so only once it is opened.
        let Ok(transport) = (descriptor.parse)(&mut <dyn erased_serde::Deserializer<'_>>::erase(&options))
        else {
            continue;
        };
        if transport.listen_address().as_ref() == Some(&own) {
            for fault in transport.validate().into_iter().filter(|fault| fault.path == "listen") {
                reader.unfit("node.listen", fault.message);
            }
        }
    }
}

fn section<T: serde::de::DeserializeOwned>(reader: &mut Reader, key: &str) -> Option<T> {
    let table = reader.table(key);
    reader.decode(key, Value::from(table), eidetica_kernel::options::decode)
}

fn backend(reader: &mut Reader, registry: &Registry) -> Option<Box<dyn BackendFactory>> {
    let backend = one(
        reader,
        registry,
        "backend",
        |plugin| match plugin {
            Plugin::Backend(descriptor) => Some(descriptor),
            _ => None,
        },
        |factory| factory.validate(),
    );
    let required = reader.root.find_ref("backend.require").cloned();
    let required = required.map(|required| names(reader, "backend.require", &required)).unwrap_or_default();
    for (at, capability) in required.iter().enumerate() {
        let key = format!("backend.require[{at}]");
        if !CAPABILITIES.contains(&capability.as_str()) {
            reader.malformed(key, unknown("unknown capability", capability, &CAPABILITIES));
        } else if let Some(backend) = &backend {
            let able = backend.capabilities().names();
            if !able.contains(&capability.as_str()) {
                let used = reader.root.find_ref("backend.use").map(text).unwrap_or_default();
                let able = if able.is_empty() { "nothing".to_owned() } else { able.join(", ") };
                let chosen = reader.origin("backend.use");
                let message = format!(
                    "the backend {used} ({chosen}) isn't {capability}, it offers {able}; choose another backend"
                );
                reader.unfit(key, message);
            }
        }
    }
    backend
}

fn one<F: ?Sized + 'static>(
    reader: &mut Reader,
    registry: &Registry,
    kind: &'static str,
    descriptor: impl Fn(Plugin) -> Option<&'static Descriptor<F>>,
    validate: impl Fn(&F) -> Vec<OptionFault>,
) -> Option<Box<F>> {
    let key = format!("{kind}.use");
    let selected = match reader.root.find_ref(&key).cloned() {
        Some(Value::String(_, name)) => Some(name),
        Some(other) => {
            let found = text(&other);
            reader.malformed(key, format!("expected the name of one plugin as text, found {found}"));
            None
        }
        None => {
            let linked = registry.names(kind).join(", ");
            reader.unfit(key, format!("required, and missing; linked: {linked}"));
            None
        }
    };
    let selected: Vec<String> = selected.into_iter().collect();
    plugins(reader, registry, kind, &selected, descriptor, validate).pop().map(|(_, factory)| factory)
}

fn many<F: ?Sized + 'static>(
    reader: &mut Reader,
    registry: &Registry,
    kind: &'static str,
    descriptor: impl Fn(Plugin) -> Option<&'static Descriptor<F>>,
    validate: impl Fn(&F) -> Vec<OptionFault>,
) -> Vec<(&'static str, Box<F>)> {
    let key = format!("{kind}.use");
    let selected = match reader.root.find_ref(&key).cloned() {
        Some(Value::String(_, name)) => vec![name],
        Some(value) => names(reader, &key, &value),
        None => registry.names(kind).into_iter().map(str::to_owned).collect(),
    };
    plugins(reader, registry, kind, &selected, descriptor, validate)
}

/// A list of names, each once.
fn names(reader: &mut Reader, key: &str, value: &Value) -> Vec<String> {
    let Value::Array(_, items) = value else {
        let found = text(value);
        reader.malformed(key, format!("expected a list of names, found {found}"));
        return Vec::new();
    };
    let mut names: Vec<String> = Vec::new();
    for (at, item) in items.iter().enumerate() {
        match item.as_str() {
            Some(name) if names.iter().any(|other| other == name) => {
                reader.malformed(format!("{key}[{at}]"), format!("\"{name}\" is there twice"));
            }
            Some(name) => names.push(name.to_owned()),
            None => {
                let found = text(item);
                reader.malformed(format!("{key}[{at}]"), format!("expected a name as text, found {found}"));
            }
        }
    }
    names
}

/// Decodes and validates the table of every linked plugin of a kind; those selected come back, in the order selected.
fn plugins<F: ?Sized + 'static>(
    reader: &mut Reader,
    registry: &Registry,
    kind: &'static str,
    selected: &[String],
    descriptor: impl Fn(Plugin) -> Option<&'static Descriptor<F>>,
    validate: impl Fn(&F) -> Vec<OptionFault>,
) -> Vec<(&'static str, Box<F>)> {
    let mut table = reader.table(kind);
    table.remove("use");
    if kind == "backend" {
        table.remove("require");
    }
    let mut chosen: Vec<(&'static str, Box<F>)> = Vec::new();
    for descriptor in registry.plugins().iter().copied().filter_map(descriptor) {
        let name = descriptor.about.name;
        let options = table.remove(name);
        let is_selected = selected.iter().any(|selected| selected == name);
        if options.is_none() && !is_selected {
            continue;
        }
        let key = format!("{kind}.{name}");
        let options = match options {
            Some(options) if options.as_dict().is_none() => {
                let found = text(&options);
                reader.malformed(key, format!("expected a table of options, found {found}"));
                continue;
            }
            options => options.unwrap_or_else(|| Value::from(Dict::new())),
        };
        let Some(factory) = reader.decode(&key, options, descriptor.parse) else { continue };
        for fault in validate(&factory) {
            reader.unfit(join(&key, &fault.path), fault.message);
        }
        if is_selected {
            chosen.push((name, factory));
        }
    }
    let linked = registry.names(kind);
    for (name, value) in table {
        // The built-in profiles tune plugins that a program may do without.
        if reader.is_built_in(&value) {
            continue;
        }
        let message = if value.as_dict().is_some() {
            unknown(&format!("no {kind} \"{name}\" is linked"), &name, &linked)
        } else {
            let mut known = vec!["use"];
            known.extend((kind == "backend").then_some("require"));
            known.extend(&linked);
            unknown("unknown key", &name, &known)
        };
        reader.malformed(format!("{kind}.{name}"), message);
    }
    for name in selected.iter().filter(|name| !linked.contains(&name.as_str())) {
        let message = unknown(&format!("no {kind} \"{name}\" is linked"), name, &linked);
        let linked = if linked.is_empty() { "none".to_owned() } else { linked.join(", ") };
        let message =
            if message.contains("did you mean") { format!("{message} Linked: {linked}") } else { message };
        reader.unfit(format!("{kind}.use"), message);
    }
    let place = |name: &str| selected.iter().position(|selected| selected == name);
    chosen.sort_by_key(|(name, _)| place(name));
    chosen
}

fn peers(reader: &mut Reader) -> Vec<Peer> {
    let items = match reader.root.find_ref("peer").cloned() {
        Some(Value::Array(_, items)) => items,
        _ => return Vec::new(),
    };
    let mut peers: Vec<Peer> = Vec::new();
    for (at, item) in items.into_iter().enumerate() {
        let key = format!("peer[{at}]");
        let Some(table) = reader.decode(&key, item, eidetica_kernel::options::decode::<PeerTable>) else {
            continue;
        };
        match table.peer() {
            Ok(peer) if peers.iter().any(|other| other.key == peer.key) => {
                reader.unfit(join(&key, "key"), "this peer is there twice; join its addresses and databases");
            }
            Ok(peer) => peers.push(peer),
            Err(faults) => {
                for (path, message) in faults {
                    reader.unfit(join(&key, &path), message);
                }
            }
        }
    }
    peers
}
