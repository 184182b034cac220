//! Values that rows are found by, in one order, and ranges of them.

use std::ops::{Bound, Range, RangeFrom, RangeFull, RangeInclusive, RangeTo, RangeToInclusive};

use ciborium::Value;
use eidetica_kernel::backend::{Scan, prefix_end};

use crate::row::push_escaped;

/// Text and bytes count in an index row up to here; what is longer is told apart by the row itself.
const INDEXED_BYTES_MAX: usize = 300;

/// A value that rows can be found by: null < truth values < numbers < text < bytes. Numbers of all types are one order;
/// not-a-number is the greatest, -0.0 is 0.
///
/// ```
/// use eidetica_store_table::IndexValue;
///
/// assert!(IndexValue::from(1) < IndexValue::from(1.5));
/// assert!(IndexValue::from(u64::MAX) < IndexValue::from(""));
/// assert_eq!(IndexValue::from(2u8), IndexValue::from(2.0));
/// ```
#[derive(Clone, Debug)]
pub enum IndexValue {
    /// Null, and a field that is `None`.
    Null,
    /// A truth value.
    Bool(bool),
    /// An integer of 64 bits, with or without a sign.
    Int(i128),
    /// A number with a fraction.
    Float(f64),
    /// Text.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
}

impl IndexValue {
    /// What a field's value is found by; `None` for lists, maps and integers of more than 64 bits.
    pub(crate) fn of(value: &Value) -> Option<Self> {
        Some(match value {
            Value::Null => Self::Null,
            Value::Bool(value) => Self::Bool(*value),
            Value::Integer(value) => Self::Int((*value).into()),
            Value::Float(value) => Self::Float(*value),
            Value::Text(value) => Self::Text(value.clone()),
            Value::Bytes(value) => Self::Bytes(value.clone()),
            _ => return None,
        })
    }

    /// Bytes that sort as the values do.
    pub(crate) fn order(&self) -> Vec<u8> {
        self.sorted(usize::MAX)
    }

    /// The same, short enough for a row's key.
    pub(crate) fn indexed(&self) -> Vec<u8> {
        self.sorted(INDEXED_BYTES_MAX)
    }

    fn class(&self) -> u8 {
        match self {
            Self::Null => 1,
            Self::Bool(_) => 2,
            Self::Int(_) | Self::Float(_) => 3,
            Self::Text(_) => 4,
            Self::Bytes(_) => 5,
        }
    }

    fn sorted(&self, bytes_max: usize) -> Vec<u8> {
        let mut out = vec![self.class()];
        match self {
            Self::Null => {}
            Self::Bool(value) => out.push(u8::from(*value)),
            Self::Int(value) => {
                // The nearest float, then how far off it is: 2^63 and its neighbours stay apart.
                let nearest = *value as f64;
                push_number(nearest, value.saturating_sub(nearest as i128), &mut out);
            }
            Self::Float(value) => push_number(*value, 0, &mut out),
            Self::Text(text) => push_text(text.as_bytes(), bytes_max, &mut out),
            Self::Bytes(bytes) => push_text(bytes, bytes_max, &mut out),
        }
        out
    }
}

fn push_number(float: f64, off: i128, out: &mut Vec<u8>) {
    let float = if float.is_nan() { f64::NAN } else { float + 0.0 };
    let bits = float.to_bits();
    let sorted = if bits >> 63 == 1 && !float.is_nan() { !bits } else { bits | 1 << 63 };
    out.extend_from_slice(&sorted.to_be_bytes());
    let off = off.clamp(i128::from(i16::MIN), i128::from(i16::MAX)) + (1 << 15);
    out.extend_from_slice(&u16::try_from(off).unwrap_or(u16::MAX).to_be_bytes());
}

fn push_text(bytes: &[u8], bytes_max: usize, out: &mut Vec<u8>) {
    match bytes.get(..bytes_max) {
        Some(start) if start.len() < bytes.len() => {
            push_escaped(start, out);
            // Above the text that ends here, below whatever differs before.
            out.extend_from_slice(&[1, 0]);
        }
        _ => {
            push_escaped(bytes, out);
            out.push(0);
        }
    }
}

impl PartialEq for IndexValue {
    fn eq(&self, other: &Self) -> bool {
        self.order() == other.order()
    }
}

impl Eq for IndexValue {}

impl PartialOrd for IndexValue {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for IndexValue {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.order().cmp(&other.order())
    }
}

/// A value, or a range of values: `30`, `"Alice"`, `18..30`, `18..=30`, `18..`, `..30`, `..`.
///
/// A range with one end stays among values of its end's type: `18..` finds no text.
///
/// ```
/// use eidetica_store_table::IntoRange;
/// use std::ops::Bound;
///
/// assert_eq!((18..30).into_range(), (Bound::Included(18.into()), Bound::Excluded(30.into())));
/// assert_eq!("Alice".into_range(), (Bound::Included("Alice".into()), Bound::Included("Alice".into())));
/// ```
pub trait IntoRange {
    /// Its two ends.
    fn into_range(self) -> (Bound<IndexValue>, Bound<IndexValue>);
}

impl<T: Into<IndexValue>> IntoRange for Range<T> {
    fn into_range(self) -> (Bound<IndexValue>, Bound<IndexValue>) {
        (Bound::Included(self.start.into()), Bound::Excluded(self.end.into()))
    }
}

