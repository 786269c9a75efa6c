//! One file per evaluator, and the table of them.

mod classification;
mod cutoffs;
mod distillation;
mod label_accuracy;
mod mining;
mod multilingual;
mod nano_beir;
mod reranking;
mod retrieval;
mod sequential;
mod similarity;
mod translation;
mod triplet;

pub use classification::BinaryClassificationEvaluator;
pub use cutoffs::Cutoffs;
pub use distillation::MseEvaluator;
pub use label_accuracy::LabelAccuracyEvaluator;
pub use mining::ParaphraseMiningEvaluator;
pub use multilingual::MultilingualMseEvaluator;
pub use nano_beir::{NANO_BEIR, NANO_BEIR_ID, NanoBeirEvaluator, NanoBeirOptions};
pub use reranking::{RerankingEvaluator, RerankingSample};
pub use retrieval::{Corpus, InformationRetrievalEvaluator};
pub use sequential::SequentialEvaluator;
pub use similarity::EmbeddingSimilarityEvaluator;
pub use translation::TranslationEvaluator;
pub use triplet::TripletEvaluator;

use serde_json::Value;

use crate::{Evaluation, EvaluatorKind};

/// Every evaluator.
pub const EVALUATORS: &[EvaluatorKind] = &[
    EmbeddingSimilarityEvaluator::KIND,
    BinaryClassificationEvaluator::KIND,
    TripletEvaluator::KIND,
    InformationRetrievalEvaluator::KIND,
    NanoBeirEvaluator::KIND,
    RerankingEvaluator::KIND,
    ParaphraseMiningEvaluator::KIND,
    TranslationEvaluator::KIND,
    MseEvaluator::KIND,
    MultilingualMseEvaluator::KIND,
    LabelAccuracyEvaluator::KIND,
    SequentialEvaluator::KIND,
];

/// `_name`, or nothing.
fn suffixed(name: &str) -> String {
    if name.is_empty() { String::new() } else { format!("_{name}") }
}

/// Adds a parameter that was set.
fn parameter(evaluation: &mut Evaluation, key: &'static str, value: Option<impl Into<Value>>) {
    evaluation.parameters.extend(value.map(|value| (key, value.into())));
}

/// The setters that evaluators of texts share.
macro_rules! shared_setters {
    ($evaluator:ty) => {
        impl $evaluator {
            /// The name: prefix of the metrics, part of the CSV file's name.
            #[must_use]
            pub fn named(mut self, name: impl Into<String>) -> Self {
                self.name = name.into();
                self
            }

            /// Texts that the model takes at a time.
            #[must_use]
            pub fn batch_size(mut self, texts: usize) -> Self {
                self.batch_size = texts;
                self
            }

            /// Whether results are appended to a CSV file when there is an output folder. Default: yes.
            #[must_use]
            pub fn write_csv(mut self, write: bool) -> Self {
                self.write_csv = write;
                self
            }

            /// Evaluates only the first components of the embeddings.
            #[must_use]
            pub fn truncate_dim(mut self, dimension: usize) -> Self {
                self.truncate_dim = Some(dimension);
                self
            }

            /// Whether the model shows its progress. Default: no.
            #[must_use]
            pub fn show_progress(mut self, show: bool) -> Self {
                self.show_progress = show;
                self
            }
        }
    };
}
use shared_setters;
