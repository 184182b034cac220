//! Values as JSON text.

use std::fmt;
use std::io::{self, Write};

use eidetica_kernel::{Error, ErrorKind, Result};

use crate::doc::Doc;
use crate::payload::{Container, Scalar};
use crate::read::Sink;
use crate::value::Value;

/// Compact JSON.
///
/// # Errors
/// [`ErrorKind::Unsupported`] for NaN, infinities and bytes, which JSON can't say; [`ErrorKind::InvalidInput`] for
/// [`Value::TooLarge`].
///
/// ```
/// use eidetica_store_doc::{Value, json};
///
/// assert_eq!(json::to_string(&Value::from(vec![1.0, 0.5]))?, "[1.0,0.5]");
/// assert!(json::to_string(&Value::from(f64::NAN)).is_err());
/// # Ok::<(), eidetica_kernel::Error>(())
/// ```
pub fn to_string(value: &Value) -> Result<String> {
    text(value, false)
}

/// JSON with line breaks and two spaces per level.
///
/// # Errors
/// As [`to_string`].
pub fn to_string_pretty(value: &Value) -> Result<String> {
    text(value, true)
}

/// Writes JSON to `out`, compact or pretty, without a line break at its end.
///
/// # Errors
/// As [`to_string`]; [`ErrorKind::Io`] and its like from `out`.
pub fn to_writer(value: &Value, out: &mut dyn Write, pretty: bool) -> Result<()> {
    send(value, &mut JsonSink::new(out, pretty))
}

fn text(value: &Value, pretty: bool) -> Result<String> {
    let mut out = Vec::new();
    to_writer(value, &mut out, pretty)?;
    into_text(out)
}

pub(crate) fn map_to_string(doc: &Doc) -> Result<String> {
    let mut out = Vec::new();
    send_map(doc, &mut JsonSink::new(&mut out, false))?;
    into_text(out)
}

fn into_text(out: Vec<u8>) -> Result<String> {
    String::from_utf8(out).map_err(|_| Error::new(ErrorKind::Bug, "writing JSON", "", "it isn't text"))
}

fn send(value: &Value, sink: &mut JsonSink<'_>) -> Result<()> {
    match value {
        Value::Map(doc) => send_map(doc, sink),
        Value::List(list) => {
            sink.begin(Container::List)?;
            for value in list {
                sink.item()?;
                send(value, sink)?;
            }
            sink.end(Container::List)
        }
        Value::TooLarge(value) => Err(Value::too_large(*value, "writing JSON")),
        Value::Null => sink.scalar(Scalar::Null),
        Value::Bool(value) => sink.scalar(Scalar::Bool(*value)),
        Value::Int(value) => sink.scalar(Scalar::Int(*value)),
        Value::Float(value) => sink.scalar(Scalar::Float(*value)),
        Value::Text(value) => sink.scalar(Scalar::Text(value.into())),
        Value::Bytes(value) => sink.scalar(Scalar::Bytes((&value[..]).into())),
    }
}

fn send_map(doc: &Doc, sink: &mut JsonSink<'_>) -> Result<()> {
    sink.begin(Container::Map)?;
    for (key, value) in doc {
        sink.key(key)?;
        send(value, sink)?;
    }
    sink.end(Container::Map)
}

/// Writes what it is sent as JSON.
pub(crate) struct JsonSink<'w> {
    out: &'w mut dyn Write,
    pretty: bool,
    depth: usize,
    /// Nothing came yet in the innermost container.
    first: bool,
}

impl<'w> JsonSink<'w> {
    pub(crate) fn new(out: &'w mut dyn Write, pretty: bool) -> Self {
        Self { out, pretty, depth: 0, first: true }
    }

    fn raw(&mut self, text: &str) -> Result<()> {
        self.out.write_all(text.as_bytes()).map_err(failed)
    }

    fn separate(&mut self) -> Result<()> {
        if !self.first {
            self.raw(",")?;
        }
        self.first = false;
        self.break_line()
    }

