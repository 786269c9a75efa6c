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

use crate::pipeline::Goal;
use crate::tokenizer::Tokens;
use crate::{Features, Result, SentenceTransformer};

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

impl SentenceTransformer {
    /// Runs the modules on tokenised texts. The results come in any order, each with the indices of its texts.
    pub(crate) fn run(
        &self,
        texts: &[Tokens],
        prompt: &PreparedPrompt,
        options: &EncodeOptions,
        goal: Goal,
        report: &(dyn Fn(usize) + Sync),
    ) -> Result<Vec<Done>> {
        let mut order: Vec<usize> = (0..texts.len()).collect();
        order.sort_by_key(|&index| std::cmp::Reverse(texts[index].kept()));
        let lengths: Vec<usize> = order.iter().map(|&index| texts[index].kept()).collect();
        let threads = self.call_threads(options);
        let task = options.task.as_deref();
        let micro_batch = self.pipeline().reader(task)?.micro_batch();
        let batches = plan(&lengths, micro_batch, threads, options.checked_batch_size()?);
        let done = AtomicUsize::new(0);
        let run_one = |range: &Range<usize>, pass: &Pass| -> Result<Done> {
            let indices = order[range.clone()].to_vec();
            let mut features = features_of(texts, &indices, prompt)?;
            features.task = task.map(str::to_owned);
            let features = self.pipeline().forward(features, pass, goal)?;
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
