//! Embeddings, similarity, quantisation, semantic search, mining and clustering.
//!
//! Everything here works on plain vectors: no model, no network, no files. [`Embeddings`] is one contiguous row-major
//! matrix; results are own types over contiguous memory with rows, iterators and `ndarray` views.
//!
//! Scores are deterministic: a score depends only on its two vectors, not on how the work was cut or how many cores
//! did it, and equal scores are ordered by the smaller index.
//!
//! ```
//! use st_vectors::{Embeddings, SimilarityFunction};
//! let a = Embeddings::from_rows([[1.0, 2.0], [3.0, -1.0]])?;
//! let scores = SimilarityFunction::Cosine.similarity(&a, &a)?;
//! assert_eq!(scores.view().dim(), (2, 2));
//! # Ok::<(), st_vectors::VectorError>(())
//! ```

mod active_dimensions;
#[cfg(feature = "approximate")]
mod approximate;
#[cfg(feature = "arrow")]
mod arrow;
mod communities;
mod embeddings;
mod error;
mod hard_negatives;
mod kernels;
mod matrix;
mod mining;
mod names;
mod precision;
mod quantize;
mod quantized;
mod quantized_search;
mod search;
mod similarity;
mod similarity_function;
mod top_k;

pub use active_dimensions::{compute_count_vector, select_max_active_dims};
#[cfg(feature = "approximate")]
pub use approximate::{ApproximateIndex, ApproximateOptions};
pub use communities::{CommunityOptions, community_detection};
pub use embeddings::Embeddings;
pub use error::{Result, VectorError};
pub use hard_negatives::{
    Dropped, HardNegativeOptions, HardNegatives, NegativeSampling, Rescore, mine_hard_negatives,
    mine_hard_negatives_with,
};
pub use matrix::SimilarityMatrix;
pub use mining::{MiningOptions, ParaphrasePair, paraphrase_mining_embeddings};
pub use precision::Precision;
pub use quantize::{Ranges, quantize_embeddings};
pub use quantized::QuantizedEmbeddings;
pub use quantized_search::{QuantizedSearchOptions, SearchQueries, semantic_search_quantized};
pub use search::{Hit, SearchOptions, semantic_search};
pub use similarity::{
    cos_sim, dot_score, euclidean_sim, manhattan_sim, pairwise_angle_sim, pairwise_cos_sim, pairwise_dot_score,
    pairwise_euclidean_sim, pairwise_manhattan_sim,
};
pub use similarity_function::SimilarityFunction;
