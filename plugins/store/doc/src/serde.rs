//! Between values and types that serde knows.

mod de;
mod ser;

pub use de::from_value;
pub use ser::to_value;
