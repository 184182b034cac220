//! The whole document, streamed as JSON or gathered as a value.

use std::io::Write;

use eidetica_kernel::Result;
use eidetica_kernel::store::RowReader;

use crate::doc::Doc;
use crate::json::JsonSink;
use crate::payload::{Container, Scalar};
use crate::read::{self, Node, Sink};
use crate::value::Value;

/// Writes the document as JSON; memory is bounded by pages of rows, not by the document.
pub(crate) fn write(rows: &dyn RowReader, out: &mut dyn Write, pretty: bool) -> Result<()> {
    let root = read::reach(rows, &[])?.node;
    read::send(rows, &[], &root, &mut JsonSink::new(out, pretty))
}

/// What exists at and below a path.
pub(crate) fn value(rows: &dyn RowReader, path: &[u8], node: &Node) -> Result<Value> {
    let mut gathering = Gathering::default();
    read::send(rows, path, node, &mut gathering)?;
    Ok(gathering.value)
}

/// Builds a value from its pieces.
#[derive(Default)]
struct Gathering {
    open: Vec<Value>,
    keys: Vec<String>,
    value: Value,
}

impl Gathering {
    fn take(&mut self, value: Value) {
        match self.open.last_mut() {
            Some(Value::Map(doc)) => {
                doc.set(self.keys.pop().unwrap_or_default(), value);
            }
            Some(Value::List(list)) => list.push(value),
            _ => self.value = value,
        }
    }
}

impl Sink for Gathering {
    fn scalar(&mut self, scalar: Scalar<'_>) -> Result<()> {
        self.take(scalar.into());
        Ok(())
    }

    fn begin(&mut self, container: Container) -> Result<()> {
        self.open.push(match container {
            Container::Map => Value::Map(Doc::new()),
            Container::List => Value::List(Vec::new()),
        });
        Ok(())
    }

    fn key(&mut self, key: &str) -> Result<()> {
        self.keys.push(key.to_owned());
        Ok(())
    }

    fn item(&mut self) -> Result<()> {
        Ok(())
    }

    fn end(&mut self, _: Container) -> Result<()> {
        if let Some(value) = self.open.pop() {
            self.take(value);
        }
        Ok(())
    }
}
