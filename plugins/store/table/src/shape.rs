//! Between types that serde knows and the fields of a row.

use std::collections::BTreeMap;
use std::fmt::Display;

use ciborium::Value;
use eidetica_kernel::error::excerpt;
use eidetica_kernel::{Error, ErrorKind, Result};
use serde::de::DeserializeOwned;
use serde::ser::{self, Impossible, Serialize, Serializer};

use crate::cell;
use crate::payload::FIELD_NAME_BYTES_MAX;

/// The name of the one field of a row that isn't a struct or a map.
pub(crate) const WHOLE: &str = "";

/// The encoded fields of a row, by name.
pub(crate) type Fields = BTreeMap<String, Vec<u8>>;

/// The fields that serde makes of `value`: those of a struct, the keys of a map, else one.
pub(crate) fn to_fields<T: Serialize>(value: &T, operation: &'static str) -> Result<Fields> {
    let refuse = |reason: &dyn Display| {
        Error::new(ErrorKind::InvalidInput, operation, std::any::type_name::<T>(), reason)
    };
    let has_fields = matches!(value.serialize(Probe), Err(Shape::Fields));
    let value = Value::serialized(value).map_err(|error| refuse(&error))?;
    let mut fields = Fields::new();
    match value {
        Value::Map(entries) if has_fields => {
            for (name, value) in entries {
                let Value::Text(name) = name else { return Err(refuse(&"a key of the map isn't text")) };
                if name.is_empty() || name.len() > FIELD_NAME_BYTES_MAX {
                    let reason = format!(
                        "the field name {} hasn't 1 to {FIELD_NAME_BYTES_MAX} bytes",
                        excerpt(&name, 140)
                    );
                    return Err(refuse(&reason));
                }
                let bytes =
                    cell::encode(value).map_err(|reason| refuse(&format!("field {name}: {reason}")))?;
                fields.insert(name, bytes);
            }
        }
        value => {
            fields.insert(WHOLE.to_owned(), cell::encode(value).map_err(|reason| refuse(&reason))?);
        }
    }
    Ok(fields)
}

/// What serde makes of a row's fields.
pub(crate) fn from_fields<T: DeserializeOwned>(
    fields: &Fields,
    operation: &'static str,
    subject: impl Display,
) -> Result<T> {
    to_value(fields).and_then(|value| value.deserialized().map_err(|error| error.to_string())).map_err(
        |reason| {
            Error::new(ErrorKind::InvalidInput, operation, subject, reason)
                .hint("the row was written with another type: give new fields #[serde(default)]")
        },
    )
}

/// The row as one value.
pub(crate) fn to_value(fields: &Fields) -> Result<Value, String> {
    let decode = |bytes: &[u8]| cell::decode(bytes).map_err(str::to_owned);
    match fields.get(WHOLE) {
        Some(whole) => decode(whole),
        None => {
            let entry = |(name, value): (&String, &Vec<u8>)| Ok((Value::Text(name.clone()), decode(value)?));
            fields.iter().map(entry).collect::<Result<_, String>>().map(Value::Map)
        }
    }
}

/// Finds out whether a type is a struct or a map: an enum, too, looks like a map once it is written, but its fields don't
/// stand beside one another.
struct Probe;

#[derive(Debug)]
enum Shape {
    Fields,
    Whole,
}

impl Display for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self:?}")
    }
}

impl std::error::Error for Shape {}

impl ser::Error for Shape {
    fn custom<T: Display>(_: T) -> Self {
        Self::Whole
    }
}

type Never = Impossible<(), Shape>;

macro_rules! whole {
    ($($name:ident($($of:ty),*) -> $ok:ty;)*) => {
        $(fn $name(self, $(_: $of),*) -> Result<$ok, Shape> {
            Err(Shape::Whole)
        })*
    };
}

impl Serializer for Probe {
    type Ok = ();
    type Error = Shape;
    type SerializeSeq = Never;
    type SerializeTuple = Never;
    type SerializeTupleStruct = Never;
    type SerializeTupleVariant = Never;
    type SerializeMap = Never;
    type SerializeStruct = Never;
    type SerializeStructVariant = Never;

    whole! {
        serialize_bool(bool) -> ();
        serialize_i8(i8) -> ();
        serialize_i16(i16) -> ();
        serialize_i32(i32) -> ();
        serialize_i64(i64) -> ();
        serialize_i128(i128) -> ();
        serialize_u8(u8) -> ();
        serialize_u16(u16) -> ();
        serialize_u32(u32) -> ();
        serialize_u64(u64) -> ();
        serialize_u128(u128) -> ();
        serialize_f32(f32) -> ();
        serialize_f64(f64) -> ();
        serialize_char(char) -> ();
        serialize_str(&str) -> ();
        serialize_bytes(&[u8]) -> ();
        serialize_none() -> ();
        serialize_unit() -> ();
        serialize_unit_struct(&'static str) -> ();
        serialize_unit_variant(&'static str, u32, &'static str) -> ();
        serialize_seq(Option<usize>) -> Never;
        serialize_tuple(usize) -> Never;
        serialize_tuple_struct(&'static str, usize) -> Never;
        serialize_tuple_variant(&'static str, u32, &'static str, usize) -> Never;
        serialize_struct_variant(&'static str, u32, &'static str, usize) -> Never;
    }

    fn serialize_some<T: ?Sized + Serialize>(self, _: &T) -> Result<(), Shape> {
        Err(Shape::Whole)
    }

    fn serialize_newtype_struct<T: ?Sized + Serialize>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), Shape> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: ?Sized + Serialize>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<(), Shape> {
        Err(Shape::Whole)
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Never, Shape> {
        Err(Shape::Fields)
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Never, Shape> {
        Err(Shape::Fields)
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}
