use std::fmt::Display;

use ::serde::ser::{self, Serialize, SerializeMap, SerializeSeq, Serializer};
use eidetica_kernel::{Error, ErrorKind, Result};

use crate::doc::Doc;
use crate::value::{Value, canonical};

/// What serde makes of `value`: structs and maps become maps, sequences lists, enums as in JSON (a unit variant is
/// text, others a map of one key), `None` and unit null, bytes bytes.
///
/// # Errors
/// [`ErrorKind::InvalidInput`] for an integer outside i64, for a map key that isn't text, a number, a truth value or a
/// character, and for what the type itself refuses.
///
/// ```
/// #[derive(serde::Serialize, serde::Deserialize, PartialEq, Debug)]
/// struct User { name: String, age: u8, tags: Vec<String> }
///
/// let user = User { name: "Alice".into(), age: 30, tags: vec!["admin".into()] };
/// let value = eidetica_store_doc::to_value(&user)?;
/// assert_eq!(value.to_string(), r#"{"age":30,"name":"Alice","tags":["admin"]}"#);
/// assert_eq!(eidetica_store_doc::from_value::<User>(value)?, user);
/// # Ok::<(), eidetica_kernel::Error>(())
/// ```
pub fn to_value<T: Serialize + ?Sized>(value: &T) -> Result<Value> {
    value.serialize(ToValue).map_err(|Refused(reason)| {
        Error::new(ErrorKind::InvalidInput, "making a value of", std::any::type_name::<T>(), reason)
    })
}

/// Why a type couldn't be written or read.
#[derive(Debug)]
pub struct Refused(pub(super) String);

impl Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refused {}

impl ser::Error for Refused {
    fn custom<T: Display>(reason: T) -> Self {
        Self(reason.to_string())
    }
}

type Answer<T> = std::result::Result<T, Refused>;

fn too_large(value: impl Display) -> Refused {
    Refused(format!("the integer {value} is outside 64 bits with a sign"))
}

struct ToValue;

/// A list in the making; `variant` wraps it.
struct List {
    items: Vec<Value>,
    variant: Option<&'static str>,
}

/// A map in the making; `variant` wraps it.
struct Map {
    doc: Doc,
    key: Option<String>,
    variant: Option<&'static str>,
}

fn wrap(variant: Option<&'static str>, value: Value) -> Value {
    match variant {
        None => value,
        Some(variant) => Value::Map([(variant, value)].into_iter().collect()),
    }
}

impl Serializer for ToValue {
    type Ok = Value;
    type Error = Refused;
    type SerializeSeq = List;
    type SerializeTuple = List;
    type SerializeTupleStruct = List;
    type SerializeTupleVariant = List;
    type SerializeMap = Map;
    type SerializeStruct = Map;
    type SerializeStructVariant = Map;

