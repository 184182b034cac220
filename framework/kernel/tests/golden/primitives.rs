//! BLAKE3 and varints.

use serde_json::{Value, json};

use crate::{hex, packed};

const CONTEXTS: [&str; 3] = ["", "eidetica 1 entry id", "eidetica 1 payload"];

pub(crate) fn hashes() -> Vec<Value> {
    let mut vectors = Vec::new();
    for length in [0, 1, 64, 65, 1_024, 1_025, 2_048, 2_049, 3_073, 8_193, 16_384] {
        let input = vec![0x61; length];
        for context in CONTEXTS {
            let output = match context {
                "" => blake3::hash(&input),
                context => blake3::Hasher::new_derive_key(context).update(&input).finalize(),
            };
            let name = format!("{length} bytes, context {context:?}");
            let output = hex(output.as_bytes());
            vectors
                .push(json!({ "name": name, "context": context, "input": packed(&input), "output": output }));
        }
    }
    let input: Vec<u8> = (0..2_000_u32).map(|n| (n % 251) as u8).collect();
    let output = hex(blake3::hash(&input).as_bytes());
    vectors
        .push(json!({ "name": "2000 counted bytes", "context": "", "input": hex(&input), "output": output }));
    vectors
}

pub(crate) fn varints() -> Vec<Value> {
    let mut vectors = Vec::new();
    for bits in [16, 32, 64] {
        let max = u64::MAX >> (64 - bits);
        for value in [0, 1, 127, 128, 300, 16_383, 16_384, max - 1, max] {
            let bytes = match bits {
                16 => postcard::to_stdvec(&(value as u16)),
                32 => postcard::to_stdvec(&(value as u32)),
                _ => postcard::to_stdvec(&value),
            };
            let bytes = hex(&bytes.unwrap());
            let name = format!("{value} in {bits} bits");
            vectors.push(json!({ "name": name, "bits": bits, "bytes": bytes, "value": value.to_string() }));
        }
    }
    let over = ["808004", "8080808010", "80808080808080808002"];
    let endless = ["80808001", "8080808080800001", "8080808080808080808001"];
    for (at, bits) in [16, 32, 64].into_iter().enumerate() {
        for (bytes, reason) in [
            (over[at], "varint out of range"),
            (endless[at], "varint out of range"),
            ("80", "truncated"),
            ("8000", "non-canonical varint"),
            ("ff00", "non-canonical varint"),
        ] {
            let bytes_are_accepted = match (reason, bits) {
                ("non-canonical varint", _) => true,
                (_, 16) => postcard::from_bytes::<u16>(&crate::unhex(bytes)).is_ok(),
                (_, 32) => postcard::from_bytes::<u32>(&crate::unhex(bytes)).is_ok(),
                _ => postcard::from_bytes::<u64>(&crate::unhex(bytes)).is_ok(),
            };
            assert_eq!(bytes_are_accepted, reason == "non-canonical varint", "{bytes} in {bits} bits");
            let name = format!("{bytes} in {bits} bits");
            vectors.push(json!({ "name": name, "bits": bits, "bytes": bytes, "reason": reason }));
        }
    }
    vectors
}
