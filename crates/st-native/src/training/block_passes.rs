//! The two passes over a [`Block`].
#![expect(unsafe_code, reason = "threads write disjoint rows")]

use super::attention::{AttentionGradients, AttentionInputs, DropoutFactors, Matrix};
use super::block::{Block, BlockDropout, BlockGradients, BlockTape};
use super::compute::Compute;
use super::linear::{Weight, check};
use crate::kernels::tile::Finish;
use crate::split::Shared;

/// Rows that go through a block's second half at once. Part of what gradients of norms are, to the bit.
const ROWS: usize = 72;

impl Compute {
    /// Runs a block over hidden states `input` `[tokens, hidden]` of the sequences between `offsets`; `bias` is that of
    /// [`AttentionInputs`].
    ///
    /// # Panics
    /// When lengths do not fit, or the block's do not fit [`Block::fits`].
    pub fn block(
        &self,
        block: &Block<'_>,
        offsets: &[usize],
        bias: Option<&[f32]>,
        dropout: &BlockDropout<'_>,
        input: &[f32],
        output: &mut [f32],
    ) -> BlockTape {
        let sizes = Sizes::of(block, input.len());
        let Sizes { tokens, hidden, inner, context, projected } = sizes;
        assert_eq!(output.len(), input.len(), "an output row for every token");
        let mut tape_projected = self.numbers(tokens * projected);
        self.linear(input, hidden, &block.projections, &mut tape_projected);
        let mut tape_context = self.numbers(tokens * context);
        let inputs = sizes.attention(block, &tape_projected, offsets, bias, dropout);
        let statistics = self.attend(&block.attention, &inputs, &mut tape_context);

        let (mut first, mut normed) = (self.numbers(tokens * hidden), self.numbers(tokens * hidden));
        let (mut tape_inner, mut second) = (self.numbers(tokens * inner), self.numbers(tokens * hidden));
        let output_panels = self.pack_transposed(&[block.output], context);
        let up_panels = self.pack_transposed(&[block.up], hidden);
        let down_panels = self.pack_transposed(&[block.down], inner);
        let norms = [self.padded_norm(&block.attention_norm), self.padded_norm(&block.feed_forward_norm)];
        let targets = [&mut *first, &mut normed, &mut tape_inner, &mut second, output].map(Shared::new);
        self.over(tokens, ROWS, &|range| {
            let mut activated = self.numbers(ROWS * inner);
            let activated_rows = Shared::new(&mut activated);
            for start in range.clone().step_by(ROWS) {
                let rows = start..range.end.min(start + ROWS);
                let hidden_place = rows.start * hidden..rows.end * hidden;
                let [first, normed, inner_target, second, output] = targets;
                // SAFETY: ranges of rows do not overlap, and `activated` is this thread's.
                unsafe {
                    let add = dropout.output.is_none();
                    let sum = first.part(hidden_place.clone());
                    let residual = &input[hidden_place.clone()];
                    before(sum, residual, add);
                    let finish = if add { Finish::Add } else { Finish::Store };
                    self.product(&output_panels, rows.clone(), &tape_context, context, first, hidden, finish);
                    after(sum, residual, rows.start, hidden, dropout.output);
                    let normed_rows = normed.part(hidden_place.clone());
                    self.norm_rows(&norms[0], sum, normed_rows);

                    let inner_rows = inner_target.part(rows.start * inner..rows.end * inner);
                    let target = Shared::new(inner_rows);
                    self.product(&up_panels, 0..rows.len(), normed_rows, hidden, target, inner, Finish::Store);
                    let activated = activated_rows.part(0..rows.len() * inner);
                    self.activate_here(block.activation, inner_rows, None, activated);
                    let add = dropout.feed_forward.is_none();
                    let sum = second.part(hidden_place.clone());
                    before(sum, normed_rows, add);
                    let finish = if add { Finish::Add } else { Finish::Store };
                    let target = Shared::new(sum);
                    self.product(&down_panels, 0..rows.len(), activated, inner, target, hidden, finish);
                    let sum = second.part(hidden_place.clone());
                    after(sum, normed_rows, rows.start, hidden, dropout.feed_forward);
                    self.norm_rows(&norms[1], sum, output.part(hidden_place));
                }
            }
        });
        BlockTape {
            projected: tape_projected,
            context: tape_context,
            statistics,
            first,
            normed,
            inner: tape_inner,
            second,
        }
    }

