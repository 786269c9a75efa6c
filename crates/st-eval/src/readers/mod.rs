//! Files that evaluation data comes in.

mod beir;
mod sts;

pub use beir::RetrievalData;
pub use sts::SimilarityPairs;
