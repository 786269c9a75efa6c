//! [`ExampleLoader`]: batches of examples.

use std::collections::HashSet;
use std::fmt::Debug;

use crate::random::Generator;
use crate::readers::InputExample;
use crate::{Result, TrainError};

/// What a loader says about how its examples want to be batched by [`fit`](super::fit).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoaderKind {
    /// Shuffled.
    Plain,
    /// No text twice in a batch.
    NoDuplicates,
    /// Label by label.
    LabelGroups,
}

/// Gives examples, batch by batch.
pub trait ExampleLoader: Debug + Send {
    /// Batches in a pass.
    fn len(&self) -> usize;

    /// Whether a pass has no batch.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Examples in a batch.
    fn batch_size(&self) -> usize;

    /// How its examples want to be batched.
    fn kind(&self) -> LoaderKind {
        LoaderKind::Plain
    }

    /// The next batch; `None` at the end of a pass, after which the next one begins.
    ///
    /// # Errors
    /// When examples cannot be made.
    fn next_batch(&mut self) -> Result<Option<Vec<InputExample>>>;
}

/// Batches of a list of examples, in their order or shuffled anew for each pass. The last batch of a pass may be smaller.
///
/// ```
/// use st_train::fit::{DataLoader, ExampleLoader};
/// use st_train::readers::InputExample;
///
/// let examples = ["a", "b", "c"].map(|text| InputExample::new([text]));
/// let mut loader = DataLoader::new(examples, 2);
/// assert_eq!((loader.len(), loader.next_batch()?.unwrap().len()), (2, 2));
/// assert_eq!(loader.next_batch()?.unwrap()[0].texts, ["c"]);
/// assert!(loader.next_batch()?.is_none());
/// # Ok::<(), st_train::TrainError>(())
/// ```
#[derive(Debug)]
pub struct DataLoader {
    examples: Vec<InputExample>,
    batch_size: usize,
    generator: Option<Generator>,
    order: Vec<usize>,
    taken: usize,
}

impl DataLoader {
    /// Batches of these examples, in their order.
    #[must_use]
    pub fn new(examples: impl IntoIterator<Item = InputExample>, batch_size: usize) -> Self {
        let examples: Vec<InputExample> = examples.into_iter().collect();
        Self { order: Vec::new(), examples, batch_size: batch_size.max(1), generator: None, taken: 0 }
    }

    /// Shuffles each pass, from a seed.
    #[must_use]
    pub fn shuffle(mut self, seed: u64) -> Self {
        self.generator = Some(Generator::new(seed));
        self
    }
}

impl ExampleLoader for DataLoader {
    fn len(&self) -> usize {
        self.examples.len().div_ceil(self.batch_size)
    }

    fn batch_size(&self) -> usize {
        self.batch_size
    }

    fn next_batch(&mut self) -> Result<Option<Vec<InputExample>>> {
        if self.taken == 0 {
            self.order = match &mut self.generator {
                Some(generator) => generator.permutation(self.examples.len()),
                None => (0..self.examples.len()).collect(),
            };
        }
        let end = (self.taken + self.batch_size).min(self.order.len());
        let batch: Vec<InputExample> =
            self.order[self.taken..end].iter().map(|&index| self.examples[index].clone()).collect();
        self.taken = if batch.is_empty() { 0 } else { end };
        Ok((!batch.is_empty()).then_some(batch))
    }
}

/// Batches in which no text occurs twice, whatever its case and the space around it. Examples are shuffled; each pass goes
/// on where the last one ended.
///
/// ```
/// use st_train::fit::{ExampleLoader, NoDuplicatesDataLoader};
/// use st_train::readers::InputExample;
///
/// let examples = ["cat", " CAT", "dog", "bird"].map(|text| InputExample::new([text]));
/// let mut loader = NoDuplicatesDataLoader::new(examples, 2, 42);
/// let batch = loader.next_batch()?.unwrap();
/// assert!(!batch.iter().all(|example| example.texts[0].to_lowercase().contains("cat")));
/// # Ok::<(), st_train::TrainError>(())
/// ```
#[derive(Debug)]
pub struct NoDuplicatesDataLoader {
    examples: Vec<InputExample>,
    batch_size: usize,
    generator: Generator,
    pointer: usize,
    given: usize,
}

impl NoDuplicatesDataLoader {
    /// Batches of these examples, shuffled from a seed.
    #[must_use]
    pub fn new(examples: impl IntoIterator<Item = InputExample>, batch_size: usize, seed: u64) -> Self {
        let mut loader = Self {
            examples: examples.into_iter().collect(),
            batch_size: batch_size.max(1),
            generator: Generator::new(seed),
            pointer: 0,
            given: 0,
        };
        shuffle(&mut loader.examples, &mut loader.generator);
        loader
    }
}

impl ExampleLoader for NoDuplicatesDataLoader {
    fn len(&self) -> usize {
        self.examples.len() / self.batch_size
    }

    fn batch_size(&self) -> usize {
        self.batch_size
    }

    fn kind(&self) -> LoaderKind {
        LoaderKind::NoDuplicates
    }

    fn next_batch(&mut self) -> Result<Option<Vec<InputExample>>> {
        if self.given == self.len() {
            self.given = 0;
            return Ok(None);
        }
        let (mut batch, mut seen) = (Vec::with_capacity(self.batch_size), HashSet::new());
        let mut skipped = 0;
        while batch.len() < self.batch_size {
            let example = &self.examples[self.pointer];
            let texts: Vec<String> = example.texts.iter().map(|text| text.trim().to_lowercase()).collect();
            if texts.iter().all(|text| !seen.contains(text)) {
                batch.push(example.clone());
                seen.extend(texts);
                skipped = 0;
            } else {
                skipped += 1;
                // The original would look for ever.
                if skipped > 2 * self.examples.len() {
                    return Err(TrainError::invalid(format!(
                        "a batch of {} examples without equal texts cannot be made of these {}: choose a smaller batch size",
                        self.batch_size,
                        self.examples.len()
                    )));
                }
            }
            self.pointer += 1;
            if self.pointer == self.examples.len() {
                self.pointer = 0;
                shuffle(&mut self.examples, &mut self.generator);
            }
        }
        self.given += 1;
        Ok(Some(batch))
    }
}

/// Puts items into random order.
pub(super) fn shuffle<T>(items: &mut Vec<T>, generator: &mut Generator) {
    let mut places: Vec<Option<T>> = items.drain(..).map(Some).collect();
    items.extend(generator.permutation(places.len()).into_iter().filter_map(|index| places[index].take()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shuffled_passes_have_every_example_once() {
        let examples: Vec<InputExample> = (0..7).map(|number| InputExample::new([number.to_string()])).collect();
        let mut loader = DataLoader::new(examples, 3).shuffle(1);
        let mut orders = Vec::new();
        for _ in 0..2 {
            let mut texts = Vec::new();
            while let Some(batch) = loader.next_batch().unwrap() {
                texts.extend(batch.into_iter().map(|example| example.texts[0].clone()));
            }
            orders.push(texts.clone());
            texts.sort();
            assert_eq!(texts, ["0", "1", "2", "3", "4", "5", "6"]);
        }
        assert_ne!(orders[0], orders[1]);
    }

    #[test]
    fn impossible_batches_are_refused() {
        let mut loader = NoDuplicatesDataLoader::new(["a", "A"].map(|text| InputExample::new([text])), 2, 1);
        assert!(loader.next_batch().unwrap_err().to_string().contains("choose a smaller batch size"));
    }
}
