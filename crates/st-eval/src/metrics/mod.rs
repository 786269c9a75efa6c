//! The formulas, as pure functions of numbers: no text, no model, no files.

mod classification;
mod correlation;
mod matching;
mod mining;
mod ranking;

pub use classification::{
    AccuracyThreshold, F1Threshold, average_precision, best_accuracy, best_f1, matthews_correlation,
};
pub use correlation::{average_ranks, pearson, spearman};
pub use matching::{Matching, matching_accuracy, mean_squared_error, triplet_accuracy};
pub use mining::{MiningScore, score_mined_pairs};
pub use ranking::{RankedQuery, tie_averaged_ndcg};
