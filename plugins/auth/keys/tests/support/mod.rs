//! What the tests share: worlds of entries judged as the engine judges them, and a naive model of the rules.
#![allow(dead_code, unreachable_pub, reason = "every test is a crate of its own and uses some of it")]

pub mod model;
pub mod world;
