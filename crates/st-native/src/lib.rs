//! The native engine: sentence encoders on processors, without a framework.
//!
//! [`NativeBackend`] loads any network that an [`st_encoder::EncoderSpec`] describes (what it lacks it refuses at load, by
//! name) and runs it over ragged batches:
//!
//! - Weights are packed once into panels that the innermost loop reads straight through. Query, key and value are one
//!   product.
//! - Bias, activation and residual are added while a product's sums are at hand; a norm is one pass.
//! - A batch is cut into micro-batches of a few hundred tokens, whose activations stay near the core.
//! - Kernels exist per [`InstructionSet`], chosen when the model is loaded.
//! - Threads keep their working memory; a pass allocates its result and nothing else.
//!
//! A token's embedding does not depend, to the bit, on the batch it came in, the order, or the number of threads.

mod backend;
mod calibration;
mod encoder;
mod instructions;
mod kernels;
mod layers;
pub mod limits;
mod load;
mod memory;
mod row_sum;
mod scratch;
mod split;
mod stages;
mod table;

pub use backend::NativeBackend;
pub use instructions::InstructionSet;
pub use row_sum::{RowElement, RowSum};