    fn serialize_bool(self, value: bool) -> Answer<Value> {
        Ok(Value::Bool(value))
    }
    fn serialize_i8(self, value: i8) -> Answer<Value> {
        Ok(value.into())
    }
    fn serialize_i16(self, value: i16) -> Answer<Value> {
        Ok(value.into())
    }
    fn serialize_i32(self, value: i32) -> Answer<Value> {
        Ok(value.into())
    }
    fn serialize_i64(self, value: i64) -> Answer<Value> {
        Ok(value.into())
    }
    fn serialize_i128(self, value: i128) -> Answer<Value> {
        i64::try_from(value).map(Value::Int).map_err(|_| too_large(value))
    }
    fn serialize_u8(self, value: u8) -> Answer<Value> {
        Ok(value.into())
    }
    fn serialize_u16(self, value: u16) -> Answer<Value> {
        Ok(value.into())
    }
    fn serialize_u32(self, value: u32) -> Answer<Value> {
        Ok(value.into())
    }
    fn serialize_u64(self, value: u64) -> Answer<Value> {
        i64::try_from(value).map(Value::Int).map_err(|_| too_large(value))
    }
    fn serialize_u128(self, value: u128) -> Answer<Value> {
        i64::try_from(value).map(Value::Int).map_err(|_| too_large(value))
    }
    fn serialize_f32(self, value: f32) -> Answer<Value> {
        Ok(value.into())
    }
    fn serialize_f64(self, value: f64) -> Answer<Value> {
        Ok(Value::Float(canonical(value)))
    }
    fn serialize_char(self, value: char) -> Answer<Value> {
        Ok(Value::Text(value.to_string()))
    }
    fn serialize_str(self, value: &str) -> Answer<Value> {
        Ok(value.into())
    }
    fn serialize_bytes(self, value: &[u8]) -> Answer<Value> {
        Ok(value.into())
    }
    fn serialize_none(self) -> Answer<Value> {
        Ok(Value::Null)
    }
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Answer<Value> {
        value.serialize(self)
    }
    fn serialize_unit(self) -> Answer<Value> {
        Ok(Value::Null)
    }
    fn serialize_unit_struct(self, _: &'static str) -> Answer<Value> {
        Ok(Value::Null)
    }
    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Answer<Value> {
        Ok(variant.into())
    }
    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Answer<Value> {
        value.serialize(self)
    }
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Answer<Value> {
        Ok(wrap(Some(variant), value.serialize(self)?))
    }
    fn serialize_seq(self, _: Option<usize>) -> Answer<List> {
        Ok(List { items: Vec::new(), variant: None })
    }
    fn serialize_tuple(self, len: usize) -> Answer<List> {
        self.serialize_seq(Some(len))
    }
    fn serialize_tuple_struct(self, _: &'static str, len: usize) -> Answer<List> {
        self.serialize_seq(Some(len))
    }
    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Answer<List> {
        Ok(List { items: Vec::new(), variant: Some(variant) })
    }
    fn serialize_map(self, _: Option<usize>) -> Answer<Map> {
        Ok(Map { doc: Doc::new(), key: None, variant: None })
    }
    fn serialize_struct(self, _: &'static str, len: usize) -> Answer<Map> {
        self.serialize_map(Some(len))
    }
    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Answer<Map> {
        Ok(Map { doc: Doc::new(), key: None, variant: Some(variant) })
    }
}

impl SerializeSeq for List {
    type Ok = Value;
    type Error = Refused;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Answer<()> {
        self.items.push(value.serialize(ToValue)?);
        Ok(())
    }

    fn end(self) -> Answer<Value> {
        Ok(wrap(self.variant, Value::List(self.items)))
    }
}

macro_rules! list_like {
    ($($name:ident: $method:ident;)*) => {$(
        impl ser::$name for List {
            type Ok = Value;
            type Error = Refused;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Answer<()> {
                SerializeSeq::serialize_element(self, value)
            }

            fn end(self) -> Answer<Value> {
                SerializeSeq::end(self)
            }
        }
    )*};
}

list_like! {
    SerializeTuple: serialize_element;
    SerializeTupleStruct: serialize_field;
    SerializeTupleVariant: serialize_field;
}

impl SerializeMap for Map {
    type Ok = Value;
    type Error = Refused;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Answer<()> {
        self.key = Some(match key.serialize(ToValue)? {
            Value::Text(key) => key,
            Value::Int(key) => key.to_string(),
            Value::Bool(key) => key.to_string(),
            other => return Err(Refused(format!("a key of a map is {}, not text", other.describe()))),
        });
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Answer<()> {
        let key = self.key.take().ok_or_else(|| Refused("a value without a key".into()))?;
        self.doc.set(key, value.serialize(ToValue)?);
        Ok(())
    }

    fn end(self) -> Answer<Value> {
        Ok(wrap(self.variant, Value::Map(self.doc)))
    }
}

macro_rules! map_like {
    ($($name:ident),*) => {$(
        impl ser::$name for Map {
            type Ok = Value;
            type Error = Refused;

            fn serialize_field<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> Answer<()> {
                self.doc.set(key, value.serialize(ToValue)?);
                Ok(())
            }

            fn end(self) -> Answer<Value> {
                SerializeMap::end(self)
            }
        }
    )*};
}

map_like!(SerializeStruct, SerializeStructVariant);

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Int(value) => serializer.serialize_i64(*value),
            Self::TooLarge(value) => serializer.serialize_u64(*value),
            Self::Float(value) => serializer.serialize_f64(*value),
            Self::Text(value) => serializer.serialize_str(value),
            Self::Bytes(value) => serializer.serialize_bytes(value),
            Self::Map(value) => value.serialize(serializer),
            Self::List(value) => serializer.collect_seq(value),
        }
    }
}

impl Serialize for Doc {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_map(self)
    }
}
