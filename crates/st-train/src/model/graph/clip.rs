//! `CLIPModel` as a graph: st-candle's for each of its two encoders, and the maps into their common space.

use std::sync::Arc;

use candle_core::{Tensor, Var};
use sentence_transformers::modules::{ClipModel, ClipTower, Module, TrainedAdapters};
use st_candle::{EncoderGraph, LinearChange, ops};
use st_encoder::adapters::{Adapter, AdapterTensor};

use crate::error::{Result, TrainError};

use super::module::{Builder, Flow, GraphModule, Run, typed};
use super::transformer::{encode, network, register};

/// What stands between a module's name and its weights' names, as in the original.
const MODEL: &str = "model.";

#[derive(Debug)]
struct ClipGraph {
    /// What is asked for the row of a text.
    model: ClipModel,
    /// What stands before the names of all parameters.
    path: String,
    text: Tower,
    vision: Tower,
}

/// One of the two encoders.
#[derive(Debug)]
struct Tower {
    /// What stands before the names of its parameters.
    path: String,
    graph: EncoderGraph,
    /// The map's weight, `[width, hidden]`.
    projection: String,
    /// What adapters change about the map, in their order.
    changes: Vec<ProjectionChange>,
}

/// What one adapter changes about a map: names of its parameters, and its settings.
#[derive(Debug)]
struct ProjectionChange {
    a: String,
    b: String,
    magnitude: Option<String>,
    scaling: f64,
    dropout: f64,
}

