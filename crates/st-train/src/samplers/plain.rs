//! Samplers that cut one order of all rows into batches.

use crate::Result;
use crate::random::Generator;

use super::{BatchSampler, SamplerInput};

/// Shuffled batches: `torch.randperm` of all rows, cut into batches.
///
/// ```
/// use std::sync::Arc;
/// use st_train::data::Table;
/// use st_train::random::Generator;
/// use st_train::samplers::{BatchSampler, SamplerInput, ShuffledBatchSampler};
///
/// let dataset = Arc::new(Table::new().column("text", ["a", "b", "c", "d", "e", "f", "g"])?);
/// let input = SamplerInput { dataset, batch_size: 4, drop_last: false, label_columns: vec![], seed: Some(42) };
/// let mut sampler = ShuffledBatchSampler::new(input)?;
/// sampler.start(0);
/// let mut generator = Generator::new(0);
/// assert_eq!(sampler.next_batch(&mut generator)?, Some(vec![1, 6, 3, 5])); // torch.randperm(7) with seed 42
/// # Ok::<(), st_train::TrainError>(())
/// ```
#[derive(Debug)]
pub struct ShuffledBatchSampler {
    input: SamplerInput,
    epoch: u64,
    order: Option<Vec<usize>>,
    taken: usize,
}

impl ShuffledBatchSampler {
    /// A sampler of a dataset.
    ///
    /// # Errors
    /// For a batch size of 0.
    pub fn new(input: SamplerInput) -> Result<Self> {
        input.check()?;
        Ok(Self { input, epoch: 0, order: None, taken: 0 })
    }
}

impl BatchSampler for ShuffledBatchSampler {
    fn batches(&self) -> usize {
        self.input.expected()
    }

    fn start(&mut self, epoch: u64) {
        (self.epoch, self.order, self.taken) = (epoch, None, 0);
    }

    fn next_batch(&mut self, generator: &mut Generator) -> Result<Option<Vec<usize>>> {
        let Self { input, epoch, order, taken } = self;
        let order = order.get_or_insert_with(|| {
            input.seed(*epoch, generator);
            generator.permutation(input.dataset.len())
        });
        let rest = &order[*taken..];
        let batch = &rest[..rest.len().min(input.batch_size)];
        *taken += batch.len();
        let wanted = !batch.is_empty() && (batch.len() == input.batch_size || !input.drop_last);
        Ok(wanted.then(|| batch.to_vec()))
    }
}

/// Batches of rows in the dataset's own order.
///
/// ```
/// use std::sync::Arc;
/// use st_train::data::Table;
/// use st_train::random::Generator;
/// use st_train::samplers::{BatchSampler, SamplerInput, SequentialBatchSampler};
///
/// let dataset = Arc::new(Table::new().column("text", ["a", "b", "c"])?);
/// let input = SamplerInput { dataset, batch_size: 2, drop_last: true, label_columns: vec![], seed: None };
/// let mut sampler = SequentialBatchSampler::new(input)?;
/// sampler.start(0);
/// let mut generator = Generator::new(0);
/// assert_eq!(sampler.next_batch(&mut generator)?, Some(vec![0, 1]));
/// assert_eq!(sampler.next_batch(&mut generator)?, None);
/// # Ok::<(), st_train::TrainError>(())
/// ```
#[derive(Debug)]
pub struct SequentialBatchSampler {
    input: SamplerInput,
    taken: usize,
}

impl SequentialBatchSampler {
    /// A sampler of a dataset.
    ///
    /// # Errors
    /// For a batch size of 0.
    pub fn new(input: SamplerInput) -> Result<Self> {
        input.check()?;
        Ok(Self { input, taken: 0 })
    }
}

impl BatchSampler for SequentialBatchSampler {
    fn batches(&self) -> usize {
        self.input.expected()
    }

    fn start(&mut self, _: u64) {
        self.taken = 0;
    }

    fn next_batch(&mut self, _: &mut Generator) -> Result<Option<Vec<usize>>> {
        let end = (self.taken + self.input.batch_size).min(self.input.dataset.len());
        let batch: Vec<usize> = (self.taken..end).collect();
        self.taken = end;
        let wanted = !batch.is_empty() && (batch.len() == self.input.batch_size || !self.input.drop_last);
        Ok(wanted.then_some(batch))
    }
}