    fn break_line(&mut self) -> Result<()> {
        if self.pretty {
            self.raw("\n")?;
            for _ in 0..self.depth {
                self.raw("  ")?;
            }
        }
        Ok(())
    }

    fn string(&mut self, text: &str) -> Result<()> {
        self.raw("\"")?;
        let mut rest = text;
        while let Some(at) = rest.bytes().position(|byte| byte < 0x20 || matches!(byte, b'"' | b'\\')) {
            self.raw(&rest[..at])?;
            match rest.as_bytes()[at] {
                b'"' => self.raw("\\\"")?,
                b'\\' => self.raw("\\\\")?,
                b'\n' => self.raw("\\n")?,
                b'\r' => self.raw("\\r")?,
                b'\t' => self.raw("\\t")?,
                control => write!(self.out, "\\u{control:04x}").map_err(failed)?,
            }
            rest = &rest[at + 1..];
        }
        self.raw(rest)?;
        self.raw("\"")
    }
}

fn failed(error: io::Error) -> Error {
    Error::io("writing JSON", "", error)
}

impl Sink for JsonSink<'_> {
    fn scalar(&mut self, scalar: Scalar<'_>) -> Result<()> {
        let unsupported = |what: &str| {
            Error::new(ErrorKind::Unsupported, "writing JSON", "", format_args!("JSON can't say {what}"))
        };
        match scalar {
            Scalar::Null => self.raw("null"),
            Scalar::Bool(value) => self.raw(if value { "true" } else { "false" }),
            Scalar::Int(value) => write!(self.out, "{value}").map_err(failed),
            // Rust's debug form of a float is the shortest that reads back, and always has a point or an exponent.
            Scalar::Float(value) if value.is_finite() => write!(self.out, "{value:?}").map_err(failed),
            Scalar::Float(value) => Err(unsupported(&value.to_string())),
            Scalar::Text(value) => self.string(&value),
            Scalar::Bytes(_) => Err(unsupported("bytes")),
        }
    }

    fn begin(&mut self, container: Container) -> Result<()> {
        self.depth += 1;
        self.first = true;
        self.raw(match container {
            Container::Map => "{",
            Container::List => "[",
        })
    }

    fn key(&mut self, key: &str) -> Result<()> {
        self.separate()?;
        self.string(key)?;
        self.raw(if self.pretty { ": " } else { ":" })
    }

    fn item(&mut self) -> Result<()> {
        self.separate()
    }

    fn end(&mut self, container: Container) -> Result<()> {
        self.depth -= 1;
        if !self.first {
            self.break_line()?;
        }
        // The container around this one isn't empty: this is in it.
        self.first = false;
        self.raw(match container {
            Container::Map => "}",
            Container::List => "]",
        })
    }
}

/// As JSON, for people: what JSON can't say is spelled out.
pub(crate) fn display(value: &Value, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match value {
        Value::Null => f.write_str("null"),
        Value::Bool(value) => write!(f, "{value}"),
        Value::Int(value) => write!(f, "{value}"),
        Value::TooLarge(value) => write!(f, "{value}"),
        Value::Float(value) => write!(f, "{value:?}"),
        Value::Text(text) => f.write_str(&to_string(&Value::Text(text.clone())).map_err(|_| fmt::Error)?),
        Value::Bytes(bytes) => write!(f, "<{} bytes>", bytes.len()),
        Value::Map(doc) => display_map(doc, f),
        Value::List(list) => {
            f.write_str("[")?;
            for (at, value) in list.iter().enumerate() {
                f.write_str(if at > 0 { "," } else { "" })?;
                display(value, f)?;
            }
            f.write_str("]")
        }
    }
}

pub(crate) fn display_map(doc: &Doc, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_str("{")?;
    for (at, (key, value)) in doc.iter().enumerate() {
        f.write_str(if at > 0 { "," } else { "" })?;
        display(&Value::from(key), f)?;
        f.write_str(":")?;
        display(value, f)?;
    }
    f.write_str("}")
}
