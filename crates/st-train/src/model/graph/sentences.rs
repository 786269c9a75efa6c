//! The small modules over sentence embeddings as graphs: `Normalize`, `LayerNorm`, `Dropout`.

use std::sync::Arc;

use candle_core::D;
use sentence_transformers::modules::{Dropout, Module};
use st_candle::ops;
use st_encoder::NormSpec;

use crate::error::Result;

use super::module::{Builder, Flow, GraphModule, Run, typed};

/// As in the library and in PyTorch.
const EPSILON: f64 = 1e-5;

#[derive(Debug)]
struct NormalizeGraph;

pub(super) fn normalize(_: &dyn Module, _: &str, _: &mut Builder) -> Result<Arc<dyn GraphModule>> {
    Ok(Arc::new(NormalizeGraph))
}

impl GraphModule for NormalizeGraph {
    fn forward(&self, flow: Flow, _: &mut Run<'_>) -> Result<Flow> {
        let x = flow.sentences()?;
        // The floor is under the root, whose derivative at 0 would be infinite.
        let squares = x.sqr()?.sum_keepdim(D::Minus1)?.maximum(1e-24)?;
        let unit = x.broadcast_div(&squares.sqrt()?)?;
        Ok(flow.with_sentences(unit))
    }
}

#[derive(Debug)]
struct LayerNormGraph {
    path: String,
}

pub(super) fn layer_norm(module: &dyn Module, path: &str, builder: &mut Builder) -> Result<Arc<dyn GraphModule>> {
    builder.parameters_of(module, path, true)?;
    Ok(Arc::new(LayerNormGraph { path: path.to_owned() }))
}

impl GraphModule for LayerNormGraph {
    fn forward(&self, flow: Flow, run: &mut Run<'_>) -> Result<Flow> {
        let weight = run.weight(&self.path, "norm.weight")?;
        let bias = run.weight(&self.path, "norm.bias")?;
        let y = ops::norm(flow.sentences()?, &weight, Some(&bias), &NormSpec::layer(EPSILON))?;
        Ok(flow.with_sentences(y))
    }
}

#[derive(Debug)]
struct DropoutGraph {
    probability: f64,
}

pub(super) fn dropout(module: &dyn Module, _: &str, _: &mut Builder) -> Result<Arc<dyn GraphModule>> {
    Ok(Arc::new(DropoutGraph { probability: typed::<Dropout>(module)?.probability() }))
}

impl GraphModule for DropoutGraph {
    fn forward(&self, flow: Flow, run: &mut Run<'_>) -> Result<Flow> {
        let kept = run.dropout(flow.sentences()?, self.probability)?;
        Ok(flow.with_sentences(kept))
    }
}
