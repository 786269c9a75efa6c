//! Attention over ragged sequences and its gradient.
#![expect(unsafe_code, reason = "calls of kernels")]

use std::fmt;

use st_encoder::AttentionMask;

use super::compute::Compute;
use super::pool::Pooled;
use crate::kernels::STEP;
use crate::kernels::training::attention::{HeadCall, HeadGradientCall, Rows, RowsMut, scratch};
use crate::split::Shared;

/// Columns of a row-major matrix.
///
/// ```
/// use st_native::training::Matrix;
///
/// let matrix = Matrix::columns(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 3, 1, 2);
/// assert_eq!((matrix.rows(), matrix.width), (2, 2));
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Matrix<'a> {
    /// All of the matrix's numbers.
    pub(super) numbers: &'a [f32],
    /// Numbers from one row to the next.
    pub(super) stride: usize,
    /// The first column.
    pub(super) start: usize,
    /// Number of columns.
    pub width: usize,
}

impl<'a> Matrix<'a> {
    /// All columns.
    #[must_use]
    pub fn new(numbers: &'a [f32], width: usize) -> Self {
        Self::columns(numbers, width, 0, width)
    }

    /// `width` columns from `start` on of a matrix with `stride` columns.
    ///
    /// # Panics
    /// When there are no such columns or the last row is not whole.
    #[must_use]
    pub fn columns(numbers: &'a [f32], stride: usize, start: usize, width: usize) -> Self {
        assert!(start + width <= stride && numbers.len().is_multiple_of(stride), "columns of a matrix");
        Self { numbers, stride, start, width }
    }

    /// Number of rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.numbers.len() / self.stride.max(1)
    }

    fn rows_from(&self, row: usize, column: usize) -> Rows {
        Rows { first: self.numbers[row * self.stride + self.start + column..].as_ptr(), stride: self.stride }
    }
}

/// How attention is computed: `softmax(q·kᵀ·scale + bias) · v` per head.
///
/// ```
/// use st_encoder::AttentionMask;
/// use st_native::training::{Attention, AttentionInputs, Compute, Matrix};
///
/// let attention = Attention { heads: 1, key_value_heads: 1, head: 2, scale: 1.0, mask: AttentionMask::Full };
/// let (query, value) = ([1.0; 6], [5.0, 5.0, 1.0, 0.0, 3.0, 0.0]);
/// let (query, value) = (Matrix::new(&query, 2), Matrix::new(&value, 2));
/// let inputs = AttentionInputs { query, key: query, value, offsets: &[0, 1, 3], bias: None, dropout: None };
/// let mut context = [0.0; 6];
/// Compute::detect().attend(&attention, &inputs, &mut context);
/// assert_eq!(context, [5.0, 5.0, 2.0, 0.0, 2.0, 0.0]);
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Attention {
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; they divide the query heads.
    pub key_value_heads: usize,
    /// Components per head.
    pub head: usize,
    /// Factor on the scores.
    pub scale: f32,
    /// Which tokens see which.
    pub mask: AttentionMask,
}

/// Writes the dropout factors of a row.
///
/// A row of attention is numbered `token · heads + head`, the tokens counted over the batch, and has a factor per key of the
/// sequence. A row of hidden states has the number of its token.
pub type DropoutFactors<'a> = &'a (dyn Fn(u64, &mut [f32]) + Sync);

/// What attention runs over.
#[derive(Clone, Copy)]
pub struct AttentionInputs<'a> {
    /// `[tokens, heads · head]`.
    pub query: Matrix<'a>,
    /// `[tokens, key_value_heads · head]`.
    pub key: Matrix<'a>,
    /// Like `key`.
    pub value: Matrix<'a>,
    /// Where sequences begin, and where the last one ends.
    pub offsets: &'a [usize],
    /// What is added to the scores by distance: `[heads, 2·reach − 1]`; the number in the middle is for a query's own
    /// place, the next one for the key after it. `reach` is at least the longest sequence.
    pub bias: Option<&'a [f32]>,
    /// Factors on the probabilities.
    pub dropout: Option<DropoutFactors<'a>>,
}

impl fmt::Debug for AttentionInputs<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("AttentionInputs")
            .field("tokens", &self.query.rows())
            .field("sequences", &self.offsets.len().saturating_sub(1))
            .finish_non_exhaustive()
    }
}

/// What a forward pass keeps for the gradient: two numbers per token and head.
#[derive(Debug)]
pub struct AttentionStatistics {
    largest: Pooled,
    inverse: Pooled,
}