pub(super) fn build(module: &dyn Module, path: &str, builder: &mut Builder) -> Result<Arc<dyn GraphModule>> {
    let model = typed::<ClipModel>(module)?;
    // Active adapters are trained in the place of the model's own weights.
    let (path, active) = (format!("{path}{MODEL}"), model.trained_adapters()?);
    let mut towers = Vec::with_capacity(2);
    for tower in model.towers() {
        let mut graph = network(tower.files(), builder)?;
        let start = format!("{}.", tower.name());
        let part = |(name, adapter): &(&'_ str, &Adapter)| Some((name.to_string(), adapter.part(&start)?));
        let parts: Vec<(String, Adapter)> = active.adapters.iter().filter_map(part).collect();
        let parts: Vec<(&str, &Adapter)> = parts.iter().map(|(name, part)| (name.as_str(), part)).collect();
        if !parts.is_empty() {
            graph = graph.with_adapters(&parts, active.trainable)?;
        } else if !active.adapters.is_empty() {
            graph.freeze(|_| false);
        }
        let own = format!("{path}{start}");
        register(&graph, &own, builder)?;
        towers.push(Tower { path: own, graph, projection: tower.projection_name().to_owned(), changes: Vec::new() });
    }
    // In the order in which the original lists them.
    for (tower, graph) in model.towers().into_iter().zip(&mut towers).rev() {
        graph.changes = projection(&tower, &active, &path, builder)?;
    }
    match <[Tower; 2]>::try_from(towers) {
        Ok([text, vision]) => Ok(Arc::new(ClipGraph { model: model.clone(), path, text, vision })),
        Err(_) => Err(TrainError::invalid("a CLIP model has two encoders")),
    }
}

/// Registers the parameters of a map and of what adapters change about it.
fn projection(
    tower: &ClipTower<'_>,
    active: &TrainedAdapters<'_>,
    path: &str,
    builder: &mut Builder,
) -> Result<Vec<ProjectionChange>> {
    let name = tower.projection_name();
    let push = |builder: &mut Builder, name: &str, numbers: &[f32], shape: &[usize], trainable: bool| -> Result<()> {
        let value = Tensor::from_slice(numbers, shape, &builder.device)?.to_dtype(builder.data_type)?;
        let full = format!("{path}{name}");
        builder.parameters.push(full.clone(), Var::from_tensor(&value)?)?;
        if !trainable {
            builder.parameters.set_trainable(false, |known| known == full);
        }
        Ok(())
    };
    let (numbers, shape) = tower.projection()?;
    let whole =
        active.adapters.iter().rev().find_map(|(_, adapter)| {
            adapter.whole_tensors().find_map(|(known, tensor)| (known == name).then_some(tensor))
        });
    match whole {
        Some(whole) => push(builder, name, whole.data(), whole.shape(), active.trainable)?,
        None => push(builder, name, &numbers, &shape, active.adapters.is_empty())?,
    }
    let module = name.trim_end_matches(".weight");
    let mut changes = Vec::new();
    for (called, adapter) in &active.adapters {
        let Some(layer) = adapter.layer(module) else { continue };
        let mut own: Vec<(String, &AdapterTensor)> = adapter.parameters(called);
        own.retain(|(name, _)| name.starts_with(&format!("{module}.")));
        for (name, tensor) in &own {
            push(builder, name, tensor.data(), tensor.shape(), active.trainable)?;
        }
        // `A`, `B`, and DoRA's magnitudes; a map has no bias that an adapter could change.
        let mut names = own.into_iter().map(|(name, _)| name);
        let (Some(a), Some(b), magnitude) = (names.next(), names.next(), names.next()) else {
            return Err(TrainError::invalid(format!(
                "the change of '{module}' by the adapter '{called}' is not whole"
            )));
        };
        let (scaling, dropout) = (layer.scaling, adapter.config().dropout);
        changes.push(ProjectionChange { a, b, magnitude, scaling, dropout });
    }
    Ok(changes)
}

impl GraphModule for ClipGraph {
    fn forward(&self, flow: Flow, run: &mut Run<'_>) -> Result<Flow> {
        let batch = run.column.batch();
        let tower = if run.column.has_images() { &self.vision } else { &self.text };
        let mut rows = Vec::with_capacity(batch.len());
        for (sequence, &start) in batch.offsets()[..batch.len()].iter().enumerate() {
            let ids = batch.sequence(sequence);
            if ids.is_empty() {
                return Err(TrainError::invalid("a text without any token has no embedding; allow at least 2 tokens"));
            }
            // An image's row is that of the class vector.
            let place = if run.column.has_images() { 0 } else { self.model.text_row(ids) };
            rows.push((start + place) as u32);
        }
        let output = encode(&tower.graph, &tower.path, run)?;
        let rows = ops::embedding(&output.tokens, &run.indices(rows)?)?;
        Ok(flow.with_sentences(self.map(tower, &rows, run)?))
    }
}

impl ClipGraph {
    /// Rows of an encoder in the common space.
    fn map(&self, tower: &Tower, rows: &Tensor, run: &mut Run<'_>) -> Result<Tensor> {
        let weight = run.weight(&self.path, &tower.projection)?;
        let change = |names: &ProjectionChange| -> Result<LinearChange> {
            Ok(LinearChange {
                a: run.weight(&self.path, &names.a)?,
                b: run.weight(&self.path, &names.b)?,
                bias: None,
                magnitude: names.magnitude.as_ref().map(|name| run.weight(&self.path, name)).transpose()?,
                scaling: names.scaling,
            })
        };
        let changes = tower.changes.iter().map(change).collect::<Result<Vec<_>>>()?;
        if !tower.changes.iter().any(|names| names.dropout > 0.0) {
            let mut changed = weight.clone();
            for change in &changes {
                changed = change.weight_after(&weight, &changed)?;
            }
            return Ok(ops::linear(rows, &changed, None)?);
        }
        let masks = run.masks();
        let mut result = ops::linear(rows, &weight, None)?;
        for ((place, names), change) in (0..).zip(&tower.changes).zip(&changes) {
            let mask = masks.and_then(|masks| masks.mask(place, names.dropout));
            result = change.result(result, rows, (&weight, None), mask.as_ref())?;
        }
        Ok(result)
    }
}
