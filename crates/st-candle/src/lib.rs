//! Encoders as candle graphs: for training, for 64-bit floats, and for graphics processors.
//!
//! An [`EncoderGraph`] executes the same [`st_encoder::EncoderSpec`] as the native engine, with candle's tensors, so that
//! every number has a derivative. The engine is for inference on processors, where it is several times faster; this is for
//! everything else.
//!
//! Three things are particular to it. Activations are ragged, `[tokens, hidden]`: linear layers run over all tokens of a
//! batch and see no padding. Every operation goes through [`ops`], where a faster form takes the place of the composed one.
//! And [dropout](DropoutState) is a function of a seed instead of a generator's state, so that a run repeats to the bit, also
//! when a block is computed twice.

mod adapted_layers;
mod adapters;
mod backend;
mod block;
mod compute;
mod device;
mod dropout;
mod dropout_rates;
mod embeddings;
mod error;
mod fused_block;
mod gathering;
mod graph;
mod network;
pub mod ops;
mod parameters;
mod recompute;

pub use adapted_layers::LinearChange;
pub use backend::CandleBackend;
pub use device::DeviceChoice;
pub use dropout::{DropoutMask, DropoutPass, DropoutState};
pub use dropout_rates::DropoutRates;
pub use gathering::backward;
pub use graph::{EncoderGraph, GraphOutput, GraphPass};
pub use parameters::Parameter;
