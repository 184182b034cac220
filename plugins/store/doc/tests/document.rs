//! What people rely on when they use a doc store, alone and with others.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::Replica;
use eidetica_conformance::store::TestTx;
use eidetica_kernel::{ErrorKind, StoreHandle};
use eidetica_store_doc::{DEPTH_MAX, Doc, DocStore, ROOT, Segment, Value, json};

fn store() -> DocStore {
    DocStore::open(TestTx::new()).unwrap()
}

fn pair() -> (Replica, Replica) {
    (Replica::new(1), Replica::new(2))
}

#[test]
fn writes_are_read_back_in_the_same_transaction_and_after_the_commit() {
    let mut replica = Replica::new(1);
    replica.commit(|store| {
        store.set_string("message", "Hello World")?;
        store.set_path("user.name", "Alice")?;
        store.set_path("user.age", 30)?;
        store.set("n", 5u64)?;
        store.set("dotted.key", 1)?;
        assert_eq!(store.get_path("user.age")?.as_i64(), Some(30));
        assert_eq!(store.get("dotted.key")?, 1);
        assert_eq!(store.get_path(r"dotted\.key")?, 1);
        assert!(store.get_path("dotted.key").unwrap_err().is_not_found());
        Ok(())
    });
    assert_eq!(
        replica.json(),
        r#"{"dotted.key":1,"message":"Hello World","n":5,"user":{"age":30,"name":"Alice"}}"#
    );
    assert_eq!(replica.read().keys().unwrap(), ["dotted.key", "message", "n", "user"]);
    assert_eq!(replica.read().keys_of("user").unwrap(), ["age", "name"]);
    assert_eq!(replica.read().iter().unwrap().count(), 4);
}

#[test]
fn an_empty_store_is_an_empty_map() {
    let store = store();
    assert_eq!(store.get_all().unwrap(), Doc::new());
    assert!(store.get("missing").unwrap_err().is_not_found());
    assert!(store.delete("missing").unwrap_err().is_not_found());
    assert!(!store.contains("missing").unwrap());
}

