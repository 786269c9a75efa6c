//! Layers over token embeddings as graphs: `CNN`, `LSTM`, `WeightedLayerPooling`.

use std::sync::Arc;

use candle_core::Tensor;
use sentence_transformers::modules::{Lstm, Module, WeightedLayerPooling};
use st_candle::ops;

use crate::error::{Result, TrainError};

use super::dense::sigmoid;
use super::module::{Builder, Flow, GraphModule, Run, typed};
use super::ragged::rows_or;

#[derive(Debug)]
struct CnnGraph {
    path: String,
    /// Taps of each convolution.
    sizes: Vec<usize>,
}

pub(super) fn cnn(module: &dyn Module, path: &str, builder: &mut Builder) -> Result<Arc<dyn GraphModule>> {
    let tensors = module.tensors()?;
    let sizes = tensors.iter().filter_map(|tensor| tensor.shape.get(2).copied()).collect();
    builder.parameters_of(module, path, true)?;
    Ok(Arc::new(CnnGraph { path: path.to_owned(), sizes }))
}

impl GraphModule for CnnGraph {
    fn forward(&self, flow: Flow, run: &mut Run<'_>) -> Result<Flow> {
        let x = flow.tokens()?;
        let (count, input) = x.dims2()?;
        let offsets = run.column.batch().offsets();
        let mut parts = Vec::with_capacity(self.sizes.len());
        for (number, &size) in self.sizes.iter().enumerate() {
            let weight = run.weight(&self.path, &format!("convs.{number}.weight"))?;
            let bias = run.weight(&self.path, &format!("convs.{number}.bias"))?;
            let channels = weight.dim(0)?;
            let before = (size - 1) / 2;
            // For each token the rows under the taps, zeros beyond the text's ends.
            let under = |pair: &[usize]| {
                let (start, end) = (pair[0], pair[1]);
                let taps = |token: usize| {
                    let row =
                        move |tap: usize| (token + tap).checked_sub(before).filter(|at| (start..end).contains(at));
                    (0..size).map(row).collect::<Vec<_>>()
                };
                (start..end).flat_map(taps).collect::<Vec<_>>()
            };
            let rows: Vec<_> = offsets.windows(2).flat_map(under).collect();
            let unfolded = rows_or(x, &rows, 0.0, run)?.reshape((count, size * input))?;
            let weight = weight.transpose(1, 2)?.contiguous()?.reshape((channels, size * input))?;
            parts.push(ops::linear(&unfolded, &weight, Some(&bias))?);
        }
        let tokens = Tensor::cat(&parts, 1)?;
        Ok(flow.with_tokens(tokens))
    }
}

#[derive(Debug)]
struct LstmGraph {
    path: String,
    hidden: usize,
    layers: usize,
    bidirectional: bool,
    dropout: f64,
}

pub(super) fn lstm(module: &dyn Module, path: &str, builder: &mut Builder) -> Result<Arc<dyn GraphModule>> {
    let lstm = typed::<Lstm>(module)?;
    builder.parameters_of(module, path, true)?;
    Ok(Arc::new(LstmGraph {
        path: path.to_owned(),
        hidden: lstm.hidden(),
        layers: lstm.layers(),
        bidirectional: lstm.is_bidirectional(),
        dropout: lstm.dropout(),
    }))
}

