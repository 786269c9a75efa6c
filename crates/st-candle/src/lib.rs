//! Encoders as candle graphs: training, GPU and float64.

mod dropout;
pub mod ops;

pub use dropout::{DropoutMask, DropoutPass, DropoutState};
