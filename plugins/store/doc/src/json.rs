//! Strict JSON: read with positions, duplicate keys and oversized integers refused; written pretty or compact.

mod read;
mod write;

pub use read::{MAX_DEPTH, from_ndjson, from_reader, from_str};
pub use write::{to_string, to_string_pretty, to_writer};

pub(crate) use write::{JsonSink, display, display_map, map_to_string};