impl<T: Into<IndexValue>> IntoRange for RangeInclusive<T> {
    fn into_range(self) -> (Bound<IndexValue>, Bound<IndexValue>) {
        let (start, end) = self.into_inner();
        (Bound::Included(start.into()), Bound::Included(end.into()))
    }
}

impl<T: Into<IndexValue>> IntoRange for RangeFrom<T> {
    fn into_range(self) -> (Bound<IndexValue>, Bound<IndexValue>) {
        (Bound::Included(self.start.into()), Bound::Unbounded)
    }
}

impl<T: Into<IndexValue>> IntoRange for RangeTo<T> {
    fn into_range(self) -> (Bound<IndexValue>, Bound<IndexValue>) {
        (Bound::Unbounded, Bound::Excluded(self.end.into()))
    }
}

impl<T: Into<IndexValue>> IntoRange for RangeToInclusive<T> {
    fn into_range(self) -> (Bound<IndexValue>, Bound<IndexValue>) {
        (Bound::Unbounded, Bound::Included(self.end.into()))
    }
}

impl IntoRange for RangeFull {
    fn into_range(self) -> (Bound<IndexValue>, Bound<IndexValue>) {
        (Bound::Unbounded, Bound::Unbounded)
    }
}

impl IntoRange for (Bound<IndexValue>, Bound<IndexValue>) {
    fn into_range(self) -> Self {
        self
    }
}

macro_rules! index_values {
    ($($from:ty => |$value:ident| $to:expr;)*) => {$(
        impl From<$from> for IndexValue {
            fn from($value: $from) -> Self {
                $to
            }
        }

        impl IntoRange for $from {
            fn into_range(self) -> (Bound<IndexValue>, Bound<IndexValue>) {
                let value = IndexValue::from(self);
                (Bound::Included(value.clone()), Bound::Included(value))
            }
        }
    )*};
}

index_values! {
    () => |_value| Self::Null;
    bool => |value| Self::Bool(value);
    i8 => |value| Self::Int(value.into());
    i16 => |value| Self::Int(value.into());
    i32 => |value| Self::Int(value.into());
    i64 => |value| Self::Int(value.into());
    isize => |value| Self::Int(value as i128);
    u8 => |value| Self::Int(value.into());
    u16 => |value| Self::Int(value.into());
    u32 => |value| Self::Int(value.into());
    u64 => |value| Self::Int(value.into());
    usize => |value| Self::Int(value as i128);
    f32 => |value| Self::Float(value.into());
    f64 => |value| Self::Float(value);
    &str => |value| Self::Text(value.to_owned());
    &String => |value| Self::Text(value.clone());
    String => |value| Self::Text(value);
    &[u8] => |value| Self::Bytes(value.to_vec());
    Vec<u8> => |value| Self::Bytes(value);
}

impl IntoRange for IndexValue {
    fn into_range(self) -> (Bound<IndexValue>, Bound<IndexValue>) {
        (Bound::Included(self.clone()), Bound::Included(self))
    }
}

/// A range as the order of its values.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    start: Bound<IndexValue>,
    end: Bound<IndexValue>,
    class: Option<u8>,
}

impl Wanted {
    pub(crate) fn new(range: impl IntoRange) -> Self {
        let (start, end) = range.into_range();
        let class = match (&start, &end) {
            (Bound::Unbounded, Bound::Unbounded) => None,
            (Bound::Unbounded, Bound::Included(value) | Bound::Excluded(value))
            | (Bound::Included(value) | Bound::Excluded(value), Bound::Unbounded) => Some(value.class()),
            _ => None,
        };
        Self { start, end, class }
    }

    /// `true` if a value lies in it.
    pub(crate) fn contains(&self, value: &IndexValue) -> bool {
        if self.class.is_some_and(|class| class != value.class()) {
            return false;
        }
        (match &self.start {
            Bound::Included(start) => value >= start,
            Bound::Excluded(start) => value > start,
            Bound::Unbounded => true,
        }) && match &self.end {
            Bound::Included(end) => value <= end,
            Bound::Excluded(end) => value < end,
            Bound::Unbounded => true,
        }
    }

    /// The rows of an index whose values may lie in it: of long values, some that don't.
    pub(crate) fn scan(&self, index: &[u8]) -> Scan {
        let key = |value: &[u8]| [index, value].concat();
        let class = || self.class.map_or_else(Vec::new, |class| vec![class]);
        let behind = |key: Vec<u8>| prefix_end(&key).unwrap_or(key);
        let cut_short = |value: &IndexValue| value.indexed() != value.order();
        let start = match &self.start {
            Bound::Excluded(value) if !cut_short(value) => behind(key(&value.indexed())),
            Bound::Included(value) | Bound::Excluded(value) => key(&value.indexed()),
            Bound::Unbounded => key(&class()),
        };
        let end = match &self.end {
            Bound::Excluded(value) if !cut_short(value) => key(&value.indexed()),
            Bound::Included(value) | Bound::Excluded(value) => behind(key(&value.indexed())),
            Bound::Unbounded => behind(key(&class())),
        };
        Scan::range(start, end)
    }
}
