//! [`Attention`]: multi-head self-attention over ragged sequences.
#![expect(unsafe_code, reason = "calls of kernels")]

use std::ops::Range;

use st_encoder::{AttentionMask, AttentionSpec};

use super::linear::{Epilogue, Linear};
use super::norm::Norm;
use super::relative::{Places, Relative};
use super::rotary::Rotary;
use super::{Run, padded, spread};
use crate::kernels::attention::{AttentionCall, AttentionKernel, QUERIES};
use crate::memory::Buffer;
use crate::scratch::{Piece, lend};
use crate::split::{Shared, Split};
use crate::stages::{Stage, done};

/// Attention without its output projection.
#[derive(Debug)]
pub(crate) struct Attention {
    /// Queries, keys and values side by side, each head padded.
    pub(crate) projection: Linear,
    pub(crate) heads: usize,
    pub(crate) key_value_heads: usize,
    /// Components per head, padded.
    pub(crate) head: usize,
    pub(crate) scale: f32,
    pub(crate) mask: AttentionMask,
    pub(crate) kernel: AttentionKernel,
    pub(crate) query_norm: Option<Norm>,
    pub(crate) key_norm: Option<Norm>,
    /// Projections of relative positions.
    pub(crate) relative: Option<Relative>,
}

/// How positions enter the scores.
#[derive(Debug)]
pub(crate) enum Positions {
    None,
    Rotary(Rotary),
    /// A bias by distance.
    Distance(DistanceBias),
    /// Products with projections of the distance, [`Attention::relative`].
    Relative(Places),
}

/// A bias on the scores that depends on the head and the distance from query to key, times log₂ e.
#[derive(Debug)]
pub(crate) enum DistanceBias {
    /// Per head the bias of the distances `−reach ..= reach`; what is farther has the bias of the last.
    Table { reach: usize, values: Vec<f32> },
    /// Per head a slope, multiplied with the absolute distance.
    Slopes(Vec<f32>),
}

impl DistanceBias {
    /// T5's buckets, both directions (Raffel et al. 2020): half of the buckets for keys after the query; half of those
    /// for single distances, the others by logarithm.
    pub(crate) fn buckets(table: &[f32], heads: usize, buckets: usize, max_distance: usize) -> Self {
        let reach = max_distance.max(buckets);
        let half = buckets / 2;
        let exact = (half / 2).max(1);
        let mut values = Vec::with_capacity(heads * (2 * reach + 1));
        for head in 0..heads {
            for place in 0..=2 * reach {
                let distance = place.abs_diff(reach);
                let near = if distance < exact {
                    distance
                } else {
                    let share = (distance as f32 / exact as f32).ln() / (max_distance as f32 / exact as f32).ln();
                    (exact + (share * (half - exact) as f32) as usize).min(half - 1)
                };
                let bucket = near + if place > reach { half } else { 0 };
                values.push(table[bucket * heads + head] * std::f32::consts::LOG2_E);
            }
        }
        Self::Table { reach, values }
    }

    /// Slopes of ALiBi (Press et al. 2022): powers of `2^(−8/n)`, with those of twice the number in between when the
    /// number of heads is no power of two.
    pub(crate) fn alibi(heads: usize) -> Self {
        let powers = |count: usize| (1..=count).map(move |i| (-8.0 * i as f64 / count as f64).exp2());
        let whole = if heads.is_power_of_two() { heads } else { heads.next_power_of_two() / 2 };
        let slopes = powers(whole).chain(powers(2 * whole).step_by(2)).take(heads);
        Self::Slopes(slopes.map(|slope| (-slope * std::f64::consts::LOG2_E) as f32).collect())
    }

    /// Writes a head's bias for the distances `tokens − 1` down to `1 − tokens`.
    fn fill(&self, head: usize, tokens: usize, to: &mut [f32]) {
        match self {
            Self::Table { reach, values } => {
                let values = &values[head * (2 * reach + 1)..][..2 * reach + 1];
                let outside = (tokens - 1).saturating_sub(*reach);
                let inside = reach.saturating_sub(tokens - 1);
                to[..outside].fill(values[2 * reach]);
                let middle = &values[inside..values.len() - inside];
                to[outside..outside + middle.len()].copy_from_slice(middle);
                to[outside..outside + middle.len()].reverse();
                to[outside + middle.len()..2 * tokens - 1].fill(values[0]);
            }
            Self::Slopes(slopes) => {
                for (place, to) in to[..2 * tokens - 1].iter_mut().enumerate() {
                    *to = slopes[head] * place.abs_diff(tokens - 1) as f32;
                }
            }
        }
    }
}

impl Attention {
    pub(crate) fn new(
        spec: &AttentionSpec,
        kernel: AttentionKernel,
        projection: Linear,
        query_norm: Option<Norm>,
        key_norm: Option<Norm>,
        relative: Option<Relative>,
    ) -> Self {
        Self {
            projection,
            heads: spec.heads,
            key_value_heads: spec.key_value_heads,
            head: padded(spec.head_size),
            scale: spec.scale as f32,
            mask: spec.mask,
            kernel,
            query_norm,
            key_norm,
            relative,
        }
    }

    /// Numbers of a row of the output.
    pub(crate) fn context_width(&self) -> usize {
        self.heads * self.head
    }

