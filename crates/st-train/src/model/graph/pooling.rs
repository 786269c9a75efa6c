//! Pooling as a graph: every mode of the library's `Pooling`, over ragged rows.

use std::sync::Arc;

use candle_core::{D, Tensor};
use sentence_transformers::modules::{Module, Pooling, PoolingMode};

use crate::error::Result;

use super::module::{Builder, Flow, GraphModule, Run, typed};
use super::ragged::{owners, rows_or, sum_into};

#[derive(Debug)]
struct PoolingGraph {
    modes: Vec<PoolingMode>,
    excludes_prompt: bool,
}

pub(super) fn build(module: &dyn Module, _: &str, _: &mut Builder) -> Result<Arc<dyn GraphModule>> {
    let pooling = typed::<Pooling>(module)?;
    Ok(Arc::new(PoolingGraph { modes: pooling.modes().to_vec(), excludes_prompt: pooling.excludes_prompt() }))
}

/// The tokens that are pooled.
struct Counted<'a> {
    /// All token rows.
    tokens: &'a Tensor,
    /// Where each text's rows start, and at last their number.
    offsets: &'a [usize],
    /// Tokens at the start of each text that do not count.
    skip: usize,
    /// What means are divided by, where a module weighted the tokens, `[texts, 1]`.
    weight_sums: Option<&'a Tensor>,
}

impl GraphModule for PoolingGraph {
    fn forward(&self, flow: Flow, run: &mut Run<'_>) -> Result<Flow> {
        let skip = if self.excludes_prompt { run.column.prompt_length().unwrap_or(0) } else { 0 };
        let counted = Counted {
            tokens: flow.tokens()?,
            offsets: run.column.batch().offsets(),
            skip,
            weight_sums: flow.weight_sums.as_ref(),
        };
        let parts = self.modes.iter().map(|mode| counted.pool(*mode, run)).collect::<Result<Vec<_>>>()?;
        let pooled = match parts.as_slice() {
            [one] => one.clone(),
            parts => Tensor::cat(parts, 1)?,
        };
        Ok(flow.with_sentences(pooled))
    }
}

impl Counted<'_> {
    fn pool(&self, mode: PoolingMode, run: &Run<'_>) -> Result<Tensor> {
        match mode {
            PoolingMode::Cls => {
                let first = |pair: &[usize]| (pair[0] < pair[1]).then_some(pair[0]);
                rows_or(self.tokens, &self.offsets.windows(2).map(first).collect::<Vec<_>>(), 0.0, run)
            }
            PoolingMode::LastToken => {
                let last = |pair: &[usize]| (pair[0] + self.skip < pair[1]).then(|| pair[1] - 1);
                rows_or(self.tokens, &self.offsets.windows(2).map(last).collect::<Vec<_>>(), 0.0, run)
            }
            PoolingMode::Max => self.largest(run),
            PoolingMode::Mean => Ok(self.sum(None, run)?.broadcast_div(&self.divisor(|_| 1.0, run)?)?),
            PoolingMode::MeanSqrtLength => {
                Ok(self.sum(None, run)?.broadcast_div(&self.divisor(|_| 1.0, run)?.sqrt()?)?)
            }
            PoolingMode::WeightedMean => {
                let position = |position: usize| position as f32;
                let weights = self.each(|at| if at > self.skip { position(at) } else { 0.0 });
                Ok(self.sum(Some(weights), run)?.broadcast_div(&self.divisor(position, run)?)?)
            }
        }
    }

    /// A number for each token, by its position in its text from 1 on.
    fn each(&self, number: impl Fn(usize) -> f32) -> Vec<f32> {
        let texts = self.offsets.windows(2);
        texts.flat_map(|pair| (1..=pair[1] - pair[0]).map(&number).collect::<Vec<_>>()).collect()
    }

    /// Per text the sum of its counted rows, each times its weight.
    fn sum(&self, weights: Option<Vec<f32>>, run: &Run<'_>) -> Result<Tensor> {
        let weights = match weights {
            None if self.skip > 0 => Some(self.each(|at| if at > self.skip { 1.0 } else { 0.0 })),
            weights => weights,
        };
        let rows = match weights {
            None => self.tokens.clone(),
            Some(weights) => {
                let count = weights.len();
                self.tokens.broadcast_mul(&run.constant(weights, &[count, 1])?)?
            }
        };
        sum_into(&rows, &run.indices(owners(self.offsets))?, self.offsets.len() - 1)
    }

    /// Per text what its sum is divided by, `[texts, 1]`: the sum of `number` over its counted tokens, or the sum of the
    /// weights that a module gave them.
    fn divisor(&self, number: impl Fn(usize) -> f32, run: &Run<'_>) -> Result<Tensor> {
        if let Some(sums) = self.weight_sums {
            return Ok(sums.maximum(1e-9)?);
        }
        let total = |pair: &[usize]| (self.skip + 1..=pair[1] - pair[0]).map(&number).sum::<f32>().max(1e-9);
        let totals: Vec<f32> = self.offsets.windows(2).map(total).collect();
        let count = totals.len();
        run.constant(totals, &[count, 1])
    }

    /// The largest value of each component; the derivative goes to the first token that has it.
    fn largest(&self, run: &Run<'_>) -> Result<Tensor> {
        let texts = self.offsets.len() - 1;
        let lengths = self.offsets.windows(2).map(|pair| pair[1] - pair[0]);
        let longest = lengths.max().unwrap_or(0).saturating_sub(self.skip).max(1);
        let row = |pair: &[usize], at: usize| Some(pair[0] + self.skip + at).filter(|row| *row < pair[1]);
        let rows: Vec<_> =
            self.offsets.windows(2).flat_map(|pair| (0..longest).map(|at| row(pair, at)).collect::<Vec<_>>()).collect();
        let padded = rows_or(self.tokens, &rows, -1e9, run)?;
        let padded = padded.reshape((texts, longest, padded.dim(D::Minus1)?))?;
        let first = padded.detach().argmax_keepdim(1)?;
        Ok(padded.gather(&first, 1)?.squeeze(1)?)
    }
}
