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
//! # Weight formats
//!
//! [`st_encoder::WeightFormat`] says how weights are kept; sums are always in 32 bits (products of bytes: exact integers).
//! A weight that is rounded to bfloat16 is off by at most 2⁻⁹ of itself, to 16-bit floats by 2⁻¹² (2⁻²⁵ absolutely below
//! 2⁻¹⁴); both take half the memory of 32-bit floats. Measured on mean-pooled embeddings of all-MiniLM-L6-v2 over 1,748
//! texts, the smallest cosine to 32-bit weights is 0.99998 with bfloat16 and 1.00000 with 16-bit floats; with bytes it is
//! 0.9989 over 2,000 texts (mean 0.9997), with products of bfloat16, which round each layer's input too, 0.9999 (mean
//! 0.99998). With bytes, layers are calibrated at load on a few sentences, unless
//! [`st_encoder::EncoderOptions::calibration`] holds texts: a layer becomes bytes when it sees its first input, which the
//! layers before it, in bytes already, have computed (in more than 4,096 tokens of texts, or where blocks run several times,
//! all layers at the end instead). Where the processor has bfloat16 products, attention uses them.
//!
//! # Invariance
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
mod load_relative;
mod memory;
mod row_sum;
mod scratch;
mod split;
mod stages;
mod table;
pub mod training;

pub use backend::NativeBackend;
pub use instructions::InstructionSet;
pub use row_sum::{RowElement, RowSum};
