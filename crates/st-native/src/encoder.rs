//! [`NativeEncoder`]: the forward pass.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use st_encoder::{Batch, Encoder, EncoderError, EncoderInfo, Pass, PatchSpec, Rows, TokenEmbeddings};

use crate::InstructionSet;
use crate::calibration::Turn;
use crate::calibration::sample::{Sample, random_images};
use crate::kernels::Kernels;
use crate::layers::block::Block;
use crate::layers::linear::Linear;
use crate::layers::{Run, padded};
use crate::load::Network;
use crate::scratch::{Activations, Widened, lend, release};
use crate::split::{Shared, Split};
use crate::stages::{Stage, begin, done};

/// An encoder with packed weights.
#[derive(Debug)]
pub(crate) struct NativeEncoder {
    pub(crate) info: EncoderInfo,
    pub(crate) token_types: usize,
    pub(crate) patches: Option<PatchSpec>,
    pub(crate) kernels: &'static Kernels,
    pub(crate) network: Network,
}

/// Tokens of a micro-batch, unless one sequence alone has more: few enough that its activations stay near the core,
/// enough that each weight that is fetched is used often.
const MICRO_BATCH: usize = 256;
/// The same where weights come from memory and not from a cache: they are worth more than the activations' nearness.
const LARGE_MICRO_BATCH: usize = 512;
/// From so many weights of one block on, the network does not stay in a cache: blocks of MiniLM have 1.8 million, those of
/// BERT base 7.1 million.
const LARGE_BLOCK: usize = 4 << 20;

/// Most tokens that one pass of a calibration runs over together.
const AT_ONCE: usize = 4096;

/// Where a micro-batch's results go.
#[derive(Default)]
struct Target<'a> {
    /// Nowhere, where only what layers see counts.
    data: Option<Shared<'a>>,
    layers: Vec<Shared<'a>>,
    first_only: bool,
}

impl Encoder for NativeEncoder {
    fn info(&self) -> &EncoderInfo {
        &self.info
    }

    fn forward(&self, batch: &Batch, pass: &Pass) -> Result<TokenEmbeddings, EncoderError> {
        self.validate(batch)?;
        let hidden = self.info.hidden;
        let first_only = pass.rows == Rows::First;
        let offsets = if first_only { first_rows(batch) } else { batch.offsets().to_vec() };
        let rows = offsets.last().copied().unwrap_or(0);
        let mut data = vec![0.0; rows * hidden];
        let states = if pass.layers { self.network.order.len() + 1 } else { 0 };
        let mut layers = vec![vec![0.0; rows * hidden]; states];
        let target = Target {
            data: Some(Shared::new(&mut data)),
            layers: layers.iter_mut().map(|layer| Shared::new(layer)).collect(),
            first_only,
        };
        let cuts = micro_batches(batch, self.micro_batch_tokens());
        let pieces = cuts.len() - 1;
        if pass.threads > 1 && pieces >= 2 * pass.threads {
            let next = AtomicUsize::new(0);
            Split::new(pass.threads).over(pass.threads, 1, &|threads| {
                for _ in threads {
                    while let Some(cut) = cuts.windows(2).nth(next.fetch_add(1, Ordering::Relaxed)) {
                        self.micro_batch(Split::none(), batch, cut[0]..cut[1], &offsets, &target);
                    }
                }
            });
        } else {
            for cut in cuts.windows(2) {
                self.micro_batch(Split::new(pass.threads), batch, cut[0]..cut[1], &offsets, &target);
            }
        }
        TokenEmbeddings::new(data, hidden, offsets)?.with_layers(layers)
    }
}

/// Offsets of a result with one row per sequence that has a token.
fn first_rows(batch: &Batch) -> Vec<usize> {
    let mut rows = 0;
    std::iter::once(0)
        .chain(batch.lengths().map(|length| {
            rows += usize::from(length > 0);
            rows
        }))
        .collect()
}

/// Cuts a batch between sequences into pieces of at most `most` tokens where sequences allow: the indices of each
/// micro-batch's first sequence, and the number of sequences.
fn micro_batches(batch: &Batch, most: usize) -> Vec<usize> {
    let mut cuts = vec![0];
    let mut tokens = 0;
    for (sequence, length) in batch.lengths().enumerate() {
        if tokens > 0 && tokens + length > most {
            cuts.push(sequence);
            tokens = 0;
        }
        tokens += length;
    }
    cuts.push(batch.len());
    cuts
}