    /// The gradients of a block from that of its output. `offsets`, `bias`, `dropout` and `input` must be those of the
    /// forward pass.
    ///
    /// # Panics
    /// When lengths do not fit.
    #[expect(clippy::too_many_arguments, reason = "the arguments of the forward pass and what came of it")]
    pub fn block_gradient(
        &self,
        block: &Block<'_>,
        offsets: &[usize],
        bias: Option<&[f32]>,
        dropout: &BlockDropout<'_>,
        input: &[f32],
        tape: BlockTape,
        gradient: &[f32],
        gradients: BlockGradients<'_>,
    ) {
        let sizes = Sizes::of(block, input.len());
        let Sizes { tokens, hidden, inner, context, projected } = sizes;
        assert_eq!(gradient.len(), input.len(), "a gradient row for every token");
        let BlockTape {
            projected: tape_projected,
            context: tape_context,
            mut statistics,
            mut first,
            normed,
            inner: mut activated,
            mut second,
        } = tape;
        assert!(tape_projected.len() == tokens * projected && normed.len() == input.len(), "a tape of another batch");
        let mut inner_gradient = self.numbers(tokens * inner);
        let mut context_gradient = self.numbers(tokens * context);
        let down_panels = self.pack_plain(&[block.down], inner);
        let up_panels = self.pack_plain(&[block.up], hidden);
        let output_panels = self.pack_plain(&[block.output], context);
        let norms = [self.padded_norm(&block.attention_norm), self.padded_norm(&block.feed_forward_norm)];
        let part = 2 * hidden;
        let mut parts = [self.numbers(tokens.div_ceil(ROWS) * part), self.numbers(tokens.div_ceil(ROWS) * part)];
        // What a residual sum's gradient is before dropout is needed besides only where something was dropped.
        let dropped = |factors: Option<DropoutFactors<'_>>| self.numbers(factors.map_or(0, |_| tokens * hidden));
        let (mut first_dropped, mut second_dropped) = (dropped(dropout.output), dropped(dropout.feed_forward));
        let targets = [
            &mut *first,
            &mut second,
            &mut activated,
            &mut inner_gradient,
            &mut context_gradient,
            &mut first_dropped,
            &mut second_dropped,
        ]
        .map(Shared::new);
        let shared_parts = parts.each_mut().map(|parts| Shared::new(parts));
        self.over(tokens, ROWS, &|range| {
            let (mut wide, mut narrow) = (self.numbers(ROWS * inner), self.numbers(ROWS * hidden));
            for start in range.clone().step_by(ROWS) {
                let rows = start..range.end.min(start + ROWS);
                let place = rows.start * hidden..rows.end * hidden;
                let inner_place = rows.start * inner..rows.end * inner;
                let [first, second, activated, inner_gradient, context_gradient, first_dropped, second_dropped] =
                    targets;
                let part_place = start / ROWS * part..(start / ROWS + 1) * part;
                let (wide, narrow) = (&mut wide[..rows.len() * inner], &mut narrow[..rows.len() * hidden]);
                // SAFETY: ranges of rows do not overlap.
                unsafe {
                    // The sum before the norm becomes its gradient.
                    let sum = second.part(place.clone());
                    let part = shared_parts[1].part(part_place.clone());
                    self.norm_gradient_rows(&norms[1], sum, &gradient[place.clone()], part);
                    let branch =
                        drop_rows(sum, rows.start, hidden, dropout.feed_forward, &second_dropped, place.clone());
                    self.product(&down_panels, 0..rows.len(), branch, hidden, Shared::new(wide), inner, Finish::Store);
                    let inner_rows = activated.part(inner_place.clone());
                    let inner_gradient = inner_gradient.part(inner_place);
                    self.activation_gradient_here(block.activation, inner_rows, wide, inner_gradient);
                    narrow.copy_from_slice(sum);
                    let target = Shared::new(narrow);
                    self.product(&up_panels, 0..rows.len(), inner_gradient, inner, target, hidden, Finish::Add);

                    let sum = first.part(place.clone());
                    let part = shared_parts[0].part(part_place);
                    self.norm_gradient_rows(&norms[0], sum, target.part(0..rows.len() * hidden), part);
                    let branch = drop_rows(sum, rows.start, hidden, dropout.output, &first_dropped, place);
                    let target = Shared::new(context_gradient.part(rows.start * context..rows.end * context));
                    self.product(&output_panels, 0..rows.len(), branch, hidden, target, context, Finish::Store);
                }
            }
        });
        let BlockGradients {
            input: input_gradient,
            projections,
            output: output_wanted,
            attention_norm: [first_weight, first_bias],
            up,
            down,
            feed_forward_norm: [second_weight, second_bias],
            bias: bias_gradient,
        } = gradients;
        Self::norm_parts(&norms[0], &parts[0], first_weight, first_bias);
        Self::norm_parts(&norms[1], &parts[1], second_weight, second_bias);
        let first_branch = if dropout.output.is_some() { &first_dropped } else { &first };
        let second_branch = if dropout.feed_forward.is_some() { &second_dropped } else { &second };
        self.weight_gradients(Matrix::new(second_branch, hidden), Matrix::new(&activated, inner), down);
        self.weight_gradients(Matrix::new(&inner_gradient, inner), Matrix::new(&normed, hidden), up);
        self.weight_gradients(Matrix::new(first_branch, hidden), Matrix::new(&tape_context, context), output_wanted);

        let below = input_gradient.is_some() || bias_gradient.is_some();
        if !below && projections.iter().flatten().all(Option::is_none) {
            return;
        }
        let mut projected_gradient = self.numbers(tokens * projected);
        let inputs = sizes.attention(block, &tape_projected, offsets, bias, dropout);
        let target = AttentionGradients::Packed(&mut projected_gradient);
        self.attention_gradient(&block.attention, &inputs, &mut statistics, &context_gradient, target, bias_gradient);
        if let Some(input_gradient) = input_gradient {
            assert_eq!(input_gradient.len(), input.len(), "a gradient for every input");
            let panels = self.pack_plain(&block.projections, hidden);
            let shared = Shared::new(input_gradient);
            self.over(tokens, ROWS, &|rows| {
                let place = rows.start * hidden..rows.end * hidden;
                // SAFETY: ranges of rows do not overlap.
                unsafe {
                    shared.part(place.clone()).copy_from_slice(&first[place]);
                    self.product(&panels, rows, &projected_gradient, projected, shared, hidden, Finish::Add);
                }
            });
        }
        let mut start = 0;
        for (weight, wanted) in block.projections.iter().zip(projections) {
            let gradient = Matrix::columns(&projected_gradient, projected, start, weight.outputs);
            self.weight_gradients(gradient, Matrix::new(input, hidden), wanted);
            start += weight.outputs;
        }
    }

