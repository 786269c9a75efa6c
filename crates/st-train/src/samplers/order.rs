//! [`BatchOrder`]: a sampler with its generator, which can be stopped and taken up again anywhere.

use serde::{Deserialize, Serialize};

use crate::random::Generator;
use crate::{Result, TrainError};

use super::BatchSampler;

/// A sampler, its generator, and how far it is.
///
/// ```
/// use std::sync::Arc;
/// use st_train::data::Table;
/// use st_train::samplers::{BatchOrder, SamplerInput, batch_sampler};
///
/// let dataset = Arc::new(Table::new().column("text", ["a", "b", "c", "d", "e"])?);
/// let order = || {
///     let dataset = dataset.clone();
///     let input = SamplerInput { dataset, batch_size: 2, drop_last: false, label_columns: vec![], seed: Some(42) };
///     Ok::<_, st_train::TrainError>(BatchOrder::new((batch_sampler("batch_sampler")?.make)(input)?, 42))
/// };
/// let mut first = order()?;
/// first.start(3);
/// first.next_batch()?;
/// let mut second = order()?;
/// second.restore(&first.state())?;
/// assert_eq!(second.next_batch()?, first.next_batch()?);
/// # Ok::<(), st_train::TrainError>(())
/// ```
#[derive(Debug)]
pub struct BatchOrder {
    sampler: Box<dyn BatchSampler>,
    generator: Generator,
    epoch: u64,
    taken: usize,
}

/// Where a [`BatchOrder`] is: written into checkpoints.
///
/// ```
/// use st_train::random::Generator;
/// use st_train::samplers::OrderState;
/// let state = OrderState { epoch: 1, taken: 7, generator: Generator::new(42) };
/// let json = serde_json::to_string(&state)?;
/// assert_eq!(serde_json::from_str::<OrderState>(&json)?, state);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderState {
    /// The epoch.
    pub epoch: u64,
    /// Batches of this epoch that were taken.
    pub taken: usize,
    /// The generator after that.
    pub generator: Generator,
}

impl BatchOrder {
    /// A sampler with a generator of a seed, at the start of epoch 0.
    #[must_use]
    pub fn new(mut sampler: Box<dyn BatchSampler>, seed: u64) -> Self {
        sampler.start(0);
        Self { sampler, generator: Generator::new(seed), epoch: 0, taken: 0 }
    }

    /// How many batches an epoch is expected to have.
    #[must_use]
    pub fn batches(&self) -> usize {
        self.sampler.batches()
    }

    /// Batches of this epoch that were taken.
    #[must_use]
    pub fn taken(&self) -> usize {
        self.taken
    }

    /// Starts an epoch.
    pub fn start(&mut self, epoch: u64) {
        self.sampler.start(epoch);
        (self.epoch, self.taken) = (epoch, 0);
    }

    /// The rows of the next batch; `None` at the end of the epoch.
    ///
    /// # Errors
    /// When a row cannot be read.
    pub fn next_batch(&mut self) -> Result<Option<Vec<usize>>> {
        let batch = self.sampler.next_batch(&mut self.generator)?;
        self.taken += usize::from(batch.is_some());
        Ok(batch)
    }

    /// Where it is.
    #[must_use]
    pub fn state(&self) -> OrderState {
        OrderState { epoch: self.epoch, taken: self.taken, generator: self.generator.clone() }
    }

    /// Goes where another order of the same data, sampler and seed was.
    ///
    /// # Errors
    /// When it does not get there: the data or the sampler is another.
    pub fn restore(&mut self, state: &OrderState) -> Result<()> {
        self.start(state.epoch);
        if state.taken == 0 {
            self.generator = state.generator.clone();
            return Ok(());
        }
        for _ in 0..state.taken {
            if self.next_batch()?.is_none() {
                break;
            }
        }
        if self.state() == *state {
            return Ok(());
        }
        Err(TrainError::invalid(
            "the data cannot be taken up where it was left: the dataset, its sampler, the batch size or the seed has changed",
        ))
    }
}
