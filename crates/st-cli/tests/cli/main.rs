//! Tests that run the program itself, without a network.

#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod commands;
mod encode;
mod evaluate;
mod hub;
mod outputs;
mod pairs;
mod program;
mod resume;
mod train;
