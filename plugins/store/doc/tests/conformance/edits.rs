//! Random edits of a small document, made through [`DocStore`] by writers that keep meeting at the same places.

use std::collections::BTreeMap;

use eidetica_conformance::store::{Payload, PayloadSource, Random, Seen, TestTx};
use eidetica_kernel::{Result, StoreHandle};
use eidetica_store_doc::{Doc, DocStore, ROOT, Value};

/// Makes payloads, and counts what it does in them.
#[derive(Debug, Default)]
pub(crate) struct Edits {
    counts: BTreeMap<&'static str, usize>,
}

/// Places where all writers meet: maps, lists, scalars in turn.
const SHARED: [&str; 8] = ["a", "a.b", "a.b.c", "list", "list.0", "list.0.x", "a.list", ""];

/// Writes of a payload of many: more than are read, and more than there are paths told, at once.
const MANY: usize = 1_300;

impl PayloadSource for Edits {
    fn write_many(&mut self, random: &mut Random, seen: &Seen<'_>) -> Option<Payload> {
        let tx = TestTx::on(seen.rows.clone(), random.bits());
        let store = DocStore::open(tx.clone()).expect("a handle opens");
        for n in 0..MANY {
            // Others set the first of them as well.
            store.set_path(["many", &n.to_string()], scalar(random)).expect("a write is staged");
        }
        let (version, body) = tx.encode().expect("what was staged is a payload")?;
        Some(Payload { version, body })
    }

    fn write(&mut self, random: &mut Random, seen: &Seen<'_>) -> Payload {
        loop {
            let tx = TestTx::on(seen.rows.clone(), random.bits());
            let store = DocStore::open(tx.clone()).expect("a handle opens");
            for _ in 0..1 + random.below(4) {
                let kind = kind(random);
                match edit(&store, kind, random) {
                    Ok(()) => *self.counts.entry(kind).or_default() += 1,
                    // What isn't there, or is something else now, can't be edited: the next edit may.
                    Err(error) => assert!(
                        error.is_not_found() || error.kind() == eidetica_kernel::ErrorKind::InvalidInput,
                        "{kind}: {error}"
                    ),
                }
            }
            if let Some((version, body)) = tx.encode().expect("what was staged is a payload") {
                return Payload { version, body };
            }
        }
    }

    fn describe(&self) -> String {
        let all: usize = self.counts.values().sum();
        let meets =
            |kind: &str| kind.starts_with("shared") || kind.starts_with("list") || kind.starts_with("root");
        let shared: usize = self.counts.iter().filter(|(kind, _)| meets(kind)).map(|(_, count)| count).sum();
        let each: Vec<String> = self.counts.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
        format!("{all} edits, {} % at shared places: {}", shared * 100 / all.max(1), each.join(", "))
    }
}

fn kind(random: &mut Random) -> &'static str {
    match random.below(100) {
        0..12 => "own key set",
        12..20 => "own nested set",
        20..24 => "odd keys set",
        24..44 => "shared scalar set",
        44..54 => "shared map or list set",
        54..66 => "shared delete",
        66..76 => "list push",
        76..84 => "list insert",
        84..89 => "list move",
        89..96 => "list remove",
        96..98 => "long text set",
        _ => "root set",
    }
}

/// Some edit; an error if it can't be made here.
#[allow(dead_code, reason = "not every test that shares this file needs it")]
pub(crate) fn any(store: &DocStore, random: &mut Random) -> Result<()> {
    edit(store, kind(random), random)
}

fn scalar(random: &mut Random) -> Value {
    match random.below(7) {
        0 => Value::Null,
        1 => Value::from(random.percent(50)),
        2 => Value::from(random.bits() as i64),
        3 => Value::from(*random.pick(&[0.5, -0.0, 1e300, f64::MIN_POSITIVE])),
        4 => Value::from(random.below(5)),
        _ => Value::from(format!("text {}", random.below(1_000))),
    }
}

fn tree(random: &mut Random, depth: usize) -> Value {
    match random.below(if depth == 0 { 1 } else { 3 }) {
        0 => scalar(random),
        1 => {
            let keys = ["b", "c", "list", "x"];
            let pairs = (0..random.below(4)).map(|_| (*random.pick(&keys), tree(random, depth - 1)));
            Value::Map(pairs.collect::<Vec<_>>().into_iter().collect::<Doc>())
        }
        _ => (0..random.below(4)).map(|_| tree(random, depth - 1)).collect(),
    }
}

fn list_path(random: &mut Random) -> String {
    match random.below(5) {
        0 | 1 => "list".to_owned(),
        2 => "a.list".to_owned(),
        3 => "list.0".to_owned(),
        // Whose elements' paths are too long to be row keys.
        _ => format!("{}.list", "k".repeat(880)),
    }
}

fn edit(store: &DocStore, kind: &str, random: &mut Random) -> Result<()> {
    let list = list_path(random);
    let list = list.as_str();
    let len = store.len(list).unwrap_or(0);
    match kind {
        "own key set" => store.set(format!("own {}", random.bits()), scalar(random)),
        "own nested set" => {
            store.set_path(format!("own.{}.{}", random.bits(), random.below(3)), scalar(random))
        }
        "odd keys set" => {
            let long = "k".repeat(random.below(1_500));
            let odd = ["a.b", "", "\0\u{1}", "é", "0", "@", &long, "\u{10ffff}"];
            store.set_path([*random.pick(&odd), *random.pick(&odd), *random.pick(&odd)], scalar(random))
        }
        "shared scalar set" => store.set_path(*random.pick(&SHARED), scalar(random)),
        "shared map or list set" => store.set_path(*random.pick(&SHARED), tree(random, 3)),
        "shared delete" => store.delete_path(*random.pick(&SHARED)),
        "list push" => {
            store.extend(list, (0..1 + random.below(3)).map(|_| tree(random, 1)).collect::<Vec<_>>())
        }
        "list insert" => store.insert(list, random.below(len + 1), scalar(random)),
        "list move" => store.move_item(list, random.below(len), random.below(len)),
        "list remove" => store.remove(list, random.below(len)),
        "long text set" => store.set("long", "x".repeat(400_000 + random.below(700_000))),
        _ => store.set_path(ROOT, tree(random, 4)),
    }
}
