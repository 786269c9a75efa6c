//! Which texts run together, and where.
//!
//! Texts are sorted by their number of tokens and cut into micro-batches of a few hundred tokens, small enough that a
//! micro-batch's activations stay in a core's own cache. Each thread takes the next micro-batch and runs the whole network
//! on it; nothing is shared between threads but the weights. When there is only one micro-batch, the threads share it
//! instead.

use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use st_encoder::{Batch, Pass};

use crate::input::AsInput;
use crate::module::ImageReader;
use crate::pipeline::Goal;
use crate::tokenizer::Tokens;
use crate::{Features, Image, Result, SentenceTransformer};

use super::EncodeOptions;
use super::tokens::PreparedPrompt;

/// Micro-batches get smaller towards the end, so that threads finish together, but not smaller than this.
const SMALLEST: usize = 32;

/// Indices of texts, and what the modules made of them, row by row.
type Done = (Vec<usize>, Features);

/// Cuts texts, given by their token counts in the order in which they run, into micro-batches.
fn plan(lengths: &[usize], micro_batch: usize, threads: usize, most_texts: Option<usize>) -> Vec<Range<usize>> {
    let most_texts = most_texts.unwrap_or(usize::MAX);
    let mut left: usize = lengths.iter().sum();
    let mut batches = Vec::new();
    let (mut start, mut tokens) = (0, 0);
    for (position, &length) in lengths.iter().enumerate() {
        let share = if threads > 1 { (left / (2 * threads)).max(SMALLEST) } else { usize::MAX };
        let full = tokens + length > micro_batch.min(share) || position - start >= most_texts;
        if position > start && full {
            batches.push(start..position);
            left -= tokens;
            (start, tokens) = (position, 0);
        }
        tokens += length;
    }
    if start < lengths.len() {
        batches.push(start..lengths.len());
    }
    batches
}

/// What of a call runs together: tokenised texts, and images, which are decoded when it is their turn.
#[derive(Debug)]
pub(crate) struct Window<'a> {
    /// Of each input; of images they are empty.
    texts: &'a [Tokens],
    /// The images with their indices.
    images: Vec<(usize, &'a Image)>,
    prompt: &'a PreparedPrompt,
    goal: Goal,
}

