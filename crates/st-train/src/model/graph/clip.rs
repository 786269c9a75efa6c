//! `CLIPModel` as a graph: st-candle's for each of its two encoders, and the maps into their common space.

use std::sync::Arc;

use candle_core::{Tensor, Var};
use sentence_transformers::modules::{ClipModel, ClipTower, Module};
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
    change: Option<ProjectionChange>,
}

/// What an adapter changes about a map: names of its parameters, and its settings.
#[derive(Debug)]
struct ProjectionChange {
    a: String,
    b: String,
    magnitude: Option<String>,
    scaling: f64,
    dropout: f64,
}

/// An active adapter is trained in the place of the model's own weights: its name, itself, and whether it is trained.
type Adapted<'a> = Option<(&'a str, &'a Adapter, bool)>;

pub(super) fn build(module: &dyn Module, path: &str, builder: &mut Builder) -> Result<Arc<dyn GraphModule>> {
    let model = typed::<ClipModel>(module)?;
    let (path, adapted) = (format!("{path}{MODEL}"), model.trained_adapter()?);
    let mut towers = Vec::with_capacity(2);
    for tower in model.towers() {
        let mut graph = network(tower.files(), builder)?;
        if let Some((name, adapter, trainable)) = adapted {
            match adapter.part(&format!("{}.", tower.name())) {
                Some(part) => graph = graph.with_adapter(name, &part, trainable)?,
                None => graph.freeze(|_| false),
            }
        }
        let own = format!("{path}{}.", tower.name());
        register(&graph, &own, builder)?;
        towers.push(Tower { path: own, graph, projection: tower.projection_name().to_owned(), change: None });
    }
    // In the order in which the original lists them.
    for (tower, graph) in model.towers().into_iter().zip(&mut towers).rev() {
        graph.change = projection(&tower, adapted, &path, builder)?;
    }
    match <[Tower; 2]>::try_from(towers) {
        Ok([text, vision]) => Ok(Arc::new(ClipGraph { model: model.clone(), path, text, vision })),
        Err(_) => Err(TrainError::invalid("a CLIP model has two encoders")),
    }
}

/// Registers the parameters of a map and of what an adapter changes about it.
fn projection(
    tower: &ClipTower<'_>,
    adapted: Adapted<'_>,
    path: &str,
    builder: &mut Builder,
) -> Result<Option<ProjectionChange>> {
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
    let Some((called, adapter, trainable)) = adapted else {
        push(builder, name, &numbers, &shape, true)?;
        return Ok(None);
    };
    match adapter.whole_tensors().find(|(whole, _)| *whole == name) {
        Some((_, whole)) => push(builder, name, whole.data(), whole.shape(), trainable)?,
        None => push(builder, name, &numbers, &shape, false)?,
    }
    let module = name.trim_end_matches(".weight");
    let Some(layer) = adapter.layer(module) else { return Ok(None) };
    let own: Vec<(String, &AdapterTensor)> =
        adapter.parameters(called).into_iter().filter(|(name, _)| name.starts_with(&format!("{module}."))).collect();
    for (name, tensor) in &own {
        push(builder, name, tensor.data(), tensor.shape(), trainable)?;
    }
    // `A`, `B`, and DoRA's magnitudes; a map has no bias that an adapter could change.
    let mut names = own.into_iter().map(|(name, _)| name);
    match (names.next(), names.next(), names.next()) {
        (Some(a), Some(b), magnitude) => Ok(Some(ProjectionChange {
            a,
            b,
            magnitude,
            scaling: f64::from(layer.scaling),
            dropout: adapter.config().dropout,
        })),
        _ => Err(TrainError::invalid(format!("the adapter's change of '{module}' is not whole"))),
    }
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
        let Some(names) = &tower.change else { return Ok(ops::linear(rows, &weight, None)?) };
        let change = LinearChange {
            a: run.weight(&self.path, &names.a)?,
            b: run.weight(&self.path, &names.b)?,
            bias: None,
            magnitude: names.magnitude.as_ref().map(|name| run.weight(&self.path, name)).transpose()?,
            scaling: names.scaling,
        };
        let mask = if names.dropout > 0.0 { run.masks().and_then(|masks| masks.mask(0, names.dropout)) } else { None };
        Ok(match mask {
            Some(mask) => change.result(ops::linear(rows, &weight, None)?, rows, &weight, &mask)?,
            None => ops::linear(rows, &change.weight(&weight)?, None)?,
        })
    }
}
