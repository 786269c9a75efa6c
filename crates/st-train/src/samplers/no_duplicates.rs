//! [`NoDuplicatesBatchSampler`].

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use crate::Result;
use crate::random::Generator;

use super::{BatchSampler, SamplerInput};

/// Shuffled batches in which no value occurs twice, whatever its column; for losses that take the other rows' texts as
/// negatives.
///
/// Rows that do not fit a batch wait for a later one. Values are compared by their texts; label columns do not count.
///
/// ```
/// use std::sync::Arc;
/// use st_train::data::Table;
/// use st_train::random::Generator;
/// use st_train::samplers::{BatchSampler, NoDuplicatesBatchSampler, SamplerInput};
///
/// let dataset = Arc::new(Table::new().column("a", ["x", "x", "y"])?.column("b", ["1", "2", "3"])?);
/// let input = SamplerInput { dataset, batch_size: 2, drop_last: false, label_columns: vec![], seed: Some(0) };
/// let mut sampler = NoDuplicatesBatchSampler::new(input)?;
/// sampler.start(0);
/// let mut batch = sampler.next_batch(&mut Generator::new(0))?.unwrap();
/// batch.sort_unstable();
/// assert!(batch == [0, 2] || batch == [1, 2]); // never the two x
/// # Ok::<(), st_train::TrainError>(())
/// ```
#[derive(Debug)]
pub struct NoDuplicatesBatchSampler {
    input: SamplerInput,
    epoch: u64,
    /// Hashes of each row's values, once they are known.
    values: Vec<Box<[u64]>>,
    /// The rows that wait, in order; `None` before the first batch.
    waiting: Option<Waiting>,
}

impl NoDuplicatesBatchSampler {
    /// A sampler of a dataset.
    ///
    /// # Errors
    /// For a batch size of 0.
    pub fn new(input: SamplerInput) -> Result<Self> {
        input.check()?;
        Ok(Self { input, epoch: 0, values: Vec::new(), waiting: None })
    }

    fn read_values(&self) -> Result<Vec<Box<[u64]>>> {
        let dataset = &self.input.dataset;
        let counts: Vec<bool> = dataset.columns().iter().map(|name| !self.input.label_columns.contains(name)).collect();
        let hash = |text: String| {
            // Always the same keys: a resumed run sees the same hashes.
            let mut hasher = DefaultHasher::new();
            text.hash(&mut hasher);
            hasher.finish()
        };
        (0..dataset.len())
            .map(|index| {
                let row = dataset.row(index)?;
                Ok(row
                    .iter()
                    .zip(&counts)
                    .filter(|(_, counts)| **counts)
                    .map(|(cell, _)| hash(cell.to_string()))
                    .collect())
            })
            .collect()
    }
}

impl BatchSampler for NoDuplicatesBatchSampler {
    fn batches(&self) -> usize {
        self.input.expected()
    }

    fn start(&mut self, epoch: u64) {
        (self.epoch, self.waiting) = (epoch, None);
    }

    fn next_batch(&mut self, generator: &mut Generator) -> Result<Option<Vec<usize>>> {
        if self.values.len() != self.input.dataset.len() {
            self.values = self.read_values()?;
        }
        let waiting = self.waiting.get_or_insert_with(|| {
            self.input.seed(self.epoch, generator);
            Waiting::new(generator.permutation(self.values.len()))
        });
        while !waiting.is_empty() {
            let (mut batch, mut seen) = (Vec::with_capacity(self.input.batch_size), HashSet::<u64>::new());
            waiting.take_some(|row| {
                if batch.len() == self.input.batch_size {
                    return Choice::Stop;
                }
                if self.values[row].iter().any(|value| seen.contains(value)) {
                    return Choice::Leave;
                }
                seen.extend(&self.values[row]);
                batch.push(row);
                Choice::Take
            });
            if batch.len() == self.input.batch_size || !self.input.drop_last {
                return Ok(Some(batch));
            }
        }
        Ok(None)
    }
}

/// A list of rows from which any can be taken.
#[derive(Debug)]
struct Waiting {
    order: Vec<usize>,
    /// Per place, the place of the next row that waits; the last entry is the end, and place 0 is before the first row.
    next: Vec<usize>,
}

enum Choice {
    Take,
    Leave,
    Stop,
}

impl Waiting {
    fn new(order: Vec<usize>) -> Self {
        let next = (1..=order.len() + 1).collect();
        Self { order, next }
    }

    fn is_empty(&self) -> bool {
        self.next[0] > self.order.len()
    }

    fn take_some(&mut self, mut choose: impl FnMut(usize) -> Choice) {
        let (mut before, mut place) = (0, self.next[0]);
        while place <= self.order.len() {
            match choose(self.order[place - 1]) {
                Choice::Stop => return,
                Choice::Leave => before = place,
                Choice::Take => self.next[before] = self.next[place],
            }
            place = self.next[place];
        }
    }
}
