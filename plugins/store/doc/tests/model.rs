//! Random edits by several replicas against a plain model of `FORMAT.md`, and the two ways to see a transaction.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "conformance/edits.rs"]
mod edits;

use std::collections::BTreeMap;
use std::sync::Arc;

use edits::Edits;
use eidetica_conformance::store::{History, MemoryRows, Random, TestTx};
use eidetica_kernel::store::{RowOverlay, Stamp};
use eidetica_kernel::{HybridClock, Id, Store, StoreHandle};
use eidetica_store_doc::{DocKind, DocStore, Value};
use serde::Deserialize;

/// The wire format once more, read with plain derives.
#[derive(Deserialize, Clone, Debug)]
enum Scalar {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    Bytes(Vec<u8>),
}

#[derive(Deserialize, Clone, Copy, PartialEq, Debug)]
enum Container {
    Map,
    List,
}

#[derive(Deserialize, Clone, Debug)]
enum Action {
    Put(Scalar),
    Reset(Container),
    Open(Container),
    Delete,
    Place(Vec<u8>),
}

#[derive(Deserialize, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Segment {
    Key(String),
    Element(Id, u32),
    Own(u32),
    Position(Id, u32),
    OwnPosition(u32),
}

type Path = Vec<Segment>;

#[derive(Default)]
struct Model {
    /// The newest write of each path.
    registers: BTreeMap<Path, (Stamp, Action)>,
    cuts: BTreeMap<Path, Stamp>,
}

impl Model {
    fn apply(&mut self, stamp: Stamp, body: &[u8]) {
        let (root, mut rest) = postcard::take_from_bytes::<Action>(body).unwrap();
        self.write(Vec::new(), stamp, root);
        let mut path = Path::new();
        while !rest.is_empty() {
            let ((depth, segment, action), behind) =
                postcard::take_from_bytes::<(u16, Segment, Action)>(rest).unwrap();
            rest = behind;
            path.truncate(usize::from(depth) - 1);
            path.push(match segment {
                Segment::Own(n) => Segment::Element(stamp.entry, n),
                Segment::OwnPosition(n) => Segment::Position(stamp.entry, n),
                other => other,
            });
            self.write(path.clone(), stamp, action);
        }
    }

    fn write(&mut self, path: Path, stamp: Stamp, action: Action) {
        if matches!(action, Action::Put(_) | Action::Reset(_) | Action::Delete) {
            let cut = self.cuts.entry(path.clone()).or_insert(stamp);
            *cut = stamp.max(*cut);
        }
        match self.registers.get(&path) {
            Some((newest, _)) if *newest >= stamp => {}
            _ => {
                self.registers.insert(path, (stamp, action));
            }
        }
    }

    fn value(&self, path: &Path) -> Option<Value> {
        let (stamp, action) = self.registers.get(path)?;
        let hidden = (0..path.len()).any(|end| self.cuts.get(&path[..end]).is_some_and(|cut| cut > stamp));
        if hidden {
            return None;
        }
        let children = || {
            let below = self.registers.keys();
            below.filter(move |child| child.len() == path.len() + 1 && child.starts_with(path))
        };
        Some(match action {
            Action::Delete | Action::Place(_) => return None,
            Action::Put(scalar) => match scalar.clone() {
                Scalar::Null => Value::Null,
                Scalar::Bool(value) => value.into(),
                Scalar::Int(value) => value.into(),
                Scalar::Float(value) => value.into(),
                Scalar::Text(value) => value.into(),
                Scalar::Bytes(value) => value.into(),
            },
            Action::Open(Container::Map) | Action::Reset(Container::Map) => {
                let entries = children().filter_map(|child| match child.last() {
                    Some(Segment::Key(key)) => Some((key.clone(), self.value(child)?)),
                    _ => None,
                });
                Value::Map(entries.collect())
            }
            Action::Open(Container::List) | Action::Reset(Container::List) => {
                let mut elements: Vec<(Vec<u8>, Id, u32, Value)> = children()
                    .filter_map(|child| match child.last() {
                        Some(Segment::Element(entry, n)) => {
                            let mut position = path.clone();
                            position.push(Segment::Position(*entry, *n));
                            match self.registers.get(&position) {
                                Some((_, Action::Place(at))) => {
                                    Some((at.clone(), *entry, *n, self.value(child)?))
                                }
                                _ => None,
                            }
                        }
                        _ => None,
                    })
                    .collect();
                elements.sort_by(|a, b| (&a.0, a.1, a.2).cmp(&(&b.0, b.1, b.2)));
                Value::List(elements.into_iter().map(|(.., value)| value).collect())
            }
        })
    }

    fn root(&self) -> Value {
        self.value(&Vec::new()).unwrap_or_else(|| Value::Map(Default::default()))
    }
}

#[test]
fn the_store_shows_what_the_format_says() {
    for seed in 0..25 {
        let mut random = Random::new(10_000 + seed);
        let mut written = History::random(&DocKind, &mut Edits::default(), &mut random, 40).unwrap().written;
        random.shuffle(&mut written);
        let mut rows = Arc::new(MemoryRows::new());
        let mut model = Model::default();
        for payload in &written {
            model.apply(payload.stamp, &payload.payload.body);
            let mut overlay = RowOverlay::new(&*rows);
            DocKind.apply(&mut overlay, &payload.stamped(0)).unwrap();
            let changes = overlay.into_changes();
            Arc::make_mut(&mut rows).write(changes);
            let store = DocStore::open(TestTx::on(rows.clone(), 0)).unwrap();
            assert_eq!(store.root().unwrap(), model.root(), "seed {seed}");
        }
    }
}

#[test]
fn a_transaction_sees_what_it_will_have_written() {
    for seed in 0..400 {
        let mut random = Random::new(20_000 + seed);
        let mut rows = Arc::new(MemoryRows::new());
        for commit in 1..6_u64 {
            let tx = TestTx::on(rows.clone(), random.bits());
            let store = DocStore::open(tx.clone()).unwrap();
            for _ in 0..1 + random.below(12) {
                // What can't be done leaves everything as it was.
                let before = store.root().unwrap();
                if edits::any(&store, &mut random).is_err() {
                    assert_eq!(store.root().unwrap(), before, "seed {seed}");
                }
            }
            let seen = store.root().unwrap();
            let Some((version, body)) = tx.encode().unwrap() else { continue };
            drop((store, tx));
            let stamp =
                Stamp { clock: HybridClock::from_bits(commit), entry: Id::from_bytes([commit as u8; 32]) };
            let payload =
                eidetica_kernel::store::StampedPayload { stamp, arrival: commit, version, body: &body };
            let mut overlay = RowOverlay::new(&*rows);
            let applied = DocKind.apply(&mut overlay, &payload).unwrap();
            assert!(matches!(applied, eidetica_kernel::store::Applied::Folded { .. }), "{applied:?}");
            let changes = overlay.into_changes();
            Arc::make_mut(&mut rows).write(changes);
            let store = DocStore::open(TestTx::on(rows.clone(), 0)).unwrap();
            assert_eq!(store.root().unwrap(), seen, "seed {seed}");
            if let Value::Map(doc) = &seen {
                assert_eq!(store.keys().unwrap(), doc.keys().cloned().collect::<Vec<_>>());
                for (key, value) in doc {
                    assert_eq!(store.get(key).unwrap(), *value);
                }
            }
        }
    }
}
