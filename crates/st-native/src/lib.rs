//! The native CPU engine: packed weights, ragged batches, fused kernels.