impl LstmGraph {
    /// Runs one direction of a layer over all texts at once, step by step. Texts that have ended run on over zeros; what
    /// they give then is not read.
    fn direction(&self, x: &Tensor, layer: usize, reverse: bool, run: &Run<'_>) -> Result<Tensor> {
        let ending = format!("l{layer}{}", if reverse { "_reverse" } else { "" });
        let weight = |name: &str| run.weight(&self.path, &format!("encoder.{name}_{ending}"));
        let offsets = run.column.batch().offsets();
        let (texts, hidden) = (offsets.len() - 1, self.hidden);
        let longest = run.column.batch().longest();
        // The row of a text at a step: from its start, or from its end.
        let row = |pair: &[usize], step: usize| match reverse {
            false => Some(pair[0] + step).filter(|row| *row < pair[1]),
            true => pair[1].checked_sub(step + 1).filter(|row| *row >= pair[0]),
        };
        let inputs = ops::linear(x, &weight("weight_ih")?, Some(&weight("bias_ih")?))?;
        let (recurrent, bias) = (weight("weight_hh")?, weight("bias_hh")?);
        let mut state = Tensor::zeros((texts, hidden), x.dtype(), x.device())?;
        let mut cell = state.clone();
        let mut steps = Vec::with_capacity(longest);
        for step in 0..longest {
            let rows: Vec<_> = offsets.windows(2).map(|pair| row(pair, step)).collect();
            let gates = (rows_or(&inputs, &rows, 0.0, run)? + ops::linear(&state, &recurrent, Some(&bias))?)?;
            let gate = |number: usize| gates.narrow(1, number * hidden, hidden);
            let (input, forget) = (sigmoid(&gate(0)?)?, sigmoid(&gate(1)?)?);
            let (candidate, output) = (gate(2)?.tanh()?, sigmoid(&gate(3)?)?);
            cell = ((forget * &cell)? + (input * candidate)?)?;
            state = (output * cell.tanh()?)?;
            steps.push(state.clone());
        }
        // Back from steps to tokens.
        let back = |(text, pair): (usize, &[usize])| {
            let length = pair[1] - pair[0];
            let step = move |at: usize| if reverse { length - 1 - at } else { at };
            (0..length).map(|at| (step(at) * texts + text) as u32).collect::<Vec<_>>()
        };
        let order: Vec<u32> = offsets.windows(2).enumerate().flat_map(back).collect();
        Ok(Tensor::cat(&steps, 0)?.index_select(&run.indices(order)?, 0)?)
    }
}

impl GraphModule for LstmGraph {
    fn forward(&self, flow: Flow, run: &mut Run<'_>) -> Result<Flow> {
        let mut x = flow.tokens()?.clone();
        if x.dim(0)? == 0 {
            let width = self.hidden * if self.bidirectional { 2 } else { 1 };
            let none = Tensor::zeros((0, width), x.dtype(), x.device())?;
            return Ok(flow.with_tokens(none));
        }
        for layer in 0..self.layers {
            if layer > 0 {
                x = run.dropout(&x, self.dropout)?;
            }
            let forward = self.direction(&x, layer, false, run)?;
            x = if self.bidirectional {
                Tensor::cat(&[&forward, &self.direction(&x, layer, true, run)?], 1)?
            } else {
                forward
            };
        }
        Ok(flow.with_tokens(x))
    }
}

#[derive(Debug)]
struct WeightedLayerPoolingGraph {
    path: String,
    start: usize,
}

pub(super) fn weighted_layer_pooling(
    module: &dyn Module,
    path: &str,
    builder: &mut Builder,
) -> Result<Arc<dyn GraphModule>> {
    let start = typed::<WeightedLayerPooling>(module)?.layer_start();
    builder.parameters_of(module, path, true)?;
    Ok(Arc::new(WeightedLayerPoolingGraph { path: path.to_owned(), start }))
}

impl GraphModule for WeightedLayerPoolingGraph {
    fn forward(&self, flow: Flow, run: &mut Run<'_>) -> Result<Flow> {
        let weights = run.weight(&self.path, "layer_weights")?;
        let layers = flow.layers()?.get(self.start..).unwrap_or_default();
        if layers.len() != weights.dim(0)? || layers.is_empty() {
            let message = format!("{} hidden states for {} layer weights", layers.len(), weights.dim(0)?);
            return Err(TrainError::invalid(message));
        }
        let mut sum: Option<Tensor> = None;
        for (number, layer) in layers.iter().enumerate() {
            let part = layer.broadcast_mul(&weights.narrow(0, number, 1)?)?;
            sum = Some(match sum {
                None => part,
                Some(sum) => (sum + part)?,
            });
        }
        let total = weights.sum_keepdim(0)?;
        let tokens = sum.map(|sum| sum.broadcast_div(&total)).transpose()?;
        Ok(Flow { tokens, ..flow })
    }

    fn needs_layers(&self) -> bool {
        true
    }
}
