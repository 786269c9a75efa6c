//! Files that evaluation data comes in.

mod beir;
mod nano_beir;
mod sts;

pub use beir::RetrievalData;
pub use sts::SimilarityPairs;
