//! [`Block`]: attention and feed-forward with their norms and residual connections.

use st_encoder::NormPlacement;

use super::Run;
use super::attention::{Attention, Positions};
use super::convolution::Convolution;
use super::feed_forward::FeedForward;
use super::linear::{Epilogue, Linear};
use super::norm::Norm;
use crate::scratch::Activations;
use crate::stages::{Stage, done};

/// One block's weights.
#[derive(Debug)]
pub(crate) struct Block {
    pub(crate) attention: Attention,
    pub(crate) output: Linear,
    pub(crate) attention_norm: Option<Norm>,
    pub(crate) attention_post_norm: Option<Norm>,
    pub(crate) feed_forward: FeedForward,
    pub(crate) feed_forward_norm: Norm,
    pub(crate) feed_forward_post_norm: Option<Norm>,
    pub(crate) placement: NormPlacement,
    pub(crate) convolution: Option<Convolution>,
}

impl Block {
    /// Every linear layer.
    pub(crate) fn linears(&mut self) -> impl Iterator<Item = &mut Linear> {
        let network = &mut self.feed_forward;
        [&mut self.attention.projection, &mut self.output, &mut network.up, &mut network.down]
            .into_iter()
            .chain(network.gate.as_mut())
            .chain(self.convolution.as_mut().map(|convolution| &mut convolution.taps))
    }

    /// Weights of all linear layers, padding included.
    pub(crate) fn weights(&self) -> usize {
        let network = &self.feed_forward;
        let gate = network.gate.as_ref().map_or(0, Linear::weights);
        let taps = self.convolution.as_ref().map_or(0, |convolution| convolution.taps.weights());
        gate + taps
            + [&self.attention.projection, &self.output, &network.up, &network.down]
                .map(Linear::weights)
                .iter()
                .sum::<usize>()
    }

    /// Runs over the rows of `memory.hidden`, in place. With `first_only` the rows shrink to each sequence's first; their
    /// number is returned.
    pub(crate) fn apply(
        &self,
        run: Run,
        offsets: &[usize],
        stride: usize,
        positions: &Positions,
        first_only: bool,
        memory: &mut Activations,
    ) -> usize {
        if let Some(convolution) = &self.convolution {
            convolution.apply(run, offsets, &memory.hidden, stride, first_only, &mut memory.convolved);
            done(Stage::Convolve);
        }
        let rows = self.without_convolution(run, offsets, stride, positions, first_only, memory);
        if let Some(convolution) = &self.convolution {
            convolution.join(run, rows, &memory.convolved, &mut memory.hidden, stride);
            done(Stage::Norm);
        }
        rows
    }

    fn without_convolution(
        &self,
        run: Run,
        offsets: &[usize],
        stride: usize,
        positions: &Positions,
        first_only: bool,
        memory: &mut Activations,
    ) -> usize {
        let Activations { hidden, normed, projected, context, aside, inner, .. } = memory;
        let mut rows = offsets.last().copied().unwrap_or(0);
        let before = self.placement != NormPlacement::Post;
        if before {
            normed.reserve(rows * stride);
        }
        if self.placement == NormPlacement::Sandwich {
            aside.reserve(rows * stride);
        }
        let input = match &self.attention_norm {
            Some(norm) if before => {
                norm.apply(run, rows, hidden, normed, stride);
                &*normed
            }
            _ => &*hidden,
        };
        self.attention.apply(run, offsets, input, stride, positions, first_only, projected, context);
        let context_stride = self.attention.context_width();
        if first_only {
            let firsts = offsets.windows(2).filter(|pair| pair[0] < pair[1]).map(|pair| pair[0]);
            rows = 0;
            for first in firsts {
                hidden.copy_within(first * stride..(first + 1) * stride, rows * stride);
                context.copy_within(first * context_stride..(first + 1) * context_stride, rows * context_stride);
                rows += 1;
            }
        }
        match self.placement {
            NormPlacement::Sandwich => {
                self.output.apply(run, rows, context, context_stride, aside, stride, Epilogue::Store);
                add_normed(run, rows, self.attention_post_norm.as_ref(), aside, hidden, stride);
            }
            _ => self.output.apply(run, rows, context, context_stride, hidden, stride, Epilogue::Add),
        }
        done(Stage::Output);
        match self.placement {
            NormPlacement::Post => {
                if let Some(norm) = &self.attention_norm {
                    norm.in_place(run, rows, hidden, stride);
                }
                done(Stage::Norm);
                self.feed_forward.apply(run, rows, None, hidden, stride, Epilogue::Add, inner);
                done(Stage::FeedForward);
                self.feed_forward_norm.in_place(run, rows, hidden, stride);
                done(Stage::Norm);
            }
            NormPlacement::Pre => {
                self.feed_forward_norm.apply(run, rows, hidden, normed, stride);
                done(Stage::Norm);
                self.feed_forward.apply(run, rows, Some(normed), hidden, stride, Epilogue::Add, inner);
                done(Stage::FeedForward);
            }
            NormPlacement::Sandwich => {
                self.feed_forward_norm.apply(run, rows, hidden, normed, stride);
                done(Stage::Norm);
                self.feed_forward.apply(run, rows, Some(normed), aside, stride, Epilogue::Store, inner);
                done(Stage::FeedForward);
                add_normed(run, rows, self.feed_forward_post_norm.as_ref(), aside, hidden, stride);
            }
        }
        rows
    }
}

/// `hidden += norm(aside)`.
fn add_normed(run: Run, rows: usize, norm: Option<&Norm>, aside: &mut [f32], hidden: &mut [f32], stride: usize) {
    if let Some(norm) = norm {
        norm.in_place(run, rows, aside, stride);
    }
    for (sum, number) in hidden[..rows * stride].iter_mut().zip(&aside[..rows * stride]) {
        *sum += number;
    }
}