impl<'a> Window<'a> {
    /// Of inputs that were tokenised.
    pub(super) fn new<T: AsInput>(
        inputs: &'a [T],
        texts: &'a [Tokens],
        prompt: &'a PreparedPrompt,
        goal: Goal,
    ) -> Self {
        let image = |(index, input): (usize, &'a T)| Some((index, input.as_input().image()?));
        Self { texts, images: inputs.iter().enumerate().filter_map(image).collect(), prompt, goal }
    }

    /// The indices of the texts.
    fn texts(&self) -> Vec<usize> {
        let is_image = |index: &usize| self.images.binary_search_by_key(index, |(image, _)| *image).is_ok();
        (0..self.texts.len()).filter(|index| self.images.is_empty() || !is_image(index)).collect()
    }
}

/// One micro-batch.
enum MicroBatch {
    /// Places in the order of the texts.
    Texts(Range<usize>),
    /// Places in the list of images.
    Images(Range<usize>),
}

/// Cuts so many images into micro-batches.
fn plan_images(count: usize, rows: usize, micro_batch: usize, most: Option<usize>) -> Vec<MicroBatch> {
    let size = (micro_batch / rows.max(1)).clamp(1, most.unwrap_or(usize::MAX));
    (0..count).step_by(size).map(|start| MicroBatch::Images(start..(start + size).min(count))).collect()
}

impl SentenceTransformer {
    /// Runs the modules on the inputs of a window. The results come in any order, each with the indices of its inputs.
    pub(crate) fn run(
        &self,
        window: &Window<'_>,
        options: &EncodeOptions,
        report: &(dyn Fn(usize) + Sync),
    ) -> Result<Vec<Done>> {
        let Window { texts, images, prompt, goal } = window;
        let mut order = window.texts();
        order.sort_by_key(|&index| std::cmp::Reverse(texts[index].kept()));
        let lengths: Vec<usize> = order.iter().map(|&index| texts[index].kept()).collect();
        let threads = self.call_threads(options);
        let task = options.task.as_deref();
        let reader = self.pipeline().reader(task)?;
        let (micro_batch, most) = (reader.micro_batch(), options.checked_batch_size()?);
        let texts_first = plan(&lengths, micro_batch, threads, most).into_iter().map(MicroBatch::Texts);
        let pictures =
            reader.images().map_or(Vec::new(), |reader| plan_images(images.len(), reader.rows(), micro_batch, most));
        let batches: Vec<MicroBatch> = texts_first.chain(pictures).collect();
        let done = AtomicUsize::new(0);
        let run_one = |batch: &MicroBatch, pass: &Pass| -> Result<Done> {
            let (indices, mut features) = match (batch, reader.images()) {
                (MicroBatch::Images(range), Some(reader)) => image_features(reader, &images[range.clone()])?,
                (MicroBatch::Texts(range) | MicroBatch::Images(range), _) => {
                    let indices = order[range.clone()].to_vec();
                    let features = features_of(texts, &indices, prompt)?;
                    (indices, features)
                }
            };
            features.task = task.map(str::to_owned);
            let features = self.pipeline().forward(features, pass, *goal)?;
            report(done.fetch_add(indices.len(), Ordering::Relaxed) + indices.len());
            Ok((indices, features))
        };
        if threads == 1 {
            return batches.iter().map(|range| run_one(range, &Pass::default())).collect();
        }
        let pool = self.thread_pool()?;
        if let [only] = &batches[..] {
            let pass = Pass { threads, ..Pass::default() };
            return pool.install(|| Ok(vec![run_one(only, &pass)?]));
        }
        let next = AtomicUsize::new(0);
        let failed = AtomicBool::new(false);
        let results = Mutex::new(Vec::with_capacity(threads));
        pool.in_place_scope(|scope| {
            for _ in 0..threads.min(batches.len()) {
                scope.spawn(|_| {
                    let mut mine = Vec::new();
                    while !failed.load(Ordering::Relaxed)
                        && let Some(range) = batches.get(next.fetch_add(1, Ordering::Relaxed))
                    {
                        let result = run_one(range, &Pass::default());
                        failed.fetch_or(result.is_err(), Ordering::Relaxed);
                        mine.push(result);
                    }
                    results.lock().unwrap_or_else(std::sync::PoisonError::into_inner).append(&mut mine);
                });
            }
        });
        results.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner).into_iter().collect()
    }
}

fn features_of(texts: &[Tokens], indices: &[usize], prompt: &PreparedPrompt) -> Result<Features> {
    let tokens = indices.iter().map(|&index| texts[index].kept()).sum();
    let mut batch = Batch::with_capacity(indices.len(), tokens);
    for &index in indices {
        match texts[index].type_ids() {
            Some(types) => batch.push_with_types(texts[index].ids(), types)?,
            None => batch.push(texts[index].ids()),
        }
    }
    let mut features = Features::new(batch);
    features.prompt_length = prompt.length;
    Ok(features)
}

/// The indices of some images, and what is made of them before any module runs.
fn image_features(reader: &dyn ImageReader, images: &[(usize, &Image)]) -> Result<Done> {
    let mut batch = Batch::new();
    for (_, image) in images {
        reader.read(image, &mut batch)?;
    }
    Ok((images.iter().map(|(index, _)| *index).collect(), Features::new(batch)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn micro_batches_cover_every_text_once() {
        for threads in [1, 2, 8] {
            for most in [None, Some(1), Some(3)] {
                let lengths: Vec<usize> = (0..200).map(|i| 400 - 2 * i).collect();
                let batches = plan(&lengths, 256, threads, most);
                let mut at = 0;
                for range in &batches {
                    assert_eq!(range.start, at);
                    assert!(range.len() <= most.unwrap_or(usize::MAX));
                    let tokens: usize = lengths[range.clone()].iter().sum();
                    assert!(tokens <= 256 || range.len() == 1);
                    at = range.end;
                }
                assert_eq!(at, lengths.len());
            }
        }
        assert!(plan(&[], 256, 2, None).is_empty());
        assert_eq!(plan(&[0, 0, 0], 256, 1, None), vec![0..3]);
    }

    #[test]
    fn the_last_micro_batches_are_smaller() {
        let batches = plan(&[16; 64], 256, 2, None);
        assert!(batches.last().unwrap().len() < batches[0].len());
    }
}
