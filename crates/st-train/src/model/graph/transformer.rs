//! `Transformer` as a graph: st-candle's, with this crate's parameters.

use std::sync::Arc;

use sentence_transformers::modules::{Module, Transformer};
use st_candle::{DropoutRates, EncoderGraph, GraphOutput, GraphPass};
use st_encoder::EncoderFiles;
use st_encoder::architectures::Config;

use crate::error::{Result, TrainError};

use super::module::{Builder, Flow, GraphModule, Run, typed};

/// What stands between a module's name and its weights' names, as in the original.
const MODEL: &str = "auto_model.";

#[derive(Debug)]
struct TransformerGraph {
    /// What stands before the names of the parameters.
    path: String,
    graph: EncoderGraph,
}

pub(super) fn build(module: &dyn Module, path: &str, builder: &mut Builder) -> Result<Arc<dyn GraphModule>> {
    let transformer = typed::<Transformer>(module)?;
    let files = transformer.files().ok_or_else(|| {
        TrainError::unsupported(
            "a transformer that was made in memory has no weights to train",
            "load the model from a folder or the Hub",
        )
    })?;
    let mut graph = network(files, builder)?;
    // Active adapters are trained in the place of the model's own weights.
    let active = transformer.trained_adapters()?;
    if !active.adapters.is_empty() {
        graph = graph.with_adapters(&active.adapters, active.trainable)?;
    }
    let path = format!("{path}{MODEL}");
    register(&graph, &path, builder)?;
    Ok(Arc::new(TransformerGraph { path, graph }))
}

impl GraphModule for TransformerGraph {
    fn forward(&self, flow: Flow, run: &mut Run<'_>) -> Result<Flow> {
        let output = encode(&self.graph, &self.path, run)?;
        Ok(Flow { tokens: Some(output.tokens), layers: output.layers, ..flow })
    }
}

/// Runs an encoder whose parameters' names have the path before them, those that are frozen without derivatives.
pub(super) fn encode(graph: &EncoderGraph, path: &str, run: &mut Run<'_>) -> Result<GraphOutput> {
    let mut batch = std::borrow::Cow::Borrowed(run.column.batch());
    if graph.spec().embeddings.token_types == 0 && batch.type_ids().is_some() {
        batch.to_mut().clear_types();
    }
    let pass = GraphPass {
        gradients: run.pass.gradients(),
        layers: run.layers,
        dropout: run.masks(),
        checkpoint: run.checkpoint,
        autocast: run.pass.autocast(),
    };
    let trainable =
        |name: &str| run.parameters.get(&format!("{path}{name}")).is_some_and(|parameter| parameter.is_trainable());
    let frozen = graph.parameters().iter().any(|parameter| !trainable(parameter.name()));
    Ok(if frozen && pass.gradients {
        // The variables are shared; only what is tracked differs.
        let mut graph = graph.clone();
        graph.freeze(trainable);
        graph.forward(&batch, &pass)?
    } else {
        graph.forward(&batch, &pass)?
    })
}

/// The graph of an encoder.
pub(super) fn network(files: &EncoderFiles, builder: &Builder) -> Result<EncoderGraph> {
    let (architecture, spec, weights) = files.network()?;
    let rates = DropoutRates::read(architecture, &Config::new(files.config(), &files.config_path())?)?;
    Ok(EncoderGraph::new(architecture, spec, rates, &weights, &builder.device, builder.data_type)?)
}

/// Registers an encoder's parameters, the path before their names.
pub(super) fn register(graph: &EncoderGraph, path: &str, builder: &mut Builder) -> Result<()> {
    for parameter in graph.parameters() {
        let name = format!("{path}{}", parameter.name());
        builder.parameters.push(name.clone(), parameter.variable().clone())?;
        if !parameter.is_trainable() {
            builder.parameters.set_trainable(false, |known| known == name);
        }
    }
    Ok(())
}
