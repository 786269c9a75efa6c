//! [`SentenceLabelDataset`].

use std::collections::HashSet;

use crate::Result;
use crate::data::Cell;
use crate::random::Generator;
use crate::readers::InputExample;

use super::loaders::{ExampleLoader, LoaderKind, shuffle};

/// Examples label by label: some of one random label, then some of the next, so that batches have several of each; for the
/// batch triplet losses.
///
/// Labels with fewer examples than are drawn at once are left out.
///
/// ```
/// use st_train::fit::{ExampleLoader, SentenceLabelDataset};
/// use st_train::readers::InputExample;
///
/// let examples = [("a", 0), ("b", 1), ("c", 0), ("d", 1), ("e", 2)].map(|(text, label)| InputExample::new([text]).label(label));
/// let mut loader = SentenceLabelDataset::new(examples, 4, 42);
/// let batch = loader.next_batch()?.unwrap();
/// assert_eq!(batch[0].label, batch[1].label);
/// assert_eq!(batch[2].label, batch[3].label);
/// assert!(loader.next_batch()?.is_none()); // label 2 has one example only
/// # Ok::<(), st_train::TrainError>(())
/// ```
#[derive(Debug)]
pub struct SentenceLabelDataset {
    /// Examples by label.
    groups: Vec<Vec<InputExample>>,
    /// The order of the labels.
    order: Vec<usize>,
    samples_per_label: usize,
    with_replacement: bool,
    batch_size: usize,
    generator: Generator,
    place: usize,
    given: usize,
    seen: HashSet<(usize, usize)>,
}

impl SentenceLabelDataset {
    /// Examples with labels, two of a label at a time, in batches of `batch_size`.
    #[must_use]
    pub fn new(examples: impl IntoIterator<Item = InputExample>, batch_size: usize, seed: u64) -> Self {
        let mut labels: Vec<Cell> = Vec::new();
        let mut groups: Vec<Vec<InputExample>> = Vec::new();
        for example in examples {
            match labels.iter().position(|label| *label == example.label) {
                Some(group) => groups[group].push(example),
                None => {
                    labels.push(example.label.clone());
                    groups.push(vec![example]);
                }
            }
        }
        let mut dataset = Self {
            groups,
            order: Vec::new(),
            samples_per_label: 0,
            with_replacement: false,
            batch_size: batch_size.max(1),
            generator: Generator::new(seed),
            place: 0,
            given: 0,
            seen: HashSet::new(),
        };
        dataset.set_samples(2);
        dataset
    }

    /// Sets how many examples of a label follow each other.
    #[must_use]
    pub fn samples_per_label(mut self, samples: usize) -> Self {
        self.set_samples(samples.max(1));
        self
    }

    /// Sets whether an example may be drawn again in another turn of its label.
    #[must_use]
    pub fn with_replacement(mut self, again: bool) -> Self {
        self.with_replacement = again;
        self
    }

    fn set_samples(&mut self, samples: usize) {
        self.samples_per_label = samples;
        self.groups.retain(|group| group.len() >= samples);
        self.order = self.generator.permutation(self.groups.len());
    }

    fn examples(&self) -> usize {
        self.groups.iter().map(Vec::len).sum()
    }

    /// The examples of the next label; none where too few are left.
    fn draw(&mut self) -> Vec<InputExample> {
        let label = self.order[self.place];
        let group = &self.groups[label];
        let mut left: Vec<usize> =
            (0..group.len()).filter(|index| self.with_replacement || !self.seen.contains(&(label, *index))).collect();
        let mut drawn = Vec::new();
        if left.len() >= self.samples_per_label {
            shuffle(&mut left, &mut self.generator);
            left.truncate(self.samples_per_label);
            drawn.extend(left.iter().map(|&index| group[index].clone()));
            self.seen.extend(left.into_iter().map(|index| (label, index)));
        }
        self.place += 1;
        if self.place == self.order.len() {
            self.place = 0;
            self.seen.clear();
            shuffle(&mut self.order, &mut self.generator);
        }
        drawn
    }
}

impl ExampleLoader for SentenceLabelDataset {
    fn len(&self) -> usize {
        self.examples().div_ceil(self.batch_size)
    }

    fn batch_size(&self) -> usize {
        self.batch_size
    }

    fn kind(&self) -> LoaderKind {
        LoaderKind::LabelGroups
    }

    fn next_batch(&mut self) -> Result<Option<Vec<InputExample>>> {
        let total = self.examples();
        let mut batch = Vec::with_capacity(self.batch_size);
        while batch.len() < self.batch_size && self.given < total {
            let drawn = self.draw();
            self.given += drawn.len();
            batch.extend(drawn);
        }
        if batch.is_empty() {
            (self.given, self.place) = (0, 0);
            self.seen.clear();
            return Ok(None);
        }
        Ok(Some(batch))
    }
}
