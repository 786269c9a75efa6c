//! [`GroupByLabelBatchSampler`].

use std::collections::HashMap;

use crate::data::{Cell, listed};
use crate::random::Generator;
use crate::{Result, TrainError};

use super::{BatchSampler, SamplerInput};

/// Batches of rows label by label, so that every label of a batch has at least two rows there; for the batch triplet
/// losses.
///
/// Of each label an even number of rows is kept; labels come in random order.
///
/// ```
/// use std::sync::Arc;
/// use st_train::data::Table;
/// use st_train::samplers::{GroupByLabelBatchSampler, SamplerInput};
///
/// let dataset = Arc::new(Table::new().column("text", ["a", "b"])?);
/// let label_columns = vec!["label".to_owned()];
/// let input = SamplerInput { dataset, batch_size: 2, drop_last: false, label_columns, seed: Some(0) };
/// let error = GroupByLabelBatchSampler::new(input).unwrap_err().to_string();
/// assert_eq!(error, "None of the valid_label_columns ['label'] are in the dataset, which only has these columns: ['text'].");
/// # Ok::<(), st_train::TrainError>(())
/// ```
#[derive(Debug)]
pub struct GroupByLabelBatchSampler {
    input: SamplerInput,
    /// Rows per label, in the order in which labels first occur.
    groups: Vec<Vec<usize>>,
    epoch: u64,
    progress: Option<Progress>,
}

#[derive(Debug)]
struct Progress {
    order: Vec<usize>,
    group: usize,
    partial: Vec<usize>,
}

impl GroupByLabelBatchSampler {
    /// A sampler of a dataset; reads all labels.
    ///
    /// # Errors
    /// For an odd batch size or 0, without a label column, or when rows cannot be read.
    pub fn new(input: SamplerInput) -> Result<Self> {
        input.check()?;
        if input.batch_size % 2 == 1 {
            return Err(TrainError::invalid("The batch size for `GroupByLabelBatchSampler` must be divisible by 2."));
        }
        let columns = input.dataset.columns();
        let place = input.label_columns.iter().find_map(|label| columns.iter().position(|column| column == label));
        let Some(place) = place else {
            return Err(TrainError::invalid(format!(
                "None of the valid_label_columns {} are in the dataset, which only has these columns: {}.",
                listed(&input.label_columns),
                listed(columns)
            )));
        };
        let mut groups: Vec<Vec<usize>> = Vec::new();
        let mut known: HashMap<String, usize> = HashMap::new();
        for index in 0..input.dataset.len() {
            let row = input.dataset.row(index)?;
            let group = *known.entry(key(&row[place])).or_insert_with(|| {
                groups.push(Vec::new());
                groups.len() - 1
            });
            groups[group].push(index);
        }
        groups.iter_mut().for_each(|group| group.truncate(group.len() / 2 * 2));
        groups.retain(|group| !group.is_empty());
        Ok(Self { input, groups, epoch: 0, progress: None })
    }
}

/// Numbers are equal whatever their kind.
fn key(cell: &Cell) -> String {
    cell.as_number().map_or_else(|| format!("text {cell}"), |number| number.to_string())
}

impl BatchSampler for GroupByLabelBatchSampler {
    fn batches(&self) -> usize {
        self.input.expected()
    }

    fn start(&mut self, epoch: u64) {
        (self.epoch, self.progress) = (epoch, None);
    }

    fn next_batch(&mut self, generator: &mut Generator) -> Result<Option<Vec<usize>>> {
        let progress = self.progress.get_or_insert_with(|| {
            self.input.seed(self.epoch, generator);
            Progress { order: generator.permutation(self.groups.len()), group: 0, partial: Vec::new() }
        });
        while progress.partial.len() < self.input.batch_size {
            let Some(&group) = progress.order.get(progress.group) else { break };
            progress.partial.extend(&self.groups[group]);
            progress.group += 1;
        }
        let size = progress.partial.len().min(self.input.batch_size);
        let batch: Vec<usize> = progress.partial.drain(..size).collect();
        let wanted = !batch.is_empty() && (batch.len() == self.input.batch_size || !self.input.drop_last);
        Ok(wanted.then_some(batch))
    }
}