impl NativeEncoder {
    /// Turns the blocks' weights into bytes, for inputs like those that the given batches (or the built-in sample) lead to.
    pub(crate) fn quantise(
        &mut self,
        set: InstructionSet,
        batches: &[Batch],
        sample: &Sample,
    ) -> Result<(), EncoderError> {
        let built_in;
        let batches = if batches.iter().all(|batch| batch.tokens() == 0) {
            let longest = self.info.max_sequence.unwrap_or(usize::MAX);
            built_in = [match self.patches {
                None => sample.batch(self.info.vocabulary, longest),
                Some(patches) => random_images(patches, longest)?,
            }];
            &built_in
        } else {
            batches
        };
        self.narrow_attention();
        // Where blocks run several times, a first run is not all that there is to learn.
        let repeats = self.network.order.len() > self.network.blocks.len();
        let turn = match batches {
            [batch] if batch.tokens() <= AT_ONCE && !repeats => Turn::AtOnce,
            _ => Turn::AtTheEnd,
        };
        self.linears().for_each(|linear| linear.begin_trial(set, turn));
        let run = Run { kernels: self.kernels, split: Split::new(rayon::current_num_threads()) };
        for batch in batches {
            self.try_out(run.split, batch, turn)?;
        }
        self.linears().for_each(|linear| linear.end_trial(run));
        // Later passes run over fewer rows.
        release::<Activations>();
        release::<Widened>();
        Ok(())
    }

    fn linears(&mut self) -> impl Iterator<Item = &mut Linear> {
        self.network.blocks.iter_mut().flat_map(Block::linears)
    }

    /// Runs over a batch of a trial, whatever comes out.
    fn try_out(&self, split: Split, batch: &Batch, turn: Turn) -> Result<(), EncoderError> {
        self.validate(batch)?;
        let target = Target::default();
        let most = if turn == Turn::AtOnce { AT_ONCE } else { self.micro_batch_tokens() };
        for cut in micro_batches(batch, most).windows(2) {
            self.micro_batch(split, batch, cut[0]..cut[1], batch.offsets(), &target);
        }
        Ok(())
    }

    fn validate(&self, batch: &Batch) -> Result<(), EncoderError> {
        batch.validate_kind(self.patches)?;
        batch.validate(self.info.vocabulary, self.token_types, self.info.max_sequence)
    }

    /// Lets attention multiply bfloat16 where the processor can.
    pub(crate) fn narrow_attention(&mut self) {
        for block in self.network.blocks.iter_mut().filter(|block| block.attention.relative.is_none()) {
            block.attention.kernel = self.kernels.attend_narrowed();
        }
    }

    /// Tokens of a micro-batch of this network.
    fn micro_batch_tokens(&self) -> usize {
        let weights = self.network.blocks.first().map_or(0, Block::weights);
        if weights < LARGE_BLOCK { MICRO_BATCH } else { LARGE_MICRO_BATCH }
    }

    fn micro_batch(
        &self,
        split: Split,
        batch: &Batch,
        sequences: Range<usize>,
        results: &[usize],
        target: &Target<'_>,
    ) {
        let start = batch.offsets()[sequences.start];
        let offsets: Vec<usize> =
            batch.offsets()[sequences.start..=sequences.end].iter().map(|offset| offset - start).collect();
        let rows = offsets.last().copied().unwrap_or(0);
        if rows == 0 {
            return;
        }
        let run = Run { kernels: self.kernels, split };
        let stride = padded(self.info.hidden);
        let result_rows = results[sequences.start]..results[sequences.end];
        lend(|memory: &mut Activations| {
            begin();
            self.network.embeddings.apply(run, batch, sequences, stride, memory);
            done(Stage::Embed);
            let blocks = self.network.order.len();
            let state = |layer: usize, memory: &Activations, compact: bool| {
                if let Some(layer) = target.layers.get(layer) {
                    self.write(*layer, &result_rows, &memory.hidden, stride, &offsets, target.first_only && !compact);
                }
            };
            let mut compact = false;
            for (layer, (&block, positions)) in self.network.order.iter().zip(&self.network.positions).enumerate() {
                let block = &self.network.blocks[block];
                state(layer, memory, false);
                compact = target.first_only && layer + 1 == blocks;
                block.apply(run, &offsets, stride, positions, compact, memory);
            }
            if let Some(norm) = &self.network.final_norm {
                let rows = if compact { result_rows.len() } else { rows };
                norm.in_place(run, rows, &mut memory.hidden, stride);
            }
            state(blocks, memory, compact);
            if let Some(data) = target.data {
                self.write(data, &result_rows, &memory.hidden, stride, &offsets, target.first_only && !compact);
            }
            done(Stage::Write);
        });
    }

    /// Copies rows into a result; with `pick` only each sequence's first.
    #[expect(unsafe_code, reason = "micro-batches write disjoint rows")]
    fn write(&self, to: Shared<'_>, rows: &Range<usize>, hidden: &[f32], stride: usize, offsets: &[usize], pick: bool) {
        let width = self.info.hidden;
        // SAFETY: every micro-batch has its own rows of the result.
        let to = unsafe { to.part(rows.start * width..rows.end * width) };
        if pick {
            let firsts = offsets.windows(2).filter(|pair| pair[0] < pair[1]).map(|pair| pair[0]);
            for (to, row) in to.chunks_exact_mut(width).zip(firsts) {
                to.copy_from_slice(&hidden[row * stride..row * stride + width]);
            }
        } else {
            for (to, from) in to.chunks_exact_mut(width).zip(hidden.chunks_exact(stride)) {
                to.copy_from_slice(&from[..width]);
            }
        }
    }
}
