//! Model cards: what is known about a model, written as the README.md that the Hugging Face Hub shows.
//!
//! The text is, byte for byte, what Python's sentence-transformers 5.2.3 writes for the same facts; [`ModelCardData`] has
//! the fields and methods of its `SentenceTransformerModelCardData`. This crate knows no model and no network: the library
//! hands in [`ModelFacts`], training and evaluation fill in [`DatasetFacts`], [`LossFacts`], [`LogLine`] and
//! [`EvaluationFacts`], and whoever can reach the Hub implements [`HubLookup`].
//!
//! Where it departs from the original: a dataset listed by hand may lack columns and loss (the original then writes no card
//! at all), examples for the Hub's page are picked by a seed, and an evaluator is recognised by class, name and parameters
//! rather than by being the same object.
//!
//! # Examples
//!
//! ```
//! use st_card::{EvaluationFacts, ModelCardData, ModelFacts, SequenceLimit, UsageExample, Similarities};
//!
//! let mut data = ModelCardData::new().language(["en"]).license("mit").model_id("org/model");
//! data.set_evaluation_metrics(
//!     EvaluationFacts::new("EmbeddingSimilarityEvaluator", "sts-dev")
//!         .primary_metric("sts-dev_spearman_cosine")
//!         .metric("sts-dev_pearson_cosine", 0.8512)
//!         .metric("sts-dev_spearman_cosine", 0.8634),
//!     -1,
//!     -1,
//! );
//! let mut facts = ModelFacts { max_seq_length: SequenceLimit::Tokens(256), ..ModelFacts::default() };
//! if let UsageExample::Sentences(sentences) = data.usage_example(&facts) {
//!     // The library encodes the sentences and compares them.
//!     facts.similarities = Some(Similarities::new(vec![1.0; sentences.len() * sentences.len()], sentences.len()));
//! }
//! let card = data.render(&facts)?;
//! assert!(card.contains("| **spearman_cosine** | **0.8634** |\n"));
//! # Ok::<(), st_card::CardError>(())
//! ```

mod citations;
mod data;
mod dataset;
mod error;
mod evaluation;
mod examples;
mod facts;
mod front_matter;
mod logs;
mod lookup;
mod loss;
mod markdown;
mod python;
mod render;
mod widget;
mod yaml;

pub use data::{ModelCardData, TRAINED_TAG};
pub use dataset::{Column, ColumnStatistics, DatasetFacts};
pub use error::CardError;
pub use evaluation::EvaluationFacts;
pub use facts::{Emissions, ModelFacts, Scalar, SequenceLimit, Similarities};
pub use logs::LogLine;
pub use lookup::{HubLookup, RepositoryFacts, base_model_candidates};
pub use loss::LossFacts;
pub use render::{MODEL_ID_PLACEHOLDER, update_saved};
pub use widget::{UsageExample, WidgetExample};
