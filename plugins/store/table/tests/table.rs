//! What a table does: for one person, for several at once, and what it costs.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "conformance/edits.rs"]
#[allow(dead_code, reason = "the suite uses all of it")]
mod edits;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use edits::Item;
use eidetica_conformance::store::{History, MemoryRows, Payload, Random, TestTx, Written};
use eidetica_kernel::store::{Applied, RowOverlay, Stamp};
use eidetica_kernel::{ErrorKind, HybridClock, Id, Result, Store, StoreHandle};
use eidetica_store_table::{IndexValue, IntoRange, RowId, Table, TableKind};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

#[derive(Clone, Default)]
struct Replica {
    rows: Arc<MemoryRows>,
    clock: u64,
}

impl Replica {
    fn open<T: Serialize + DeserializeOwned + 'static>(&self) -> Table<T> {
        Table::open(TestTx::on(self.rows.clone(), 0)).unwrap()
    }

    fn commit<T: Serialize + DeserializeOwned + 'static, R>(
        &mut self,
        name: u8,
        edit: impl FnOnce(&Table<T>) -> Result<R>,
    ) -> (Written, R) {
        let tx = TestTx::on(self.rows.clone(), u64::from(name) << 32 | self.clock);
        let answer = edit(&Table::open(tx.clone()).unwrap()).unwrap();
        let (version, body) = tx.encode().unwrap().expect("something was staged");
        drop(tx);
        let stamp =
            Stamp { clock: HybridClock::from_bits(self.clock + 1), entry: Id::from_bytes([name; 32]) };
        let written = Written { stamp, payload: Payload { version, body } };
        self.take_in(&written);
        (written, answer)
    }

    fn take_in(&mut self, written: &Written) {
        self.clock = self.clock.max(written.stamp.clock.to_bits());
        let mut overlay = RowOverlay::new(&*self.rows);
        let applied = TableKind.apply(&mut overlay, &written.stamped(0)).unwrap();
        assert!(matches!(applied, Applied::Folded { .. }), "{applied:?}");
        let changes = overlay.into_changes();
        Arc::make_mut(&mut self.rows).write(changes);
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Person {
    name: String,
    age: u32,
}

fn person(name: &str, age: u32) -> Person {
    Person { name: name.to_owned(), age }
}

#[test]
fn a_query_among_ten_thousand_rows_reads_in_the_order_of_its_result() {
    let mut replica = Replica::default();
    replica.commit(1, |table: &Table<Person>| {
        table.ensure_index("age")?;
        (0..10_000).try_for_each(|n| table.insert(&person(&format!("p{n}"), n % 1_000)).map(drop))
    });
    let table = replica.open::<Person>();
    let rows_read = |query: &dyn Fn() -> usize| {
        let before = replica.rows.counts().rows;
        let found = query();
        (found, replica.rows.counts().rows - before)
    };
    // Each result is its index row, its marker and its two fields.
    assert_eq!(rows_read(&|| table.find("age", 7).unwrap().len()), (10, 40));
    assert_eq!(rows_read(&|| table.find("age", 7..9).unwrap().len()), (20, 80));
    assert_eq!(rows_read(&|| table.find("name", "p123").unwrap().len()), (1, 4));
    assert_eq!(rows_read(&|| table.find("age", 5_000..).unwrap().len()), (0, 0));
    assert_eq!(table.count().unwrap(), 10_000);
    assert_eq!(table.filter(|person| person.age < 2).unwrap().len(), 20);
}

#[test]
fn different_fields_of_a_row_merge_and_one_field_has_one_winner() {
    let mut a = Replica::default();
    let (_, id) = a.commit(1, |table| table.insert(&person("Alice", 30)));
    let mut b = a.clone();
    let (older, ()) = a.commit(2, |table: &Table<Person>| table.update(&id, &person("Alicia", 30)));
    let (newer, ()) = b.commit(3, |table: &Table<Person>| table.update(&id, &person("Alice", 31)));
    a.take_in(&newer);
    b.take_in(&older);
    for replica in [&a, &b] {
        assert_eq!(replica.open::<Person>().get(&id).unwrap(), person("Alicia", 31));
        assert_eq!(replica.open::<Person>().find("age", 30).unwrap(), []);
    }
}

#[test]
fn a_delete_stands_against_a_later_update_elsewhere_and_a_put_brings_the_row_back_whole() {
    let mut a = Replica::default();
    let (_, id) = a.commit(1, |table| table.insert(&person("Alice", 30)));
    let mut b = a.clone();
    let (deleted, there) = a.commit(2, |table: &Table<Person>| table.delete(&id));
    assert!(there);
    b.clock += 10;
    let (updated, ()) = b.commit(3, |table: &Table<Person>| table.update(&id, &person("Alice", 31)));
    a.take_in(&updated);
    b.take_in(&deleted);
    for replica in [&mut a, &mut b] {
        let table = replica.open::<Person>();
        assert!(table.get(&id).unwrap_err().is_not_found());
        assert_eq!(table.find("age", ..).unwrap(), []);
        assert!(!table.delete(&id).unwrap());
        assert!(table.update(&id, &person("x", 1)).unwrap_err().is_not_found());
        drop(table);
        replica.clock += 1;
        replica.commit(4, |table| table.put(&id, &person("Bob", 9)));
        assert_eq!(replica.open::<Person>().find("age", ..).unwrap(), [(id, person("Bob", 9))]);
    }
}

#[test]
fn a_transaction_finds_what_it_staged() {
    let mut replica = Replica::default();
    let (_, old) = replica.commit(1, |table| table.insert(&person("old", 1)));
    replica.commit(2, |table: &Table<Person>| {
        let new = table.insert(&person("new", 1))?;
        let newer = table.insert(&person("newer", 1))?;
        assert!(old < new && new < newer);
        assert_eq!(table.find("age", 1)?.len(), 3);
        table.update(&old, &person("old", 2))?;
        assert!(table.delete(&new)?);
        assert_eq!(table.find("age", 1)?, [(newer, person("newer", 1))]);
        assert_eq!(table.find("age", 2)?, [(old, person("old", 2))]);
        table.put(&new, &person("again", 3))?;
        assert_eq!(table.get(&new)?, person("again", 3));
        assert_eq!(table.scan().collect::<Result<Vec<_>>>()?.len(), 3);
        assert_eq!(table.scan_range(new..).collect::<Result<Vec<_>>>()?.len(), 2);
        assert_eq!(table.scan_range(..=new).collect::<Result<Vec<_>>>()?.len(), 2);
        Ok(())
    });
    assert_eq!(replica.open::<Person>().find("age", 1..=3).unwrap().len(), 3);
}

#[test]
fn a_type_with_other_fields_reads_old_rows_and_keeps_what_it_does_not_know() {
    #[derive(Serialize, Deserialize, PartialEq, Debug)]
    struct Newer {
        name: String,
        #[serde(default)]
        email: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        nick: Option<String>,
    }
    let mut replica = Replica::default();
    let (_, id) = replica.commit(1, |table| table.insert(&person("Alice", 30)));
    let newer = |nick: Option<&str>| Newer {
        name: "Al".into(),
        email: "a@example.org".into(),
        nick: nick.map(str::to_owned),
    };
    assert_eq!(replica.open::<Newer>().get(&id).unwrap().email, "");
    replica.commit(2, |table| table.update(&id, &newer(Some("al"))));
    assert_eq!(replica.open::<Newer>().get(&id).unwrap(), newer(Some("al")));
    replica.commit(3, |table| table.update(&id, &newer(None)));
    assert_eq!(replica.open::<Newer>().get(&id).unwrap(), newer(None));
    assert_eq!(replica.open::<Person>().get(&id).unwrap(), person("Al", 30));
    let misfit = replica.open::<HashMap<String, u8>>().get(&id).unwrap_err();
    assert_eq!(misfit.kind(), ErrorKind::InvalidInput);
}

#[test]
fn values_of_all_types_come_back() {
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    enum Shape {
        Dot,
        Circle(f64),
        Square { side: i128 },
    }
    fn round<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug + 'static>(values: Vec<T>) {
        let mut replica = Replica::default();
        for value in values {
            let (_, id) = replica.commit(1, |table| table.insert(&value));
            assert_eq!(replica.open::<T>().get(&id).unwrap(), value);
            replica.commit(2, |table: &Table<T>| table.put(&id, &value));
            assert_eq!(replica.open::<T>().get(&id).unwrap(), value);
        }
    }
    round(vec![Shape::Dot, Shape::Circle(-0.5), Shape::Square { side: i128::MIN }]);
    round(vec![Some(1_u64), None, Some(u64::MAX)]);
    round(vec![i64::MIN, -1, 0, i64::MAX]);
    round(vec![u128::MAX, 0]);
    round(vec![f64::INFINITY, f64::MIN_POSITIVE, 0.1]);
    round(vec![(1_u8, "x".to_owned(), vec![Some(true), None])]);
    round(vec![BTreeMap::from([("a".to_owned(), vec![1_u8]), ("b".to_owned(), vec![])])]);
    round(vec![HashMap::from([(1_u32, ()), (300, ())])].into_iter().map(|map| (map, 'ä')).collect());

    // An enum is one value: two people who choose different variants don't make a mixture.
    let mut a = Replica::default();
    let (_, id) = a.commit(1, |table| table.insert(&Shape::Dot));
    let mut b = a.clone();
    let (one, ()) = a.commit(2, |table: &Table<Shape>| table.update(&id, &Shape::Circle(1.0)));
    b.commit(3, |table: &Table<Shape>| table.update(&id, &Shape::Square { side: 2 }));
    b.take_in(&one);
    assert_eq!(b.open::<Shape>().get(&id).unwrap(), Shape::Square { side: 2 });
}

