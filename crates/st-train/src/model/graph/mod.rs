//! The library's modules as graphs of differentiable operations, one row of [`GRAPH_MODULES`] per kind.

mod clip;
mod dense;
mod module;
mod pooling;
mod ragged;
mod router;
mod sentences;
mod tables;
mod token_layers;
mod transformer;

use std::sync::Arc;

use sentence_transformers::modules::Module;

use crate::error::{Result, TrainError};

pub(super) use module::{Builder, Flow, GraphModule, Run};

/// A kind of module that can be trained.
pub(super) struct GraphKind {
    /// Its name in the library's table.
    pub(super) name: &'static str,
    /// Makes its graph and registers its parameters, the path before their names.
    build: module::Build,
}

/// Every kind of module that can be trained, in the order of the library's table.
pub(super) const GRAPH_MODULES: &[GraphKind] = &[
    GraphKind { name: "Transformer", build: transformer::build },
    GraphKind { name: "CLIPModel", build: clip::build },
    GraphKind { name: "StaticEmbedding", build: tables::static_embedding },
    GraphKind { name: "Pooling", build: pooling::build },
    GraphKind { name: "Normalize", build: sentences::normalize },
    GraphKind { name: "Dense", build: dense::build },
    GraphKind { name: "LayerNorm", build: sentences::layer_norm },
    GraphKind { name: "Dropout", build: sentences::dropout },
    GraphKind { name: "WeightedLayerPooling", build: token_layers::weighted_layer_pooling },
    GraphKind { name: "Router", build: router::build },
    GraphKind { name: "WordEmbeddings", build: tables::word_embeddings },
    GraphKind { name: "WordWeights", build: tables::word_weights },
    GraphKind { name: "BoW", build: tables::bow },
    GraphKind { name: "LSTM", build: token_layers::lstm },
    GraphKind { name: "CNN", build: token_layers::cnn },
];

/// Makes the graph of a module.
pub(super) fn build(module: &dyn Module, path: &str, builder: &mut Builder) -> Result<Arc<dyn GraphModule>> {
    let name = module.kind().name;
    let kind = GRAPH_MODULES.iter().find(|kind| kind.name == name).ok_or_else(|| {
        let known: Vec<_> = GRAPH_MODULES.iter().map(|kind| kind.name).collect();
        TrainError::unsupported(
            format!("module '{}' ({name}) cannot be trained", path.trim_end_matches('.')),
            format!("modules that can be trained are {}", known.join(", ")),
        )
    })?;
    (kind.build)(module, path, builder)
}
