//! Random edits of a small table, made through [`Table`] by writers that keep meeting at the same rows.

use std::collections::BTreeMap;

use eidetica_conformance::store::{Payload, PayloadSource, Random, Seen, TestTx};
use eidetica_kernel::{Result, StoreHandle};
use eidetica_store_table::{RowId, Table};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Item {
    pub(crate) name: String,
    pub(crate) age: i64,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) note: Option<String>,
    pub(crate) tags: Vec<u8>,
    #[serde(default)]
    pub(crate) marks: BTreeMap<String, i64>,
}

pub(crate) fn item(random: &mut Random) -> Item {
    Item {
        name: (*random.pick(&["ann", "bob", "cy", ""])).to_owned(),
        age: random.below(6) as i64 - 2,
        note: random.percent(50).then(|| "x".repeat(random.below(400))),
        tags: vec![1; random.below(3)],
        marks: (0..random.below(3))
            .map(|at| ((*random.pick(&["a", "\"", "\\", "é\n", ""])).to_owned(), at as i64))
            .collect(),
    }
}

pub(crate) fn edit(table: &Table<Item>, random: &mut Random) -> Result<()> {
    let id = RowId::from_bytes([random.below(12) as u8; 16]);
    let new = item(random);
    match random.below(10) {
        0 => drop(table.delete(&id)?),
        1 | 2 => table.put(&id, &new)?,
        3 => drop(table.insert(&new)?),
        _ if !table.contains(&id)? => table.put(&id, &new)?,
        at => {
            let mut row = table.get(&id)?;
            match at {
                4 => row.name = new.name,
                5 | 6 => row.age = new.age,
                7 => row.note = new.note,
                _ => row = new,
            }
            table.update(&id, &row)?;
        }
    }
    Ok(())
}

pub(crate) struct Edits;

/// Rows of a payload of many writes: more than are read, and more than there are paths told, at once.
const MANY: u16 = 1_300;

impl PayloadSource for Edits {
    fn write_many(&mut self, random: &mut Random, seen: &Seen<'_>) -> Option<Payload> {
        let tx = TestTx::on(seen.rows.clone(), random.bits());
        let table = Table::<Item>::open(tx.clone()).expect("a handle opens");
        for n in 0..MANY {
            let mut id = [n as u8; 16];
            // The first are the rows that all writers meet at.
            id[..2].copy_from_slice(&if n < 12 { [n as u8; 2] } else { n.to_be_bytes() });
            table.put(&RowId::from_bytes(id), &item(random)).expect("a row is staged");
        }
        let (version, body) = tx.encode().expect("what was staged is a payload")?;
        Some(Payload { version, body })
    }

    fn write(&mut self, random: &mut Random, seen: &Seen<'_>) -> Payload {
        loop {
            let tx = TestTx::on(seen.rows.clone(), random.bits());
            let table = Table::<Item>::open(tx.clone()).expect("a handle opens");
            for _ in 0..1 + random.below(4) {
                edit(&table, random).expect("an edit is staged");
            }
            if let Some((version, body)) = tx.encode().expect("what was staged is a payload") {
                return Payload { version, body };
            }
        }
    }
}