/// Where the gradients of attention go. They are overwritten.
#[derive(Debug)]
pub enum AttentionGradients<'a> {
    /// Query, key and value, each laid out without gaps.
    Separate([&'a mut [f32]; 3]),
    /// Query, key and value side by side.
    Packed(&'a mut [f32]),
}

/// A bias with room after every head's numbers.
struct PaddedBias {
    numbers: Pooled,
    reach: usize,
    stride: usize,
}

impl Compute {
    /// Computes `output`, `[tokens, heads · head]`.
    ///
    /// # Panics
    /// When lengths do not fit.
    pub fn attend(
        &self,
        attention: &Attention,
        inputs: &AttentionInputs<'_>,
        output: &mut [f32],
    ) -> AttentionStatistics {
        let tokens = inputs.check(attention);
        let width = attention.heads * attention.head;
        assert_eq!(output.len(), tokens * width, "a context row for every token");
        let bias = inputs.bias.map(|bias| self.padded_bias(attention, bias, inputs.offsets));
        let mut largest = self.numbers(attention.heads * tokens);
        let mut inverse = self.numbers(attention.heads * tokens);
        let (output, shared) = (Shared::new(output), [Shared::new(&mut largest), Shared::new(&mut inverse)]);
        self.each_head(attention, inputs, |sequence, key_head| {
            let first = inputs.offsets[sequence];
            let column = key_head * attention.heads / attention.key_value_heads * attention.head;
            let output = RowsMut { first: output.at(first * width + column), stride: width };
            self.with_head(attention, inputs, bias.as_ref(), shared, [sequence, key_head], output, |call| {
                // SAFETY: `check` has seen that all rows are there; every sequence and head has its own output.
                unsafe { (self.training.attend)(&call) };
            });
        });
        AttentionStatistics { largest, inverse }
    }

    /// The gradients of query, key and value from that of the output. That of the bias is added to what is there.
    ///
    /// # Panics
    /// When lengths do not fit.
    pub fn attention_gradient(
        &self,
        attention: &Attention,
        inputs: &AttentionInputs<'_>,
        statistics: &mut AttentionStatistics,
        gradient: &[f32],
        gradients: AttentionGradients<'_>,
        bias_gradient: Option<&mut [f32]>,
    ) {
        let tokens = inputs.check(attention);
        let (head, heads, key_heads) = (attention.head, attention.heads, attention.key_value_heads);
        let (width, key_width) = (heads * head, key_heads * head);
        assert_eq!(gradient.len(), tokens * width, "a gradient for every token");
        let AttentionStatistics { largest, inverse } = statistics;
        assert!(largest.len() == heads * tokens && inverse.len() == heads * tokens, "statistics of another batch");
        let targets = match gradients {
            AttentionGradients::Separate([query, key, value]) => {
                assert!(query.len() == tokens * width, "a gradient for every query");
                assert!(key.len() == tokens * key_width && value.len() == key.len(), "gradients of keys and values");
                [(Shared::new(query), 0, width), (Shared::new(key), 0, key_width), (Shared::new(value), 0, key_width)]
            }
            AttentionGradients::Packed(all) => {
                let stride = width + 2 * key_width;
                assert_eq!(all.len(), tokens * stride, "gradients for every token");
                let all = Shared::new(all);
                [(all, 0, stride), (all, width, stride), (all, width + key_width, stride)]
            }
        };
        let shared = [Shared::new(largest), Shared::new(inverse)];
        let bias = inputs.bias.map(|bias| self.padded_bias(attention, bias, inputs.offsets));
        // Every sequence has its own part of the bias's gradient; they are added in order.
        let wanted = bias.as_ref().filter(|_| bias_gradient.is_some());
        let part = wanted.map_or(0, |bias| heads * bias.stride);
        let mut parts = self.numbers(part * (inputs.offsets.len() - 1));
        parts.fill(0.0);
        let shared_parts = Shared::new(&mut parts);
        let gradient = Matrix::new(gradient, width);
        self.each_head(attention, inputs, |sequence, key_head| {
            let first = inputs.offsets[sequence];
            let query_head = key_head * heads / key_heads;
            let [query, key, value] = targets.map(|(shared, start, stride)| (shared, first * stride + start, stride));
            let at = |(shared, place, stride): (Shared<'_>, usize, usize), column: usize| RowsMut {
                first: shared.at(place + column),
                stride,
            };
            let bias_gradient = wanted.map_or(std::ptr::null_mut(), |bias| {
                shared_parts.at(sequence * part + query_head * bias.stride + bias.reach - 1)
            });
            let nowhere = RowsMut { first: std::ptr::null_mut(), stride: 0 };
            self.with_head(attention, inputs, bias.as_ref(), shared, [sequence, key_head], nowhere, |forward| {
                let call = HeadGradientCall {
                    forward,
                    gradient: gradient.rows_from(first, query_head * head),
                    query_gradient: at(query, query_head * head),
                    key_gradient: at(key, key_head * head),
                    value_gradient: at(value, key_head * head),
                    bias_gradient,
                };
                // SAFETY: lengths were checked; every sequence and head has its own part of the gradients.
                unsafe { (self.training.attention_gradient)(&call) };
            });
        });
        if let Some(target) = bias_gradient {
            let Some(bias) = &bias else { return };
            for part in parts.chunks_exact(part) {
                for (to, from) in target.chunks_exact_mut(2 * bias.reach - 1).zip(part.chunks_exact(bias.stride)) {
                    to.iter_mut().zip(from).for_each(|(to, from)| *to += from);
                }
            }
        }
    }

    fn each_head(&self, attention: &Attention, inputs: &AttentionInputs<'_>, work: impl Fn(usize, usize) + Sync) {
        let key_heads = attention.key_value_heads;
        self.over((inputs.offsets.len() - 1) * key_heads, 1, &|range| {
            for index in range {
                let sequence = index / key_heads;
                if inputs.offsets[sequence] < inputs.offsets[sequence + 1] {
                    work(sequence, index % key_heads);
                }
            }
        });
    }

    #[expect(clippy::too_many_arguments, reason = "everything that a head is made of")]
    fn with_head(
        &self,
        attention: &Attention,
        inputs: &AttentionInputs<'_>,
        bias: Option<&PaddedBias>,
        [largest, inverse]: [Shared<'_>; 2],
        [sequence, key_head]: [usize; 2],
        output: RowsMut,
        run: impl FnOnce(HeadCall<'_>),
    ) {
        let (start, end) = (inputs.offsets[sequence], inputs.offsets[sequence + 1]);
        let (all, heads) = (inputs.query.rows(), attention.heads);
        let group = heads / attention.key_value_heads;
        let query_head = key_head * group;
        let statistics = query_head * all + start;
        let dropout = inputs.dropout.map(|factors| {
            move |member: usize, query: usize, row: &mut [f32]| {
                factors(((start + query) * heads + query_head + member) as u64, row);
            }
        });
        let mut memory = self.numbers(scratch(end - start, attention.head));
        run(HeadCall {
            tokens: end - start,
            head: attention.head,
            group,
            query: inputs.query.rows_from(start, query_head * attention.head),
            key: inputs.key.rows_from(start, key_head * attention.head),
            value: inputs.value.rows_from(start, key_head * attention.head),
            scale: attention.scale,
            bias: bias
                .map_or(std::ptr::null(), |bias| bias.numbers[query_head * bias.stride + bias.reach - 1..].as_ptr()),
            bias_stride: bias.map_or(0, |bias| bias.stride),
            mask: attention.mask,
            dropout: dropout.as_ref().map(|dropout| dropout as _),
            largest: largest.at(statistics),
            inverse: inverse.at(statistics),
            statistics_stride: all,
            output,
            scratch: memory.as_mut_ptr(),
        });
    }

    fn padded_bias(&self, attention: &Attention, bias: &[f32], offsets: &[usize]) -> PaddedBias {
        let width = bias.len() / attention.heads.max(1);
        let longest = offsets.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(0);
        assert!(bias.len() == attention.heads * width && width % 2 == 1, "a bias of another shape");
        assert!(longest <= width.div_ceil(2), "a bias that does not reach as far as the longest sequence");
        let stride = width + STEP;
        let mut numbers = self.numbers(attention.heads * stride);
        for (to, from) in numbers.chunks_exact_mut(stride).zip(bias.chunks_exact(width)) {
            to[..width].copy_from_slice(from);
            to[width..].fill(0.0);
        }
        PaddedBias { numbers, reach: width.div_ceil(2), stride }
    }
}

impl AttentionInputs<'_> {
    /// Number of tokens.
    fn check(&self, attention: &Attention) -> usize {
        let tokens = self.query.rows();
        let Attention { heads, key_value_heads, head, .. } = *attention;
        assert!(key_value_heads > 0 && head > 0 && heads.is_multiple_of(key_value_heads), "heads that share keys");
        assert_eq!(self.query.width, heads * head, "queries of another width");
        assert_eq!(self.key.width, key_value_heads * head, "keys of another width");
        assert_eq!(self.value.width, self.key.width, "values of another width");
        assert!(self.key.rows() == tokens && self.value.rows() == tokens, "queries, keys and values of other lengths");
        assert!(self.offsets.first() == Some(&0) && self.offsets.last() == Some(&tokens), "sequences of other lengths");
        assert!(self.offsets.is_sorted(), "sequences in order");
        tokens
    }
}
