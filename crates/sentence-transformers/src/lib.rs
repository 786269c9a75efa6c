//! Sentence Transformers in Rust: load a model, turn texts into vectors, compare them.
//!
//! What Python's `sentence-transformers` documents as the class `SentenceTransformer`, with the same numbers, from a
//! folder or the Hugging Face Hub. Everything that users need is re-exported here.
//!
//! ```no_run
//! use sentence_transformers::{EncodeOptions, Prompt, SentenceTransformer};
//!
//! let model = SentenceTransformer::load("sentence-transformers/all-MiniLM-L6-v2")?;
//! let texts = ["The weather is lovely today.", "It's so sunny outside!", "He drove to the stadium."];
//! let embeddings = model.encode(&texts)?;
//! println!("{:.4?}", model.similarity(&embeddings, &embeddings)?);
//!
//! let options = EncodeOptions::new().prompt(Prompt::text("query: ")).truncate_dim(256).normalize(true);
//! let short = model.encode_with(&texts, &options)?;
//! assert_eq!(short.dimension(), 256);
//! # Ok::<(), sentence_transformers::Error>(())
//! ```

pub mod adapters;
mod encode;
mod error;
mod features;
mod files;
mod image;
mod input;
mod load;
mod loader_arguments;
mod mining;
mod model;
mod module;
pub mod modules;
mod new_weights;
mod pipeline;
mod placement;
mod prompts;
pub mod save;
pub mod tokenizer;
mod version;

pub use encode::{
    EncodeIterator, EncodeOptions, Encoded, EncodedChunk, Progress, TextFeatures, TokenReport, Truncation, WorkerPool,
};
pub use error::{Error, ErrorKind, Result};
pub use features::Features;
pub use image::Image;
pub use input::{AsInput, Input, PreparedText};
pub use load::LoadOptions;
pub use mining::{
    HardNegativeMiner, LabeledList, LabeledPair, MinedNegatives, MiningStatistics, NegativeTuple, Rescorer, Spread,
    Triplet,
};
pub use model::SentenceTransformer;
pub use new_weights::NewWeights;
pub use pipeline::{Goal, NamedModule, Pipeline};
pub use prompts::{Prompt, Prompts};

/// Model cards.
pub use st_card as card;
/// The encoder contract, for those who bring a backend of their own.
pub use st_encoder as encoder;
pub use st_encoder::{TokenEmbeddings, WeightFormat};
/// The Hub client.
pub use st_hub as hub;
/// The native engine.
pub use st_native as native;
pub use st_vectors::*;
