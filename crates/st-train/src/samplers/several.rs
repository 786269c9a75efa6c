//! Samplers that put the batches of several datasets together. Rows are counted through all datasets.

use crate::random::Generator;
use crate::{Result, TrainError};

use super::BatchSampler;

/// The samplers of the datasets, and where each dataset's rows start.
#[derive(Debug)]
struct Parts {
    samplers: Vec<Box<dyn BatchSampler>>,
    offsets: Vec<usize>,
    seed: u64,
    epoch: u64,
}

impl Parts {
    fn new(samplers: Vec<Box<dyn BatchSampler>>, rows: &[usize], seed: u64) -> Result<Self> {
        if samplers.len() != rows.len() || samplers.is_empty() {
            return Err(TrainError::invalid(
                "The number of batch samplers must match the number of datasets in the ConcatDataset.",
            ));
        }
        let offsets = rows
            .iter()
            .scan(0, |total, rows| {
                *total += rows;
                Some(*total - rows)
            })
            .collect();
        Ok(Self { samplers, offsets, seed, epoch: 0 })
    }

    /// The samplers always start at epoch 0, as the original never tells them another.
    fn start(&mut self, epoch: u64) {
        self.epoch = epoch;
        self.samplers.iter_mut().for_each(|sampler| sampler.start(0));
    }

    fn seed(&self, generator: &mut Generator) {
        generator.seed(self.seed.wrapping_add(self.epoch));
    }

    fn next_of(&mut self, dataset: usize, generator: &mut Generator) -> Result<Option<Vec<usize>>> {
        let batch = self.samplers[dataset].next_batch(generator)?;
        let offset = self.offsets[dataset];
        Ok(batch.map(|rows| rows.into_iter().map(|row| row + offset).collect()))
    }
}

/// One batch of each dataset in turn, until one is used up.
///
/// ```
/// use st_train::samplers::RoundRobinBatchSampler;
/// let error = RoundRobinBatchSampler::new(Vec::new(), vec![3], 42).unwrap_err().to_string();
/// assert_eq!(error, "The number of batch samplers must match the number of datasets in the ConcatDataset.");
/// ```
#[derive(Debug)]
pub struct RoundRobinBatchSampler {
    parts: Parts,
    turn: Option<usize>,
    ended: bool,
}

impl RoundRobinBatchSampler {
    /// The samplers of the datasets, their numbers of rows, and the seed to which the epoch is added.
    ///
    /// # Errors
    /// When there are not as many samplers as datasets.
    pub fn new(samplers: Vec<Box<dyn BatchSampler>>, rows: Vec<usize>, seed: u64) -> Result<Self> {
        Ok(Self { parts: Parts::new(samplers, &rows, seed)?, turn: None, ended: false })
    }
}

impl BatchSampler for RoundRobinBatchSampler {
    fn batches(&self) -> usize {
        let samplers = &self.parts.samplers;
        samplers.iter().map(|sampler| sampler.batches()).min().unwrap_or(0) * samplers.len()
    }

    fn start(&mut self, epoch: u64) {
        self.parts.start(epoch);
        (self.turn, self.ended) = (None, false);
    }

    fn next_batch(&mut self, generator: &mut Generator) -> Result<Option<Vec<usize>>> {
        if self.ended {
            return Ok(None);
        }
        let turn = self.turn.unwrap_or_else(|| {
            self.parts.seed(generator);
            0
        });
        let batch = self.parts.next_of(turn, generator)?;
        self.turn = Some((turn + 1) % self.parts.samplers.len());
        self.ended = batch.is_none();
        Ok(batch)
    }
}

/// Batches of datasets drawn at random, each as often as it has batches, until all are used up.
///
/// ```
/// use std::sync::Arc;
/// use st_train::data::Table;
/// use st_train::samplers::{BatchSampler, ProportionalBatchSampler, SamplerInput, SequentialBatchSampler};
///
/// let sampler = |texts: Vec<&str>| {
///     let dataset = Arc::new(Table::new().column("text", texts)?);
///     let input = SamplerInput { dataset, batch_size: 2, drop_last: false, label_columns: vec![], seed: None };
///     Ok::<_, st_train::TrainError>(Box::new(SequentialBatchSampler::new(input)?) as Box<dyn BatchSampler>)
/// };
/// let samplers = vec![sampler(vec!["a", "b", "c"])?, sampler(vec!["d"])?];
/// assert_eq!(ProportionalBatchSampler::new(samplers, vec![3, 1], 42)?.batches(), 3);
/// # Ok::<(), st_train::TrainError>(())
/// ```
#[derive(Debug)]
pub struct ProportionalBatchSampler {
    parts: Parts,
    /// Which dataset's turn it is, turn by turn; the next turn is at the end.
    turns: Option<Vec<usize>>,
}

impl ProportionalBatchSampler {
    /// The samplers of the datasets, their numbers of rows, and the seed to which the epoch is added.
    ///
    /// # Errors
    /// When there are not as many samplers as datasets.
    pub fn new(samplers: Vec<Box<dyn BatchSampler>>, rows: Vec<usize>, seed: u64) -> Result<Self> {
        Ok(Self { parts: Parts::new(samplers, &rows, seed)?, turns: None })
    }

    fn draw_turns(&self, generator: &mut Generator) -> Vec<usize> {
        self.parts.seed(generator);
        let batches = self.parts.samplers.iter().map(|sampler| sampler.batches()).enumerate();
        let datasets: Vec<usize> = batches.flat_map(|(index, count)| std::iter::repeat_n(index, count)).collect();
        let mut turns: Vec<usize> =
            generator.permutation(datasets.len()).into_iter().map(|turn| datasets[turn]).collect();
        turns.reverse();
        turns
    }
}

impl BatchSampler for ProportionalBatchSampler {
    fn batches(&self) -> usize {
        self.parts.samplers.iter().map(|sampler| sampler.batches()).sum()
    }

    fn start(&mut self, epoch: u64) {
        self.parts.start(epoch);
        self.turns = None;
    }

    fn next_batch(&mut self, generator: &mut Generator) -> Result<Option<Vec<usize>>> {
        let mut turns = match self.turns.take() {
            Some(turns) => turns,
            None => self.draw_turns(generator),
        };
        let mut batch = None;
        // A sampler may give fewer batches than it expected; its turns are then left out.
        while batch.is_none()
            && let Some(dataset) = turns.pop()
        {
            batch = self.parts.next_of(dataset, generator)?;
        }
        self.turns = Some(turns);
        Ok(batch)
    }
}
