//! What a place in a document can hold.

use bytes::Bytes;

use eidetica_kernel::{Error, ErrorKind, Result};

use crate::doc::Doc;
use crate::payload::Scalar;

/// A value: a scalar, a map or a list.
///
/// ```
/// use eidetica_store_doc::{Doc, Value};
///
/// assert_eq!(Value::from(30u64).as_i64(), Some(30));
/// assert_eq!(Value::from("x").as_str(), Some("x"));
/// assert_eq!(Value::from(vec![1u8, 2]).as_bytes(), Some(&[1u8, 2][..]));
/// let list = Value::from(vec![Value::from(1), Value::from(Doc::new())]);
/// assert_eq!(list.to_string(), "[1,{}]");
/// ```
#[derive(Clone, Debug, Default)]
pub enum Value {
    /// Nothing, but there.
    #[default]
    Null,
    /// True or false.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// A number with a fraction; every NaN becomes the same one, -0.0 stays.
    Float(f64),
    /// Text.
    Text(String),
    /// Bytes. JSON can't say them.
    Bytes(Bytes),
    /// A map.
    Map(Doc),
    /// A list.
    List(Vec<Value>),
    /// An integer above `i64::MAX`, as `From<u64>`, which can't fail, leaves it. It can be looked at, but not stored or
    /// written as JSON: whoever is asked to answers [`ErrorKind::InvalidInput`].
    TooLarge(u64),
}

impl Value {
    /// The integer; `None` for anything else.
    pub fn as_i64(&self) -> Option<i64> {
        match self {
            Self::Int(value) => Some(*value),
            _ => None,
        }
    }

    /// The number: a float, or an integer that a float holds exactly.
    pub fn as_f64(&self) -> Option<f64> {
        const EXACT: i64 = 1 << 53;
        match self {
            Self::Float(value) => Some(*value),
            Self::Int(value) if (-EXACT..=EXACT).contains(value) => Some(*value as f64),
            _ => None,
        }
    }

    /// The truth value.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(value) => Some(*value),
            _ => None,
        }
    }

    /// The text.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Text(value) => Some(value),
            _ => None,
        }
    }

    /// The bytes.
    pub fn as_bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Bytes(value) => Some(value),
            _ => None,
        }
    }

    /// The map.
    pub fn as_doc(&self) -> Option<&Doc> {
        match self {
            Self::Map(value) => Some(value),
            _ => None,
        }
    }

    /// The list.
    pub fn as_list(&self) -> Option<&[Value]> {
        match self {
            Self::List(value) => Some(value),
            _ => None,
        }
    }

    /// `true` for null.
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// What it is, for messages: "a map", "text", ….
    pub fn describe(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a truth value",
            Self::Int(_) | Self::TooLarge(_) => "an integer",
            Self::Float(_) => "a float",
            Self::Text(_) => "text",
            Self::Bytes(_) => "bytes",
            Self::Map(_) => "a map",
            Self::List(_) => "a list",
        }
    }

    pub(crate) fn too_large(value: u64, doing: &'static str) -> Error {
        Error::new(ErrorKind::InvalidInput, doing, value, "integers end at 9223372036854775807")
            .hint("store it as text or as a float")
    }
}

/// What a value is made of, for whoever stores it.
pub(crate) enum Shape {
    Scalar(Scalar<'static>),
    Map(Doc),
    List(Vec<Value>),
}

impl Value {
    pub(crate) fn into_shape(self, doing: &'static str) -> Result<Shape> {
        Ok(Shape::Scalar(match self {
            Self::Map(doc) => return Ok(Shape::Map(doc)),
            Self::List(list) => return Ok(Shape::List(list)),
            Self::TooLarge(value) => return Err(Self::too_large(value, doing)),
            Self::Null => Scalar::Null,
            Self::Bool(value) => Scalar::Bool(value),
            Self::Int(value) => Scalar::Int(value),
            Self::Float(value) => Scalar::Float(canonical(value)),
            Self::Text(value) => Scalar::Text(value.into()),
            Self::Bytes(value) => Scalar::Bytes(Vec::from(value).into()),
        }))
    }
}

impl From<Scalar<'_>> for Value {
    fn from(scalar: Scalar<'_>) -> Self {
        match scalar {
            Scalar::Null => Self::Null,
            Scalar::Bool(value) => Self::Bool(value),
            Scalar::Int(value) => Self::Int(value),
            Scalar::Float(value) => Self::Float(value),
            Scalar::Text(value) => Self::Text(value.into_owned()),
            Scalar::Bytes(value) => Self::Bytes(value.into_owned().into()),
        }
    }
}

