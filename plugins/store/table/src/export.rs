//! The whole table, streamed as JSON: one object, its keys the row ids, its values the rows.

use std::io::Write;

use ciborium::Value;
use eidetica_kernel::backend::Scan;
use eidetica_kernel::store::RowReader;
use eidetica_kernel::{Error, ErrorKind, Result};

use crate::read::Reading;
use crate::row::ROWS;
use crate::shape;

const WRITING: &str = "writing JSON";

/// Writes the table; memory is bounded by pages of rows, not by the table.
pub(crate) fn write(rows: &dyn RowReader, out: &mut dyn Write) -> Result<()> {
    let mut reading = Reading::new(Scan::prefix(&[ROWS]));
    let mut between = "{";
    while let Some((id, fields)) = reading.next(rows)? {
        let value =
            shape::to_value(&fields).map_err(|reason| Error::new(ErrorKind::Corrupt, WRITING, id, reason))?;
        raw(out, between)?;
        raw(out, &format!("\"{id}\":"))?;
        send(&value, out).map_err(|failed| match failed {
            Failed::Said(what) => {
                Error::new(ErrorKind::Unsupported, WRITING, id, format_args!("JSON can't say {what}"))
            }
            Failed::Other(error) => error,
        })?;
        between = ",";
    }
    raw(out, if between == "{" { "{}" } else { "}" })
}

enum Failed {
    /// JSON has no words for it.
    Said(String),
    Other(Error),
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self::Other(error)
    }
}

fn send(value: &Value, out: &mut dyn Write) -> Result<(), Failed> {
    match value {
        Value::Null => raw(out, "null")?,
        Value::Bool(value) => raw(out, if *value { "true" } else { "false" })?,
        Value::Integer(value) => raw(out, &i128::from(*value).to_string())?,
        Value::Float(value) if value.is_finite() => raw(out, &format!("{value:?}"))?,
        Value::Float(value) => return Err(Failed::Said(value.to_string())),
        Value::Text(text) => string(text, out)?,
        Value::Bytes(_) => return Err(Failed::Said("bytes".to_owned())),
        Value::Array(items) => {
            raw(out, "[")?;
            for (at, item) in items.iter().enumerate() {
                raw(out, if at == 0 { "" } else { "," })?;
                send(item, out)?;
            }
            raw(out, "]")?;
        }
        Value::Map(entries) => {
            raw(out, "{")?;
            for (at, (key, value)) in entries.iter().enumerate() {
                raw(out, if at == 0 { "" } else { "," })?;
                match key {
                    Value::Text(key) => string(key, out)?,
                    Value::Integer(key) => string(&i128::from(*key).to_string(), out)?,
                    Value::Bool(key) => string(&key.to_string(), out)?,
                    _ => {
                        return Err(Failed::Said(
                            "a key that isn't text, an integer or a truth value".to_owned(),
                        ));
                    }
                }
                raw(out, ":")?;
                send(value, out)?;
            }
            raw(out, "}")?;
        }
        _ => return Err(Failed::Said("an integer of more than 64 bits".to_owned())),
    }
    Ok(())
}

fn string(text: &str, out: &mut dyn Write) -> Result<()> {
    serde_json::to_writer(out, text).map_err(|error| Error::io(WRITING, "", error.into()))
}

fn raw(out: &mut dyn Write, text: &str) -> Result<()> {
    out.write_all(text.as_bytes()).map_err(|error| Error::io(WRITING, "", error))
}