    /// Runs over the sequences whose first rows and the end are `offsets`. `projected` and `context` are as large as
    /// needed. With `first_only` only each sequence's first row of the context is written.
    #[expect(clippy::too_many_arguments, reason = "a matrix is a slice and a stride")]
    pub(crate) fn apply(
        &self,
        run: Run,
        offsets: &[usize],
        input: &[f32],
        input_stride: usize,
        positions: &Positions,
        first_only: bool,
        projected: &mut Buffer<f32>,
        context: &mut Buffer<f32>,
    ) {
        let rows = offsets.last().copied().unwrap_or(0);
        let stride = spread(self.projection.width());
        projected.reserve(rows * stride);
        context.reserve(rows * self.context_width());
        self.projection.apply(run, rows, input, input_stride, projected, stride, Epilogue::Store);
        done(Stage::Project);
        self.turn(run, offsets, positions, &mut projected[..rows * stride]);
        let context = Shared::new(context);
        let sequences = offsets.len() - 1;
        run.split.over(sequences * self.key_value_heads, 1, &|tasks| {
            lend(|piece: &mut Piece| {
                for task in tasks {
                    let (sequence, head) = (task / self.key_value_heads, task % self.key_value_heads);
                    let rows = offsets[sequence]..offsets[sequence + 1];
                    if !rows.is_empty() {
                        self.head(rows, head, positions, first_only, projected, context, piece);
                    }
                }
            });
        });
        done(Stage::Attend);
    }

    /// Norms and rotation of queries and keys.
    fn turn(&self, run: Run, offsets: &[usize], positions: &Positions, projected: &mut [f32]) {
        let rotary = match positions {
            Positions::Rotary(rotary) => Some(rotary),
            _ => None,
        };
        if rotary.is_none() && self.query_norm.is_none() && self.key_norm.is_none() {
            return;
        }
        let stride = spread(self.projection.width());
        let alone = Run { split: Split::none(), ..run };
        let queries = self.heads * self.head;
        let keys = queries + self.key_value_heads * self.head;
        let shared = Shared::new(projected);
        run.split.over(offsets.len() - 1, 1, &|sequences| {
            for sequence in sequences {
                for row in offsets[sequence]..offsets[sequence + 1] {
                    // SAFETY: every sequence has its own rows.
                    let row_numbers = unsafe { shared.part(row * stride..row * stride + keys) };
                    if let Some(norm) = &self.query_norm {
                        norm.in_place(alone, self.heads, &mut row_numbers[..queries], self.head);
                    }
                    if let Some(norm) = &self.key_norm {
                        norm.in_place(alone, self.key_value_heads, &mut row_numbers[queries..], self.head);
                    }
                    if let Some(rotary) = rotary {
                        rotary.rotate(row - offsets[sequence], row_numbers, self.head);
                    }
                }
            }
        });
    }

    #[expect(clippy::too_many_arguments, reason = "a matrix is a slice and a stride")]
    fn head(
        &self,
        rows: Range<usize>,
        head: usize,
        positions: &Positions,
        first_only: bool,
        projected: &[f32],
        context: Shared<'_>,
        piece: &mut Piece,
    ) {
        let (tokens, stride, output_stride) = (rows.len(), spread(self.projection.width()), self.context_width());
        let group = self.heads / self.key_value_heads;
        piece.transposed.reserve(self.head * QUERIES);
        piece.scores.reserve(QUERIES * tokens);
        piece.halves.reserve(self.head * (2 * tokens + 1));
        let bias_stride = padded(2 * tokens) + QUERIES;
        let bias = match positions {
            Positions::Distance(bias) => Some(bias),
            _ => None,
        };
        if let Some(bias) = bias {
            piece.bias.reserve(group * bias_stride);
            for member in 0..group {
                bias.fill(head * group + member, tokens, &mut piece.bias[member * bias_stride..]);
            }
        }
        let places = match positions {
            Positions::Relative(places) => Some(places.of(tokens)),
            _ => None,
        };
        let relative = match (&self.relative, &places) {
            (Some(relative), Some(places)) => Some(relative.call(head, tokens, places, piece)),
            _ => None,
        };
        let row = &projected[rows.start * stride..rows.end * stride];
        let query = head * group * self.head;
        let key = (self.heads + head) * self.head;
        let value = (self.heads + self.key_value_heads + head) * self.head;
        let output = rows.start * output_stride + query;
        let last = context.at((rows.end - 1) * output_stride + query + group * self.head);
        debug_assert!(!last.is_null());
        let call = AttentionCall {
            tokens,
            queries: if first_only { 1 } else { tokens },
            head: self.head,
            group,
            query: row[query..].as_ptr(),
            key: row[key..].as_ptr(),
            value: row[value..].as_ptr(),
            stride,
            output: context.at(output),
            output_stride,
            scale: self.scale * std::f32::consts::LOG2_E,
            bias: if bias.is_some() { piece.bias.as_ptr() } else { std::ptr::null() },
            bias_stride,
            relative: relative.as_ref().map_or(std::ptr::null(), std::ptr::from_ref),
            mask: self.mask,
            transposed: piece.transposed.as_mut_ptr(),
            scores: piece.scores.as_mut_ptr(),
            halves: piece.halves.as_mut_ptr(),
        };
        // SAFETY: the rows and the scratch are as large as the call needs, and every sequence and head has its own part of
        // the context.
        unsafe { (self.kernel)(&call) };
    }
}