#[test]
fn integers_beyond_i64_are_a_typed_error() {
    let error = store().set("n", u64::MAX).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    let mut doc = Doc::new();
    doc.set("deep", u64::MAX);
    assert_eq!(store().set("doc", doc).unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[test]
fn writing_below_a_scalar_replaces_it_and_below_a_list_is_an_error() {
    let store = store();
    store.set("a", 1).unwrap();
    store.set_path("a.b", 2).unwrap();
    assert_eq!(store.root().unwrap().to_string(), r#"{"a":{"b":2}}"#);
    store.push("list", 1).unwrap();
    assert_eq!(store.set_path("list.x", 1).unwrap_err().kind(), ErrorKind::InvalidInput);
    assert!(store.set_path("list.1", 1).unwrap_err().is_not_found());
    store.set_path("list.0.x", 1).unwrap();
    assert_eq!(store.get_path("list.0.x").unwrap(), 1);
    assert_eq!(store.push("a", 1).unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[test]
fn deleting_takes_what_is_below_and_leaves_the_rest() {
    let mut replica = Replica::new(1);
    replica.commit(|store| {
        store.set_path("a.b.c", 1)?;
        store.set_path("a.d", 2)
    });
    replica.commit(|store| {
        store.delete_path("a.b")?;
        assert!(store.get_path("a.b.c").unwrap_err().is_not_found());
        assert!(store.delete_path("a.b").unwrap_err().is_not_found());
        store.set_path("a.b.e", 3)
    });
    assert_eq!(replica.json(), r#"{"a":{"b":{"e":3},"d":2}}"#);
}

#[test]
fn what_was_set_and_deleted_in_one_transaction_leaves_no_trace() {
    let mut replica = Replica::new(1);
    let once = replica.commit(|store| store.set("kept", 1)).payload.body.len();
    let mut other = Replica::new(1);
    let both = other.commit(|store| {
        store.set("kept", 1)?;
        store.set("gone", Value::from(vec![1, 2, 3]))?;
        store.delete("gone")
    });
    assert_eq!(both.payload.body.len(), once);
}

#[test]
fn lists_are_edited_by_index() {
    let mut replica = Replica::new(1);
    replica.commit(|store| store.extend("l", ["a", "b", "c"]));
    replica.commit(|store| {
        store.insert("l", 0, "start")?;
        store.insert("l", 2, "between")?;
        store.push("l", "end")?;
        assert_eq!(store.root()?.to_string(), r#"{"l":["start","a","between","b","c","end"]}"#);
        store.move_item("l", 0, 5)?;
        store.remove("l", 1)?;
        store.set_path("l.1", "B")
    });
    assert_eq!(replica.json(), r#"{"l":["a","B","c","end","start"]}"#);
    replica.commit(|store| store.move_item("l", 4, 0));
    assert_eq!(replica.json(), r#"{"l":["start","a","B","c","end"]}"#);
    let store = replica.read();
    assert_eq!(store.len("l").unwrap(), 5);
    assert_eq!(store.get_path([Segment::from("l"), Segment::from(2)]).unwrap(), "B");
    assert!(store.insert("l", 6, 0).unwrap_err().is_not_found());
    assert!(store.remove("l", 5).unwrap_err().is_not_found());
    assert!(store.move_item("l", 0, 5).unwrap_err().is_not_found());
    assert_eq!(store.get_path([Segment::from(0)]).unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[test]
fn the_root_may_be_a_list_or_a_scalar() {
    let mut replica = Replica::new(1);
    replica.commit(|store| store.set("old", 1));
    replica.commit(|store| {
        store.set_root(vec![1, 2])?;
        store.push(ROOT, 3)
    });
    assert_eq!(replica.json(), "[1,2,3]");
    assert_eq!(replica.read().get_all().unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!(replica.read().set("k", 1).unwrap_err().kind(), ErrorKind::InvalidInput);
    replica.commit(|store| store.set_root("text"));
    assert_eq!(replica.json(), "\"text\"");
    replica.commit(|store| store.set("k", 1));
    assert_eq!(replica.json(), r#"{"k":1}"#);
}

#[test]
fn concurrent_writes_to_different_keys_of_a_new_map_both_stand() {
    let (mut a, mut b) = pair();
    let from_a = a.commit(|store| store.set_path("user.name", "Alice"));
    let from_b = b.commit(|store| store.set_path("user.age", 30));
    a.take_in([&from_b]);
    b.take_in([&from_a]);
    assert_eq!(a.json(), r#"{"user":{"age":30,"name":"Alice"}}"#);
    assert_eq!(a.json(), b.json());
}

#[test]
fn of_concurrent_writes_to_one_key_the_later_clock_stands() {
    let (mut a, mut b) = pair();
    let early = a.commit(|store| store.set("k", "early"));
    b.clock = 10;
    let late = b.commit(|store| store.set("k", "late"));
    a.take_in([&late]);
    b.take_in([&early]);
    assert_eq!(a.json(), r#"{"k":"late"}"#);
    assert_eq!(a.json(), b.json());
}

#[test]
fn what_is_written_into_a_map_after_it_was_deleted_elsewhere_comes_back_alone() {
    let (mut a, mut b) = pair();
    let base = a.commit(|store| store.set("m", Value::Map([("old", 1), ("also", 2)].into_iter().collect())));
    b.take_in([&base]);
    let deleted = a.commit(|store| store.delete("m"));
    b.clock = 10;
    let edited = b.commit(|store| store.set_path("m.new", 3));
    a.take_in([&edited]);
    b.take_in([&deleted]);
    assert_eq!(a.json(), r#"{"m":{"new":3}}"#);
    assert_eq!(a.json(), b.json());
}

#[test]
fn a_later_scalar_hides_a_map_and_a_still_later_key_brings_the_map_back() {
    let (mut a, mut b) = pair();
    let map = a.commit(|store| store.set_path("k.a", 1));
    b.clock = 5;
    let scalar = b.commit(|store| store.set("k", "scalar"));
    a.take_in([&scalar]);
    b.take_in([&map]);
    assert_eq!(a.json(), r#"{"k":"scalar"}"#);
    assert_eq!(a.json(), b.json());
    let again = a.commit(|store| store.set_path("k.b", 2));
    b.take_in([&again]);
    assert_eq!(a.json(), r#"{"k":{"b":2}}"#);
    assert_eq!(a.json(), b.json());
}

#[test]
fn concurrent_runs_of_appends_stay_in_one_piece() {
    let (mut a, mut b) = pair();
    let base = a.commit(|store| store.extend("l", ["base"]));
    b.take_in([&base]);
    let from_a = a.commit(|store| (0..5).try_for_each(|n| store.push("l", format!("a{n}"))));
    let from_b = b.commit(|store| (0..5).try_for_each(|n| store.push("l", format!("b{n}"))));
    a.take_in([&from_b]);
    b.take_in([&from_a]);
    assert_eq!(a.json(), b.json());
    let run = |name: &str| (0..5).map(|n| format!("\"{name}{n}\"")).collect::<Vec<_>>().join(",");
    assert!(a.json().contains(&run("a")) && a.json().contains(&run("b")), "{}", a.json());
}

#[test]
fn an_element_edited_while_it_is_moved_is_both() {
    let (mut a, mut b) = pair();
    let base = a.commit(|store| store.set("l", vec![Value::from(Doc::new()), 1.into(), 2.into()]));
    b.take_in([&base]);
    let moved = a.commit(|store| store.move_item("l", 0, 2));
    let edited = b.commit(|store| store.set_path("l.0.x", "edited"));
    a.take_in([&edited]);
    b.take_in([&moved]);
    assert_eq!(a.json(), r#"{"l":[1,2,{"x":"edited"}]}"#);
    assert_eq!(a.json(), b.json());
}

#[test]
fn an_element_edited_after_it_was_removed_elsewhere_comes_back_where_it_was() {
    let (mut a, mut b) = pair();
    let base = a.commit(|store| store.set("l", vec![0.into(), Value::from(Doc::new()), 2.into()]));
    b.take_in([&base]);
    let removed = a.commit(|store| store.remove("l", 1));
    b.clock = 10;
    let edited = b.commit(|store| store.set_path("l.1.x", 1));
    a.take_in([&edited]);
    b.take_in([&removed]);
    assert_eq!(a.json(), r#"{"l":[0,{"x":1},2]}"#);
    assert_eq!(a.json(), b.json());
}

#[test]
fn concurrent_inserts_at_one_place_both_stand_in_the_same_order_everywhere() {
    let (mut a, mut b) = pair();
    let base = a.commit(|store| store.set("l", vec![0, 1]));
    b.take_in([&base]);
    let from_a = a.commit(|store| store.insert("l", 1, "a"));
    let from_b = b.commit(|store| store.insert("l", 1, "b"));
    a.take_in([&from_b]);
    b.take_in([&from_a]);
    assert_eq!(a.json(), b.json());
    assert_eq!(a.read().len("l").unwrap(), 4);
}

#[test]
fn json_in_is_json_out() {
    let deep = "[".repeat(100) + &"]".repeat(100);
    let long_key = format!(r#"{{"{}":{{"below":[1,{{"{}":2}}]}}}}"#, "k".repeat(2_000), "j".repeat(1_000));
    let wide = format!("[{}]", (0..5_000).map(|n| n.to_string()).collect::<Vec<_>>().join(","));
    for text in [
        "{}",
        "[]",
        "null",
        "\"scalar\"",
        "1.5",
        r#"{"a.b":{"c/d":[],"":{}},"e":[[],{},[{}],null,true,-1,0.1,"\u0000é"],"\u0001\u0000":1}"#,
        &deep,
        &long_key,
        &wide,
    ] {
        let value = json::from_str(text).unwrap();
        let mut replica = Replica::new(1);
        replica.commit(|store| store.set("old", vec![1]));
        replica.commit(|store| {
            store.set_root(&value)?;
            assert_eq!(store.root()?, value);
            Ok(())
        });
        assert_eq!(replica.read().root().unwrap(), value);
        let out: serde_json::Value = serde_json::from_str(&replica.json()).unwrap();
        assert_eq!(out, serde_json::from_str::<serde_json::Value>(text).unwrap());
        let mut pretty = Vec::new();
        replica.read().write_json(&mut pretty, true).unwrap();
        assert_eq!(serde_json::from_slice::<serde_json::Value>(&pretty).unwrap(), out);
    }
}

#[test]
fn what_json_cannot_say_is_stored_and_refused_by_name() {
    let mut replica = Replica::new(1);
    for value in [Value::from(f64::NAN), f64::INFINITY.into(), vec![1_u8, 2].into()] {
        replica.commit(|store| store.set_path("deep.odd", &value));
        assert_eq!(replica.read().get_path("deep.odd").unwrap(), value);
        let error = replica.read().write_json(&mut Vec::new(), false).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.to_string().contains("deep.odd"), "{error}");
    }
    replica.commit(|store| store.set("deep", -0.0));
    assert!(replica.read().get("deep").unwrap().as_f64().unwrap().is_sign_negative());
}

#[test]
fn long_scalars_and_long_paths_are_stored_whole() {
    let mut replica = Replica::new(1);
    let long = "ü".repeat(1_200_000);
    let keys: Vec<String> = (0..40).map(|n| format!("{n}-{}", "k".repeat(100))).collect();
    let path: Vec<Segment> = keys.iter().map(|key| Segment::from(key.as_str())).collect();
    replica.commit(|store| {
        store.set("long", long.as_str())?;
        store.set_path(&path, "deep")?;
        Ok(())
    });
    replica.commit(|store| store.set_path(&path, long.as_str()));
    assert_eq!(replica.read().get_path(&path).unwrap(), long);
    assert_eq!(replica.read().get("long").unwrap(), long);
    assert_eq!(replica.read().keys_of(&path[..20]).unwrap(), [keys[20].clone()]);
    assert_eq!(replica.read().keys_of(&path[..2]).unwrap(), [keys[2].clone()]);
    replica.commit(|store| store.set("long", "short"));
    assert_eq!(replica.read().get("long").unwrap(), "short");
    replica.commit(|store| store.delete_path(&path[..1]));
    assert_eq!(replica.json(), r#"{"long":"short"}"#);
}

#[test]
fn too_deep_and_too_much_are_typed_errors() {
    let path = vec![Segment::from("k"); DEPTH_MAX + 1];
    assert_eq!(store().set_path(&path, 1).unwrap_err().kind(), ErrorKind::LimitExceeded);
    assert!(store().set_path(&path[1..], 1).is_ok());
    let mut value = Value::Null;
    for _ in 0..=DEPTH_MAX {
        value = Value::List(vec![value]);
    }
    assert_eq!(store().set_root(value).unwrap_err().kind(), ErrorKind::LimitExceeded);
    assert_eq!(store().set_path("k".repeat(70_000), 1).unwrap_err().kind(), ErrorKind::LimitExceeded);
    let store = store();
    store.set("k", "kept").unwrap();
    let many = Value::from(vec![0; 200_000]);
    assert_eq!(store.set("many", many).unwrap_err().kind(), ErrorKind::LimitExceeded);
    assert_eq!(store.root().unwrap().to_string(), r#"{"k":"kept"}"#);
}

#[test]
fn structs_go_in_and_out() {
    #[derive(serde::Serialize, serde::Deserialize, PartialEq, Debug)]
    enum State {
        Open,
        Closed { by: String },
        Moved(u8, u8),
    }
    #[derive(serde::Serialize, serde::Deserialize, PartialEq, Debug)]
    struct Task {
        title: String,
        done: Option<bool>,
        states: Vec<State>,
        counts: std::collections::BTreeMap<u32, f32>,
        pair: (char, i64),
    }
    let task = Task {
        title: "write".into(),
        done: None,
        states: vec![State::Open, State::Closed { by: "Al".into() }, State::Moved(1, 2)],
        counts: [(7, 0.5)].into(),
        pair: ('x', -1),
    };
    let store = store();
    store.put("task", &task).unwrap();
    assert_eq!(store.get_as::<Task>("task").unwrap(), task);
    store.put_path("nested.task", &task).unwrap();
    assert_eq!(store.get_path_as::<Task>("nested.task").unwrap(), task);
    let error = store.get_as::<String>("task").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert_eq!(store.put("n", &u128::MAX).unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[test]
fn two_handles_of_one_transaction_share_what_is_staged() {
    let tx = TestTx::new();
    let (one, other) = (DocStore::open(tx.clone()).unwrap(), DocStore::open(tx.clone()).unwrap());
    one.set("k", 1).unwrap();
    assert_eq!(other.get("k").unwrap(), 1);
    other.delete("k").unwrap();
    assert!(!one.contains("k").unwrap());
    tx.encode().unwrap();
    assert_eq!(one.set("k", 2).unwrap_err().kind(), ErrorKind::Closed);
}

#[test]
fn changed_paths_read_back() {
    use eidetica_kernel::Store;
    use eidetica_kernel::store::{Applied, PATHS_MAX, RowOverlay};

    let mut replica = Replica::new(1);
    let paths = |replica: &Replica, written: &eidetica_conformance::store::Written| {
        let applied =
            eidetica_store_doc::DocKind.apply(&mut RowOverlay::new(&*replica.rows), &written.stamped(0));
        match applied.unwrap() {
            Applied::Folded { paths } => paths,
            other => panic!("{other:?}"),
        }
    };
    let written = replica.commit(|store| {
        store.set_path(r"a\.b.c", 1)?;
        store.set("m", Value::Map([("x", 1)].into_iter().collect()))?;
        store.push("l", "element")
    });
    let changed = paths(&replica, &written);
    assert_eq!(changed.len(), 3);
    let values: Vec<Value> = changed.iter().map(|path| replica.read().get_path(path).unwrap()).collect();
    assert_eq!(values[0], 1);
    assert_eq!(values[1], "element");
    assert_eq!(values[2].to_string(), r#"{"x":1}"#);
    let many = replica.commit(|store| {
        (0..PATHS_MAX + 1).try_for_each(|n| store.set_path(format!("many.{}.{n}", n % 3), 1))
    });
    assert_eq!(paths(&replica, &many), ["many.0", "many.1", "many.2"]);
}

#[test]
fn the_deepest_document_is_written_and_read() {
    let lists = "[".repeat(DEPTH_MAX) + &"]".repeat(DEPTH_MAX);
    let maps = "{\"k\":".repeat(DEPTH_MAX) + "1" + &"}".repeat(DEPTH_MAX);
    for text in [lists, maps] {
        let mut replica = Replica::new(1);
        replica.commit(|store| store.set_root(json::from_str(&text)?));
        assert_eq!(replica.json(), text);
        assert_eq!(json::to_string(&replica.read().root().unwrap()).unwrap(), text);
    }
}

#[test]
fn the_plugin_is_linked_and_refuses_options_that_it_does_not_have() {
    use eidetica_kernel::registry::{OpenContext, Registry};

    let plugin = Registry::linked().unwrap().store("doc").unwrap();
    let parse = |json: &str| {
        let mut options = serde_json::Deserializer::from_str(json);
        let mut options = <dyn erased_serde::Deserializer<'_>>::erase(&mut options);
        (plugin.parse)(&mut options)
    };
    let store = parse("{}").unwrap().open(&OpenContext::default()).unwrap();
    assert_eq!(store.kind(), "doc/1");
    assert_eq!(parse("{\"depth_max\": 7}").map(drop).unwrap_err().path, "depth_max");
    assert_eq!(Doc::from_json("{\"a\":1}").unwrap().to_json().unwrap(), "{\"a\":1}");
    assert_eq!(Doc::from_json("[]").unwrap_err().kind(), ErrorKind::InvalidInput);
}
