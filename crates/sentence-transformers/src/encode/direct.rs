//! The short way for input modules that make sentence embeddings straight from texts.
//!
//! Such a module costs less than making, sorting and copying batches would. Each thread takes the next run of texts, in
//! the order they have, and writes their rows where they belong.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use st_encoder::{Batch, Pass};
use st_vectors::Embeddings;

use crate::input::{AsInput, PreparedText};
use crate::module::TextEmbedder;
use crate::{Features, Result, SentenceTransformer};

use super::tokens::PreparedPrompt;
use super::tokens::refuse_cut;
use super::{EncodeOptions, Truncation};

/// Numbers of a run's rows: they stay in a core's first-level cache.
const RUN: usize = 8192;
/// Texts of a run, at most, so that threads finish together.
const MOST_TEXTS: usize = 256;
/// Below this many bytes a second thread costs more than it gains.
const SERIAL: usize = 4096;

/// The texts of one call, and what is asked for.
pub(super) struct Call<'a, T> {
    pub(super) texts: &'a [T],
    pub(super) prompt: &'a PreparedPrompt,
    pub(super) options: &'a EncodeOptions,
    /// Components of each row of the result.
    pub(super) width: usize,
}

impl SentenceTransformer {
    /// The rows of a call, one after the other, and the texts that were cut.
    pub(super) fn embed_directly<T: AsInput + Sync>(
        &self,
        embedder: &dyn TextEmbedder,
        call: &Call<'_, T>,
    ) -> Result<(Vec<f32>, Vec<Truncation>)> {
        call.options.checked_batch_size()?;
        let count = call.texts.len();
        let mut rows = vec![0f32; count * call.width];
        let run = (RUN / self.pipeline().input().width().max(1)).clamp(1, MOST_TEXTS);
        let runs = call.texts.chunks(run).zip(rows.chunks_mut((run * call.width).max(1))).enumerate();
        let done = AtomicUsize::new(0);
        let one_run = |number: usize, texts: &[T], rows: &mut [f32]| -> Result<Vec<Truncation>> {
            let cuts = self.embed_run(embedder, call, number * run, texts, rows)?;
            call.options.report(done.fetch_add(texts.len(), Ordering::Relaxed) + texts.len(), count);
            Ok(cuts)
        };
        let threads = self.call_threads(call.options).min(count.div_ceil(run));
        let bytes = |texts: &[T]| texts.iter().map(|text| text.as_input().bytes()).sum::<usize>();
        let mut truncated = Vec::new();
        if threads <= 1 || (count <= SERIAL && bytes(call.texts) < SERIAL) {
            for (number, (texts, rows)) in runs {
                truncated.append(&mut one_run(number, texts, rows)?);
            }
        } else {
            let runs = Mutex::new(runs);
            let failed = AtomicBool::new(false);
            let results = Mutex::new(Vec::new());
            self.thread_pool()?.in_place_scope(|scope| {
                for _ in 0..threads {
                    scope.spawn(|_| {
                        let mut mine = Vec::new();
                        while !failed.load(Ordering::Relaxed) {
                            let next = runs.lock().unwrap_or_else(PoisonError::into_inner).next();
                            let Some((number, (texts, rows))) = next else { break };
                            let result = one_run(number, texts, rows);
                            failed.fetch_or(result.is_err(), Ordering::Relaxed);
                            mine.push(result);
                        }
                        results.lock().unwrap_or_else(PoisonError::into_inner).append(&mut mine);
                    });
                }
            });
            for result in results.into_inner().unwrap_or_else(PoisonError::into_inner) {
                truncated.append(&mut result?);
            }
            truncated.sort_unstable_by_key(|cut| cut.index);
        }
        if call.options.strict
            && let Some(first) = truncated.first()
        {
            return Err(refuse_cut(first));
        }
        Ok((rows, truncated))
    }

    /// Fills the rows of some texts, the first of which has index `offset` in the call.
    fn embed_run<T: AsInput>(
        &self,
        embedder: &dyn TextEmbedder,
        call: &Call<'_, T>,
        offset: usize,
        texts: &[T],
        rows: &mut [f32],
    ) -> Result<Vec<Truncation>> {
        let input = self.pipeline().input();
        let mut truncated = Vec::new();
        let mut cut = |index: usize, kept: usize, lost: usize| {
            truncated.push(Truncation { index: offset + index, kept, lost });
        };
        let (strips, lower) = (input.strips(), input.lower_case());
        let prepared: Vec<PreparedText<'_>> = texts
            .iter()
            .map(|text| text.as_input().prepare(&call.prompt.text, strips, lower))
            .collect::<Result<_>>()?;
        let width = input.width();
        if self.pipeline().len() == 1 && call.width == width && !call.options.normalize {
            embedder.embed(&prepared, rows, &mut cut)?;
            return Ok(truncated);
        }
        let mut sentences = vec![0f32; texts.len() * width];
        embedder.embed(&prepared, &mut sentences, &mut cut)?;
        let mut features = Features::new(Batch::new());
        features.task.clone_from(&call.options.task);
        features.sentence_embeddings = Some(Embeddings::new(sentences, texts.len(), width)?);
        let features = self.pipeline().after_input(features, &Pass::default())?;
        rows.copy_from_slice(self.finish(features, call.options)?.as_slice());
        Ok(truncated)
    }
}
