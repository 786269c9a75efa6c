//! Values and gradients of every loss against the original's (`fixtures/losses.json`), against finite differences,
//! against numbers worked out by hand (`fixtures/losses_toy.json`), and with gradients cached.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

mod caching;
mod cases;
mod decoder;
mod golden;
mod refusals;
mod stub_model;
mod toy;
