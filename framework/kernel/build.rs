//! Nothing to build: `links` in Cargo.toml wants this file.

fn main() {}