    fn weight_gradients(&self, gradient: Matrix<'_>, input: Matrix<'_>, [weight, bias]: [Option<&mut [f32]>; 2]) {
        match (weight, bias) {
            (None, None) => {}
            (Some(weight), bias) => self.linear_weight_gradient(gradient, input, weight, bias, true),
            (None, Some(bias)) => self.add_column_sums(gradient, bias),
        }
    }
}

/// Sizes of a block's matrices.
struct Sizes {
    tokens: usize,
    hidden: usize,
    inner: usize,
    context: usize,
    projected: usize,
}

impl Sizes {
    fn of(block: &Block<'_>, numbers: usize) -> Self {
        let (hidden, inner) = (block.hidden(), block.up.outputs);
        let context = block.attention.heads * block.attention.head;
        let keys = block.attention.key_value_heads * block.attention.head;
        assert!(Block::fits(hidden, inner, context, keys), "widths that are multiples of 16");
        let projected = check(&block.projections, hidden);
        assert_eq!(block.projections.map(|weight: Weight<'_>| weight.outputs), [context, keys, keys], "projections");
        check(&[block.output], context);
        check(&[block.up], hidden);
        check(&[block.down], inner);
        assert_eq!(block.output.outputs, hidden, "an output of another width");
        let norms = [block.attention_norm.weight.len(), block.feed_forward_norm.weight.len()];
        assert_eq!(norms, [hidden; 2], "norms of another width");
        assert!(numbers.is_multiple_of(hidden), "whole rows");
        Self { tokens: numbers / hidden, hidden, inner, context, projected }
    }

    fn attention<'a>(
        &self,
        block: &Block<'_>,
        projected: &'a [f32],
        offsets: &'a [usize],
        bias: Option<&'a [f32]>,
        dropout: &BlockDropout<'a>,
    ) -> AttentionInputs<'a> {
        let keys = block.attention.key_value_heads * block.attention.head;
        AttentionInputs {
            query: Matrix::columns(projected, self.projected, 0, self.context),
            key: Matrix::columns(projected, self.projected, self.context, keys),
            value: Matrix::columns(projected, self.projected, self.context + keys, keys),
            offsets,
            bias,
            dropout: dropout.attention,
        }
    }
}

/// Without dropout a product is added to the residual.
fn before(sum: &mut [f32], residual: &[f32], add: bool) {
    if add {
        sum.copy_from_slice(residual);
    }
}

/// With dropout the residual is added to what is left of a product.
fn after(sum: &mut [f32], residual: &[f32], first: usize, width: usize, dropout: Option<DropoutFactors<'_>>) {
    let Some(factors) = dropout else { return };
    let mut row_factors = vec![0.0; width];
    for (row, (sum, residual)) in sum.chunks_exact_mut(width).zip(residual.chunks_exact(width)).enumerate() {
        factors((first + row) as u64, &mut row_factors);
        for ((sum, residual), factor) in sum.iter_mut().zip(residual).zip(&row_factors) {
            *sum = *sum * factor + residual;
        }
    }
}

/// The gradient of what was dropped: that of the sum without dropout, else a copy times the factors.
///
/// # Safety
/// No other thread uses this place.
unsafe fn drop_rows<'a>(
    sum: &'a [f32],
    first: usize,
    width: usize,
    dropout: Option<DropoutFactors<'_>>,
    target: &'a Shared<'_>,
    place: std::ops::Range<usize>,
) -> &'a [f32] {
    let Some(factors) = dropout else { return sum };
    // SAFETY: the caller's promise.
    let target = unsafe { target.part(place) };
    for (row, (target, sum)) in target.chunks_exact_mut(width).zip(sum.chunks_exact(width)).enumerate() {
        factors((first + row) as u64, target);
        target.iter_mut().zip(sum).for_each(|(target, sum)| *target *= sum);
    }
    target
}
