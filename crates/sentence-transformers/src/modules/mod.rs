//! The modules a model is made of, one file each.
//!
//! Adding one is a file beside this one and a line in [`MODULES`].

mod adapters;
mod bow;
mod calibration;
mod clip;
mod cnn;
mod dense;
mod dropout;
mod layer_norm;
mod lstm;
mod normalize;
mod pooling;
mod router;
mod static_embedding;
mod transformer;
mod weighted_layer_pooling;
mod word_embeddings;
mod word_weights;

use std::path::Path;

use st_encoder::WeightFormat;

use crate::tokenizer::TokenizerOptions;
use crate::{Error, ErrorKind, Result};

pub use crate::files::ModuleConfig;
pub(crate) use crate::module::MOST_MODULES;
pub use crate::module::{
    Conversion, Dataflow, Feature, ImageReader, InputContext, InputModule, Loader, Module, ModuleFolder, ModuleKind,
    Origin, TextEmbedder,
};
pub(crate) use adapters::AdapterHost;
pub use adapters::TrainedAdapters;
pub use bow::BoW;
pub use clip::{ClipModel, ClipTower};
pub use cnn::Cnn;
pub use dense::{Dense, DenseActivation};
pub use dropout::Dropout;
pub use layer_norm::LayerNorm;
pub use lstm::Lstm;
pub use normalize::Normalize;
pub use pooling::{Pooling, PoolingMode};
pub use router::{InnerRouter, Router};
pub use static_embedding::StaticEmbedding;
pub use transformer::Transformer;
pub use weighted_layer_pooling::WeightedLayerPooling;
pub use word_embeddings::{TextFileOptions, WordEmbeddings};
pub use word_weights::WordWeights;

/// Every kind of module.
pub const MODULES: &[&ModuleKind] = &[
    &transformer::TRANSFORMER,
    &clip::CLIP_MODEL,
    &static_embedding::STATIC_EMBEDDING,
    &pooling::POOLING,
    &normalize::NORMALIZE,
    &dense::DENSE,
    &layer_norm::LAYER_NORM,
    &dropout::DROPOUT,
    &weighted_layer_pooling::WEIGHTED_LAYER_POOLING,
    &router::ROUTER,
    &word_embeddings::WORD_EMBEDDINGS,
    &word_weights::WORD_WEIGHTS,
    &bow::BOW,
    &lstm::LSTM,
    &cnn::CNN,
];

/// Finds the kind that a `type` of `modules.json` names: both spellings of 2.x to 5.x
/// (`sentence_transformers.models.Pooling`, `….models.Pooling.Pooling`) and those since 5.4
/// (`sentence_transformers.sentence_transformer.modules.pooling.Pooling`) end in the class name.
#[must_use]
pub fn find_kind(type_path: &str) -> Option<&'static ModuleKind> {
    if !type_path.starts_with("sentence_transformers.") {
        return None;
    }
    let class = type_path.rsplit('.').next().unwrap_or(type_path);
    MODULES.iter().find(|kind| kind.name == class || kind.aliases.contains(&class)).copied()
}

/// The kind that a `type` names, or why there is none; `path` is the file that holds the `type`.
pub(crate) fn require_kind(path: &Path, type_path: &str) -> Result<&'static ModuleKind> {
    if let Some(kind) = find_kind(type_path) {
        return Ok(kind);
    }
    let known: Vec<&str> = MODULES.iter().map(|kind| kind.name).collect();
    let known = known.join(", ");
    let (reason, hint) = if type_path.starts_with("sentence_transformers.") {
        (
            format!("module type '{type_path}' is not supported; supported are {known}"),
            "run this model with the original library",
        )
    } else {
        (
            format!("module type '{type_path}' is Python code, which this library does not run; supported are {known}"),
            "replace the module by a built-in one, or run this model with the original library",
        )
    };
    let message = format!("{}: {reason}", path.display());
    Err(Error::new(ErrorKind::Unsupported, message).with_path(path).with_hint(hint))
}

/// Refuses options that only modules with an encoder can follow.
fn refuse_encoder_options(kind: &str, context: &InputContext) -> Result<()> {
    let tokenizer = context.tokenizer != TokenizerOptions::default();
    let weights = !matches!(context.encoder.weights, WeightFormat::F32 | WeightFormat::Auto);
    if !tokenizer && !weights {
        return Ok(());
    }
    let what = if tokenizer { "tokenizer options" } else { "weight format" };
    Err(Error::new(ErrorKind::Unsupported, format!("{kind} knows no {what}"))
        .with_hint(format!("load it without {what}")))
}

/// Refuses pairs of texts, for modules that cut single texts into words.
fn refuse_pair(kind: &str, second: Option<&str>) -> Result<()> {
    match second {
        None => Ok(()),
        Some(_) => Err(Error::new(ErrorKind::Unsupported, format!("{kind} reads single texts, not pairs"))
            .with_hint("join the two texts")),
    }
}

/// An empty batch's features, for modules' tests.
#[cfg(test)]
pub(crate) fn sentence_features(rows: &[Vec<f32>]) -> crate::Features {
    let mut features = crate::Features::new(st_encoder::Batch::from_sequences(rows.iter().map(|_| &[0u32][..])));
    features.sentence_embeddings = Some(st_vectors::Embeddings::from_rows(rows).expect("equal rows"));
    features
}
