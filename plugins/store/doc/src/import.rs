//! Values that are too large for one transaction, staged portion by portion.

use std::collections::VecDeque;

use eidetica_kernel::Result;

use crate::doc::Doc;
use crate::handle::DocStore;
use crate::path::Segment;
use crate::value::Value;

/// Most values staged at once.
const VALUES_MAX: usize = 20_000;
/// Most bytes of text, keys and bytes staged at once, unless a single scalar is longer.
const BYTES_MAX: usize = 4 * 1_024 * 1_024;

/// Replaces the root of a store with a value of any size, over as many transactions as it takes.
///
/// ```
/// use eidetica_conformance::store::TestTx;
/// use eidetica_kernel::StoreHandle;
/// use eidetica_store_doc::{DocStore, Import, Value};
///
/// let mut import = Import::new(Value::from(vec![1, 2, 3]));
/// while !import.is_done() {
///     let store = DocStore::open(TestTx::new())?; // in a program: of a new transaction, …
///     import.stage(&store)?;
///     assert_eq!(store.root()?.to_string(), "[1,2,3]");
///     // … which is committed here
/// }
/// # Ok::<(), eidetica_kernel::Error>(())
/// ```
#[derive(Debug)]
pub struct Import {
    /// What is left, the next last.
    left: Vec<Task>,
    portion: Size,
}

#[derive(Debug)]
enum Task {
    /// Set this there.
    Set(Vec<Segment>, Value),
    /// Append these to the list that has this many elements.
    Append(Vec<Segment>, usize, VecDeque<Value>),
}

impl Import {
    /// What is to become the root.
    pub fn new(root: Value) -> Self {
        Self::in_portions(root, Size { values: VALUES_MAX, bytes: BYTES_MAX })
    }

    fn in_portions(root: Value, portion: Size) -> Self {
        Self { left: vec![Task::Set(Vec::new(), root)], portion }
    }

    /// `true` when everything was staged.
    pub fn is_done(&self) -> bool {
        self.left.is_empty()
    }

    /// Stages the next portion. Commit the transaction before the next call.
    ///
    /// # Errors
    /// As [`DocStore::set_path`]; the import can't go on after one.
    pub fn stage(&mut self, store: &DocStore) -> Result<()> {
        let mut room = self.portion;
        let mut staged = false;
        while let Some(task) = self.left.pop() {
            match task {
                Task::Set(path, value) => {
                    let size = Size::of(&value, self.portion);
                    if room.take(size) || is_scalar(&value) && !staged {
                        store.set_path(&path, value)?;
                    } else if size.fits(self.portion) || is_scalar(&value) {
                        // The next transaction has room for it.
                        self.left.push(Task::Set(path, value));
                        return Ok(());
                    } else {
                        self.take_apart(store, path, value)?;
                    }
                }
                Task::Append(path, len, mut values) => {
                    let Some(value) = values.pop_front() else { continue };
                    let mut element = path.clone();
                    element.push(Segment::Index(len));
                    let size = Size::of(&value, self.portion);
                    if room.take(size) || is_scalar(&value) && !staged {
                        store.push(&path, value)?;
                        self.left.push(Task::Append(path, len + 1, values));
                    } else if size.fits(self.portion) || is_scalar(&value) {
                        values.push_front(value);
                        self.left.push(Task::Append(path, len, values));
                        return Ok(());
                    } else {
                        store.push(&path, Value::Null)?;
                        self.left.push(Task::Append(path, len + 1, values));
                        self.take_apart(store, element, value)?;
                    }
                }
            }
            staged = true;
        }
        Ok(())
    }

    /// Makes an empty container now and leaves what is in it for later.
    fn take_apart(&mut self, store: &DocStore, path: Vec<Segment>, value: Value) -> Result<()> {
        match value {
            Value::Map(doc) => {
                store.set_path(&path, Doc::new())?;
                let below = |key: String| path.iter().cloned().chain([Segment::Key(key)]).collect();
                let children: Vec<Task> =
                    doc.into_iter().map(|(key, value)| Task::Set(below(key), value)).collect();
                self.left.extend(children.into_iter().rev());
            }
            Value::List(list) => {
                store.set_path(&path, Value::List(Vec::new()))?;
                self.left.push(Task::Append(path, 0, list.into()));
            }
            scalar => store.set_path(&path, scalar)?,
        }
        Ok(())
    }
}

fn is_scalar(value: &Value) -> bool {
    !matches!(value, Value::Map(_) | Value::List(_))
}

#[derive(Clone, Copy, Debug, Default)]
struct Size {
    values: usize,
    bytes: usize,
}

impl Size {
    /// How large it is; counting stops beyond `enough`.
    fn of(value: &Value, enough: Self) -> Self {
        let mut size = Self::default();
        size.count(value, enough);
        size
    }

    fn count(&mut self, value: &Value, enough: Self) {
        self.values += 1;
        match value {
            Value::Text(text) => self.bytes += text.len(),
            Value::Bytes(bytes) => self.bytes += bytes.len(),
            Value::Map(doc) => {
                for (key, value) in doc {
                    self.bytes += key.len();
                    self.count(value, enough);
                    if !self.fits(enough) {
                        return;
                    }
                }
            }
            Value::List(list) => {
                for value in list {
                    self.count(value, enough);
                    if !self.fits(enough) {
                        return;
                    }
                }
            }
            _ => {}
        }
    }

    fn fits(self, room: Self) -> bool {
        self.values <= room.values && self.bytes <= room.bytes
    }

    /// Takes it out of what is left, if it fits.
    fn take(&mut self, size: Self) -> bool {
        if !size.fits(*self) {
            return false;
        }
        self.values -= size.values;
        self.bytes -= size.bytes;
        true
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use eidetica_conformance::store::{MemoryRows, TestTx};
    use eidetica_kernel::store::{RowOverlay, Stamp, StampedPayload};
    use eidetica_kernel::{HybridClock, Id, Store, StoreHandle};

    use super::*;

    #[test]
    fn values_of_any_size_arrive_whole_over_several_transactions() {
        let json = r#"{"a":{"b":[1,[2,3,[4,5,6,7],{}],{"x":{"y":[8,9,10,"text"]}}],"c":{}},"d":null,
            "e":[[],[[[]]],{"long":"text longer than a portion"},0,1,2,3,4,5,6,7,8,9]}"#;
        let value = crate::json::from_str(json).unwrap();
        for values in 1..30 {
            let mut import = Import::in_portions(value.clone(), Size { values, bytes: 10 });
            let mut rows = Arc::new(MemoryRows::new());
            let mut transactions = 0_u8;
            while !import.is_done() {
                transactions += 1;
                let tx = TestTx::on(rows.clone(), u64::from(transactions));
                import.stage(&DocStore::open(tx.clone()).unwrap()).unwrap();
                let (version, body) = tx.encode().unwrap().expect("every portion stages something");
                let stamp = Stamp {
                    clock: HybridClock::from_bits(u64::from(transactions)),
                    entry: Id::from_bytes([transactions; 32]),
                };
                let mut overlay = RowOverlay::new(&*rows);
                let payload = StampedPayload { stamp, arrival: 0, version, body: &body };
                crate::DocKind.apply(&mut overlay, &payload).unwrap();
                let changes = overlay.into_changes();
                Arc::make_mut(&mut rows).write(changes);
            }
            assert!(values > 20 || transactions > 2);
            assert_eq!(DocStore::open(TestTx::on(rows, 0)).unwrap().root().unwrap(), value, "{values}");
        }
    }
}
