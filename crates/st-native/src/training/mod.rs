//! The kernels of a training step: forward passes that keep what gradients need, gradients, optimiser.
//!
//! Activations are ragged: `[tokens, width]` over all sequences of a batch, row-major, without padding. [`Compute`] runs
//! every operation on several threads. Weights change with every step, so they are packed in every call; what that costs
//! is spread over thousands of tokens.
//!
//! # Repeatability
//!
//! A result depends neither on the number of threads nor on how work falls to them: elements of products over a row's
//! components are sums in one order, sums over rows (gradients of weights, biases and norms) are taken over blocks of a
//! fixed height and added in order. Across instruction sets results differ by rounding.
//!
//! Functions take slices and check their lengths.
//!
//! # Sources
//!
//! Gradients are worked out from the definitions; the tests hold them to 64-bit loops and to finite differences. Attention
//! computes probabilities again instead of keeping them, as Dao et al. (2022) do. The optimiser is AdamW (Loshchilov &
//! Hutter 2019) with the order of operations of PyTorch's.

mod activation;
mod attention;
mod block;
mod block_passes;
mod compute;
mod embedding;
mod linear;
mod norm;
mod panels;
mod pool;
mod update;
mod weight_gradient;

#[cfg(test)]
mod tests;

pub use attention::{Attention, AttentionGradients, AttentionInputs, AttentionStatistics, DropoutFactors, Matrix};
pub use block::{Block, BlockDropout, BlockGradients, BlockTape, NormWeights};
pub use compute::Compute;
pub use linear::Weight;
pub use pool::Pooled;
pub use update::AdamStep;
