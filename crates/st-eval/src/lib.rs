//! Evaluators and their metrics.
//!
//! An [`Evaluator`] holds texts and what is known about them, and measures any model that can embed texts
//! ([`Embedder`]); [`evaluate`] is the short way for the library's. [`EVALUATORS`] lists them all. Metric names, numbers, CSV files and the choice of the primary metric
//! are those of sentence-transformers 5.2, apart from the repairs that the evaluators name. [`metrics`] holds the
//! formulas alone.
//!
//! ```
//! use st_eval::{EmbedOptions, Embedder, Evaluator, Occasion, Result, Role, TripletEvaluator};
//! use st_vectors::{Embeddings, SimilarityFunction};
//!
//! /// Embeds a text as its number of vowels and of all letters.
//! struct Vowels;
//! impl Embedder for Vowels {
//!     fn embed(&self, texts: &[&str], _: Role, _: &EmbedOptions<'_>) -> Result<Embeddings> {
//!         let vowels = |text: &str| text.matches(['a', 'e', 'i', 'o', 'u']).count() as f32;
//!         Ok(Embeddings::from_rows(texts.iter().map(|text| [vowels(text), text.len() as f32]))?)
//!     }
//!     fn similarity(&self) -> SimilarityFunction {
//!         SimilarityFunction::Cosine
//!     }
//! }
//!
//! let evaluator = TripletEvaluator::new(vec!["aha".into()], vec!["oho".into()], vec!["hmm".into()])?.named("dev");
//! let evaluation = evaluator.evaluate(&Vowels, &Occasion::new())?;
//! assert_eq!(evaluation.metrics, [("dev_cosine_accuracy".to_owned(), 1.0)]);
//! # Ok::<(), st_eval::EvalError>(())
//! ```

mod classifier;
mod embedder;
mod error;
mod evaluator;
mod evaluators;
mod library;
pub mod metrics;
mod readers;
mod report;

pub use classifier::{SentenceClassifier, SoftmaxHead};
pub use embedder::{EmbedOptions, Embedder, Role};
pub use error::{EvalError, Result};
pub use evaluator::{Evaluation, Evaluator, EvaluatorKind, Occasion};
pub use evaluators::{
    BinaryClassificationEvaluator, Corpus, Cutoffs, EVALUATORS, EmbeddingSimilarityEvaluator,
    InformationRetrievalEvaluator, LabelAccuracyEvaluator, MseEvaluator, MultilingualMseEvaluator, NANO_BEIR,
    NANO_BEIR_ID, NanoBeirEvaluator, NanoBeirOptions, ParaphraseMiningEvaluator, RerankingEvaluator, RerankingSample,
    SequentialEvaluator, TranslationEvaluator, TripletEvaluator,
};
pub use library::evaluate;
pub use readers::{RetrievalData, SimilarityPairs};