#[test]
fn what_has_no_place_in_a_row_is_a_typed_error() {
    let table = Replica::default().open::<BTreeMap<String, String>>();
    let long = "x".repeat(600_000);
    for (name, value) in [("", "x"), (&long[..200], "x"), ("a", &long[..])] {
        let error = table.insert(&BTreeMap::from([(name.to_owned(), value.to_owned())])).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    }
    assert_eq!(table.find(&long, 1).unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!(table.count().unwrap(), 0);
}

#[test]
fn index_values_sort_as_they_should() {
    let ascending: Vec<IndexValue> = vec![
        ().into(),
        false.into(),
        true.into(),
        f64::NEG_INFINITY.into(),
        i64::MIN.into(),
        (-1.5).into(),
        (-1).into(),
        0.into(),
        f64::MIN_POSITIVE.into(),
        0.5.into(),
        1.into(),
        i64::MAX.into(),
        (1_u64 << 63).into(),
        (u64::MAX - 1).into(),
        u64::MAX.into(),
        1e300.into(),
        f64::INFINITY.into(),
        f64::NAN.into(),
        "".into(),
        "\0".into(),
        "\u{1}".into(),
        "a".into(),
        "a\0".into(),
        "aa".into(),
        (&[0_u8][..]).into(),
    ];
    assert!(ascending.is_sorted_by(|a, b| a < b));
    let mut replica = Replica::default();
    let texts = ["x".repeat(300), "x".repeat(301), format!("{}y", "x".repeat(300)), "y".into()];
    replica.commit(1, |table| texts.iter().try_for_each(|text| table.insert(text).map(drop)));
    let table = replica.open::<String>();
    for (at, text) in texts.iter().enumerate() {
        assert_eq!(table.find("", text).unwrap().len(), 1);
        assert_eq!(table.find("", text.clone()..).unwrap().len(), 4 - at);
        assert_eq!(table.find("", ..text.clone()).unwrap().len(), at);
    }
    assert_eq!(table.find("", 1..).unwrap(), []);
}

#[test]
fn queries_agree_with_a_scan_in_every_random_history() {
    for seed in 0..30 {
        let mut random = Random::new(seed);
        let mut written = History::random(&TableKind, &mut edits::Edits, &mut random, 40).unwrap().written;
        random.shuffle(&mut written);
        let mut replica = Replica::default();
        for payload in &written {
            replica.take_in(payload);
            // What another knew only in part may lie here half: the marker decides, so that every row there is, is whole.
            let table = replica.open::<Item>();
            let Ok(all) = table.scan().collect::<Result<Vec<_>>>() else { continue };
            check(&table, &all, &mut random, seed);
        }
        assert!(replica.open::<Item>().scan().all(|row| row.is_ok()), "seed {seed}");
    }
}

fn check(table: &Table<Item>, all: &[(RowId, Item)], random: &mut Random, seed: u64) {
    let (a, b) = (random.below(6) as i64 - 2, random.below(6) as i64 - 2);
    let expect = |range: &dyn Fn(&Item) -> bool| {
        let mut rows: Vec<&(RowId, Item)> = all.iter().filter(|(_, item)| range(item)).collect();
        rows.sort_by_key(|(id, item)| (item.age, *id));
        rows.into_iter().cloned().collect::<Vec<_>>()
    };
    assert_eq!(table.find("age", a).unwrap(), expect(&|item| item.age == a), "seed {seed}");
    assert_eq!(table.find("age", a..b).unwrap(), expect(&|item| (a..b).contains(&item.age)), "seed {seed}");
    assert_eq!(table.find("age", a..=b).unwrap(), expect(&|item| (a..=b).contains(&item.age)), "seed {seed}");
    assert_eq!(table.find("age", ..).unwrap(), expect(&|_| true), "seed {seed}");
    let bounds = (a..b).into_range();
    assert_eq!(table.find("age", bounds).unwrap().len(), expect(&|item| (a..b).contains(&item.age)).len());
}

#[test]
fn a_transaction_sees_what_it_will_have_written() {
    for seed in 0..150 {
        let mut random = Random::new(seed);
        let mut replica = Replica::default();
        for _ in 0..5 {
            let edits = 1 + random.below(8);
            let mut seen = None;
            replica.commit(seed as u8, |table: &Table<Item>| {
                table.insert(&edits::item(&mut random))?;
                (0..edits).try_for_each(|_| edits::edit(table, &mut random))?;
                let all = table.scan().collect::<Result<Vec<_>>>()?;
                check(table, &all, &mut random, seed);
                seen = Some(all);
                Ok(())
            });
            let table = replica.open::<Item>();
            let all = table.scan().collect::<Result<Vec<_>>>().unwrap();
            assert_eq!(Some(&all), seen.as_ref(), "seed {seed}");
            check(&table, &all, &mut random, seed);
        }
    }
}

#[test]
fn a_table_is_exported_as_an_object_by_row_id() {
    let mut replica = Replica::default();
    let (_, id) = replica.commit(1, |table| table.insert(&person("A\"lice", 30)));
    let mut out = Vec::new();
    TableKind.export_json(&*replica.rows, &mut out).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&out).unwrap();
    assert_eq!(json, serde_json::json!({ id.to_string(): { "name": "A\"lice", "age": 30 } }));
}