/// The one NaN there is, for any of them.
pub(crate) fn canonical(value: f64) -> f64 {
    if value.is_nan() { f64::from_bits(NAN_BITS) } else { value }
}

pub(crate) const NAN_BITS: u64 = 0x7ff8_0000_0000_0000;

impl PartialEq for Value {
    /// As the numbers say, except that NaN equals NaN, so that a document equals itself.
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::Bool(a), Self::Bool(b)) => a == b,
            (Self::Int(a), Self::Int(b)) => a == b,
            (Self::Float(a), Self::Float(b)) => a == b || (a.is_nan() && b.is_nan()),
            (Self::Text(a), Self::Text(b)) => a == b,
            (Self::Bytes(a), Self::Bytes(b)) => a == b,
            (Self::Map(a), Self::Map(b)) => a == b,
            (Self::List(a), Self::List(b)) => a == b,
            (Self::TooLarge(a), Self::TooLarge(b)) => a == b,
            _ => false,
        }
    }
}

macro_rules! from_integers {
    ($($integer:ty),*) => {$(
        impl From<$integer> for Value {
            fn from(value: $integer) -> Self {
                Self::Int(i64::from(value))
            }
        }
    )*};
}

from_integers!(i8, i16, i32, i64, u8, u16, u32);

impl From<u64> for Value {
    /// [`Value::Int`], or [`Value::TooLarge`] above `i64::MAX`.
    fn from(value: u64) -> Self {
        i64::try_from(value).map_or(Self::TooLarge(value), Self::Int)
    }
}

impl From<usize> for Value {
    fn from(value: usize) -> Self {
        Self::from(value as u64)
    }
}

impl From<isize> for Value {
    fn from(value: isize) -> Self {
        Self::Int(value as i64)
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Self::Float(canonical(value))
    }
}

impl From<f32> for Value {
    fn from(value: f32) -> Self {
        Self::Float(canonical(f64::from(value)))
    }
}

macro_rules! from_as {
    ($($from:ty => $variant:ident($value:ident) $as:expr;)*) => {$(
        impl From<$from> for Value {
            fn from($value: $from) -> Self {
                Self::$variant($as)
            }
        }
    )*};
}

from_as! {
    bool => Bool(value) value;
    &str => Text(value) value.to_owned();
    &String => Text(value) value.clone();
    String => Text(value) value;
    std::borrow::Cow<'_, str> => Text(value) value.into_owned();
    Bytes => Bytes(value) value;
    Vec<u8> => Bytes(value) value.into();
    &[u8] => Bytes(value) Bytes::copy_from_slice(value);
    Doc => Map(value) value;
    &Doc => Map(value) value.clone();
    Vec<Value> => List(value) value;
}

impl From<&Value> for Value {
    fn from(value: &Value) -> Self {
        value.clone()
    }
}

impl From<()> for Value {
    fn from((): ()) -> Self {
        Self::Null
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

// One by one, for a vector of u8 is bytes, not a list.
macro_rules! from_lists {
    ($($item:ty),*) => {$(
        impl From<Vec<$item>> for Value {
            fn from(items: Vec<$item>) -> Self {
                Self::List(items.into_iter().map(Value::from).collect())
            }
        }
    )*};
}

from_lists!(i8, i16, i32, i64, u16, u32, u64, f32, f64, bool, &str, String, Doc);

impl<T: Into<Value>> FromIterator<T> for Value {
    /// A list.
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        Self::List(items.into_iter().map(Into::into).collect())
    }
}

impl PartialEq<str> for Value {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == Some(other)
    }
}

impl PartialEq<&str> for Value {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == Some(other)
    }
}

impl PartialEq<String> for Value {
    fn eq(&self, other: &String) -> bool {
        self.as_str() == Some(other)
    }
}

impl PartialEq<i64> for Value {
    fn eq(&self, other: &i64) -> bool {
        self.as_i64() == Some(*other)
    }
}

impl PartialEq<i32> for Value {
    fn eq(&self, other: &i32) -> bool {
        self.as_i64() == Some(i64::from(*other))
    }
}

impl PartialEq<f64> for Value {
    fn eq(&self, other: &f64) -> bool {
        matches!(self, Self::Float(value) if value == other)
    }
}

impl PartialEq<bool> for Value {
    fn eq(&self, other: &bool) -> bool {
        self.as_bool() == Some(*other)
    }
}

impl std::fmt::Display for Value {
    /// Text as it is; everything else as compact JSON, where bytes are `<n bytes>` and what JSON can't say is spelled out.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Text(text) => f.pad(text),
            other => crate::json::display(other, f),
        }
    }
}
