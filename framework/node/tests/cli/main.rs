//! The program `eidetica`, as people and scripts use it: real processes on folders of their own.

#![cfg(unix)]
#![allow(clippy::print_stdout, reason = "figures are for people")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod configured;
mod failures;
mod lifetime;
mod peers;
mod plugins;
mod real_data;
mod requests;
mod support;
mod values;
