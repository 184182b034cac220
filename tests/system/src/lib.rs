//! Tests of whole nodes live in `tests/`; here is what they share, and what the project's front page shows, compiled and run.

pub mod node;
pub mod over;
pub mod proxy;
pub mod relay;
pub mod route;
pub mod seeded;
pub mod state;
pub mod websocket;

#[doc = include_str!("../../../README.md")]
#[cfg(doctest)]
pub struct Readme;
