//! The losses: [`LOSSES`] lists them all, one file each.
//!
//! Values, gradients and settings are those of sentence-transformers 5.2, apart from the repairs that the losses name.
//! Most are pure functions of embeddings ([`Loss`](crate::Loss)). [`MatryoshkaLoss`], [`AdaptiveLayerLoss`],
//! [`Matryoshka2dLoss`] and [`GradientCache`] are built around another one:
//!
//! ```
//! use st_train::losses::{CachedMultipleNegativesRankingLoss, MatryoshkaLoss, MultipleNegativesRankingLoss};
//! use st_train::{Described, Objective};
//!
//! let ranking = CachedMultipleNegativesRankingLoss::new(MultipleNegativesRankingLoss::new(), 32)?;
//! let loss = MatryoshkaLoss::new(ranking, &[384, 128, 32])?;
//! assert_eq!(loss.mini_batch_size(), Some(32)); // still cached
//! assert_eq!(loss.config().unwrap()["loss"], "CachedMultipleNegativesRankingLoss");
//! # Ok::<(), st_train::TrainError>(())
//! ```

mod adaptive_layer;
mod angle;
mod batch_all_triplet;
mod batch_distances;
mod batch_hard_soft_margin_triplet;
mod batch_hard_triplet;
mod batch_semi_hard_triplet;
mod cached_gist_embed;
mod cached_multiple_negatives_ranking;
mod cached_multiple_negatives_symmetric_ranking;
mod contrastive;
mod contrastive_tension;
mod contrastive_tension_in_batch_negatives;
mod cosent;
mod cosine_similarity;
mod denoising_auto_encoder;
mod denoising_decoder;
mod differentiable;
mod distance;
mod distill_kl_div;
mod gist_embed;
mod gradient_cache;
mod margin_mse;
mod matryoshka;
mod matryoshka_2d;
mod mega_batch_margin;
mod mse;
mod multiple_negatives_ranking;
mod multiple_negatives_symmetric_ranking;
mod online_contrastive;
mod similarity;
mod softmax;
mod triplet;

use serde_json::{Map, Value, json};

pub use adaptive_layer::AdaptiveLayerLoss;
pub use angle::AngleLoss;
pub use batch_all_triplet::BatchAllTripletLoss;
pub use batch_hard_soft_margin_triplet::BatchHardSoftMarginTripletLoss;
pub use batch_hard_triplet::BatchHardTripletLoss;
pub use batch_semi_hard_triplet::BatchSemiHardTripletLoss;
pub use cached_gist_embed::CachedGistEmbedLoss;
pub use cached_multiple_negatives_ranking::CachedMultipleNegativesRankingLoss;
pub use cached_multiple_negatives_symmetric_ranking::CachedMultipleNegativesSymmetricRankingLoss;
pub use contrastive::ContrastiveLoss;
pub use contrastive_tension::ContrastiveTensionLoss;
pub use contrastive_tension_in_batch_negatives::ContrastiveTensionLossInBatchNegatives;
pub use cosent::CoSentLoss;
pub use cosine_similarity::{CosineSimilarityLoss, PairRegression, ScoreTransformation};
pub use denoising_auto_encoder::DenoisingAutoEncoderLoss;
pub use distance::{BatchDistance, SiameseDistanceMetric, TripletDistanceMetric};
pub use distill_kl_div::DistillKlDivLoss;
pub use gist_embed::{GistEmbedLoss, GistMargin, GistSettings};
pub use gradient_cache::GradientCache;
pub use margin_mse::MarginMseLoss;
pub use matryoshka::MatryoshkaLoss;
pub use matryoshka_2d::Matryoshka2dLoss;
pub use mega_batch_margin::MegaBatchMarginLoss;
pub use mse::MseLoss;
pub use multiple_negatives_ranking::MultipleNegativesRankingLoss;
pub use multiple_negatives_symmetric_ranking::MultipleNegativesSymmetricRankingLoss;
pub use online_contrastive::OnlineContrastiveLoss;
pub use similarity::{PairwiseSimilarity, Similarity};
pub use softmax::SoftmaxLoss;
pub use triplet::TripletLoss;

use crate::error::{Result, TrainError};
use crate::loss::LossCard;
use crate::model::{EmbeddingModel, InputKind};

/// All losses.
///
/// ```
/// use st_train::losses::LOSSES;
///
/// let takes_pairs_with_scores = LOSSES.iter().filter(|card| card.labels == "a similarity per pair");
/// let names: Vec<&str> = takes_pairs_with_scores.map(|card| card.name).collect();
/// assert_eq!(names, ["CosineSimilarityLoss", "CoSENTLoss", "AnglELoss"]);
/// ```
pub const LOSSES: &[LossCard] = &[
    cosine_similarity::CARD,
    cosent::CARD,
    angle::CARD,
    softmax::CARD,
    contrastive::CARD,
    online_contrastive::CARD,
    multiple_negatives_ranking::CARD,
    multiple_negatives_symmetric_ranking::CARD,
    cached_multiple_negatives_ranking::CARD,
    cached_multiple_negatives_symmetric_ranking::CARD,
    gist_embed::CARD,
    cached_gist_embed::CARD,
    triplet::CARD,
    batch_hard_triplet::CARD,
    batch_hard_soft_margin_triplet::CARD,
    batch_semi_hard_triplet::CARD,
    batch_all_triplet::CARD,
    margin_mse::CARD,
    distill_kl_div::CARD,
    mse::CARD,
    mega_batch_margin::CARD,
    denoising_auto_encoder::CARD,
    contrastive_tension::CARD,
    contrastive_tension_in_batch_negatives::CARD,
    matryoshka::CARD,
    adaptive_layer::CARD,
    matryoshka_2d::CARD,
];

/// Settings in the order in which a model card shows them.
fn settings<const N: usize>(pairs: [(&str, Value); N]) -> Map<String, Value> {
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// A number that is written without a decimal point where it is whole, as where the original's defaults are integers.
fn whole(number: f64) -> Value {
    #[expect(clippy::cast_possible_truncation, reason = "whole and small, as was checked")]
    if number.fract() == 0.0 && number.abs() < 1e9 { json!(number as i64) } else { json!(number) }
}

/// Gradient caching saves activations, of which a table of token vectors has none.
fn refuse_static_embedding(cached: &LossCard, plain: &LossCard, model: &dyn EmbeddingModel) -> Result<()> {
    if model.input_kind() == InputKind::StaticEmbedding {
        return Err(TrainError::invalid(format!(
            "{} is not compatible with a SentenceTransformer model based on a StaticEmbedding. Consider using {} instead.",
            cached.name, plain.name
        )));
    }
    Ok(())
}
