//! Golden vectors of `FORMAT.md`: written once, then only compared; `tests/format/read_vectors.py` reads them too.
//!
//! `EIDETICA_WRITE_VECTORS=1 cargo test -p eidetica-kernel --test golden` writes them. A change of the file is a change of
//! the format.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod headers;
mod payloads;
mod primitives;
mod signatures;

use std::path::PathBuf;

use serde_json::{Value, json};

fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/format/vectors.json")
}

fn hex(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(bytes)
}

fn unhex(text: &str) -> Vec<u8> {
    data_encoding::HEXLOWER.decode(text.as_bytes()).expect("hex in this test")
}

/// Bytes as the file holds them: hex, or a list of [hex, repetitions] where long runs make that shorter.
fn packed(bytes: &[u8]) -> Value {
    if bytes.len() < 2_048 {
        return hex(bytes).into();
    }
    let mut parts: Vec<(Vec<u8>, usize)> = Vec::new();
    for run in bytes.chunk_by(|a, b| a == b) {
        match parts.last_mut() {
            Some((part, 1)) if run.len() < 16 => part.extend_from_slice(run),
            _ if run.len() < 16 => parts.push((run.to_vec(), 1)),
            _ => parts.push((vec![run[0]], run.len())),
        }
    }
    parts.into_iter().map(|(part, count)| json!([hex(&part), count])).collect()
}

/// One line per vector, so that a difference shows which.
fn file() -> String {
    let sections = [
        ("hashes", primitives::hashes()),
        ("varints", primitives::varints()),
        ("headers", headers::vectors()),
        ("envelopes", payloads::envelopes()),
        ("rights_ops", payloads::rights_ops()),
        ("entries", headers::entries()),
        ("signatures", signatures::vectors()),
    ];
    let mut text = "{\n\"format\": 1".to_owned();
    for (name, vectors) in sections {
        let lines: Vec<String> = vectors.iter().map(Value::to_string).collect();
        text.push_str(&format!(",\n\"{name}\": [\n{}\n]", lines.join(",\n")));
    }
    text + "\n}\n"
}

#[test]
fn the_vectors_are_those_in_the_file() {
    let now = file();
    if std::env::var_os("EIDETICA_WRITE_VECTORS").is_some() {
        std::fs::write(path(), &now).unwrap();
    }
    let golden = std::fs::read_to_string(path()).unwrap();
    for (line, (now, golden)) in now.lines().zip(golden.lines()).enumerate() {
        assert_eq!(now, golden, "vectors.json, line {}: the format has changed", line + 1);
    }
    assert_eq!(now.len(), golden.len(), "vectors.json has more or fewer vectors");
}

#[test]
fn the_example_in_the_document_is_true() {
    let document = include_str!("../../FORMAT.md");
    let entry = headers::example();
    assert!(document.contains(&format!("Its id is `{}`", entry.id())), "{}", entry.id());
    let block = document.split("## 9. An example").nth(1).and_then(|rest| rest.split("```").nth(1)).unwrap();
    let bytes: String = block
        .lines()
        .skip(1)
        .flat_map(|line| line.split("   ").next())
        .flat_map(|line| line.chars().filter(|c| c.is_ascii_hexdigit()))
        .collect();
    assert_eq!(bytes, hex(entry.header_bytes()));
}
