//! Values of fields as bytes: CBOR (RFC 8949) in one canonical form, so that equal values are equal bytes.

use ciborium::Value;

use crate::payload::{DEPTH_MAX, FIELD_VALUE_BYTES_MAX};

const BIGNUM: u64 = 2;
const NEGATIVE_BIGNUM: u64 = 3;

/// Encodes a value; the error is the rule it would break.
pub(crate) fn encode(mut value: Value) -> Result<Vec<u8>, &'static str> {
    canonicalise(&mut value, 0)?;
    let bytes = write(&value);
    if bytes.len() > FIELD_VALUE_BYTES_MAX {
        return Err("the value is longer than 500,000 bytes");
    }
    Ok(bytes)
}

/// Decodes what a stranger sent; the error is the rule it breaks.
pub(crate) fn decode(bytes: &[u8]) -> Result<Value, &'static str> {
    if bytes.len() > FIELD_VALUE_BYTES_MAX {
        return Err("a value is too long");
    }
    let mut rest = bytes;
    let mut value: Value = ciborium::de::from_reader_with_recursion_limit(&mut rest, DEPTH_MAX + 2)
        .map_err(|_| "a value isn't CBOR")?;
    canonicalise(&mut value, 0)?;
    if !rest.is_empty() || write(&value) != bytes {
        return Err("a value isn't in canonical form");
    }
    Ok(value)
}

fn write(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    // Writing to memory doesn't fail, and a `Value` serializes whatever it holds.
    let written = ciborium::ser::into_writer(value, &mut bytes);
    debug_assert!(written.is_ok(), "a value is written");
    bytes
}

fn canonicalise(value: &mut Value, depth: usize) -> Result<(), &'static str> {
    if depth > DEPTH_MAX {
        return Err("a value is nested too deep");
    }
    match value {
        Value::Float(float) if float.is_nan() => *float = f64::NAN,
        Value::Array(items) => items.iter_mut().try_for_each(|item| canonicalise(item, depth + 1))?,
        Value::Map(entries) => {
            for (key, value) in entries.iter_mut() {
                canonicalise(key, depth + 1)?;
                canonicalise(value, depth + 1)?;
            }
            entries.sort_by_cached_key(|(key, _)| write(key));
            if entries.windows(2).any(|pair| matches!(pair, [(a, _), (b, _)] if write(a) == write(b))) {
                return Err("a map has a key twice");
            }
        }
        Value::Tag(BIGNUM | NEGATIVE_BIGNUM, inner) if inner.is_bytes() => {}
        Value::Tag(..) => return Err("a value has a tag that isn't a large integer's"),
        _ => {}
    }
    Ok(())
}
