//! [`Batches`]: batches of rows, from indexed datasets in a sampler's order, or from a stream.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::data::{Cell, DataSource, Dataset, Datasets, LABEL_COLUMNS, RowIterator, StreamedDataset};
use crate::samplers::{BatchOrder, OrderState, SamplerInput, batch_sampler, multi_dataset_batch_sampler};
use crate::{Result, TrainError, TrainingArguments};

use super::{SamplerFactory, Setup, SeveralFactory};

/// Rows of one dataset.
#[derive(Debug)]
pub(super) struct RowBatch {
    /// The dataset's name, where there are several.
    pub(super) dataset: Option<String>,
    pub(super) columns: Vec<String>,
    pub(super) rows: Vec<Vec<Cell>>,
}

/// Where batches come from.
pub(super) enum Batches {
    Indexed {
        parts: Vec<(Option<String>, Arc<dyn Dataset>)>,
        order: BatchOrder,
    },
    Streamed {
        source: Arc<dyn StreamedDataset>,
        batch_size: usize,
        drop_last: bool,
        rows: Option<RowIterator>,
        taken: usize,
    },
}

/// How far [`Batches`] are in an epoch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum BatchesState {
    Indexed(OrderState),
    Streamed { taken: usize },
}

/// Which batch size and samplers.
pub(super) struct BatchSettings<'a> {
    pub(super) arguments: &'a TrainingArguments,
    pub(super) batch_size: usize,
    pub(super) one: Option<&'a SamplerFactory>,
    pub(super) several: Option<&'a SeveralFactory>,
}

impl<'a> BatchSettings<'a> {
    pub(super) fn training(setup: &'a Setup) -> Self {
        Self { batch_size: setup.arguments.per_device_train_batch_size, ..Self::evaluation(setup) }
    }

    pub(super) fn evaluation(setup: &'a Setup) -> Self {
        Self {
            arguments: &setup.arguments,
            batch_size: setup.arguments.per_device_eval_batch_size,
            one: setup.batch_sampler.as_ref(),
            several: setup.multi_dataset_batch_sampler.as_ref(),
        }
    }
}

impl Batches {
    pub(super) fn new(data: &Datasets, settings: &BatchSettings<'_>) -> Result<Self> {
        let mut parts = Vec::new();
        for (name, source) in data.sources() {
            match source {
                DataSource::Indexed(dataset) => {
                    let name = matches!(data, Datasets::Named(_)).then(|| name.to_owned());
                    parts.push((name, Arc::clone(dataset)));
                }
                DataSource::Streamed(source) => return Ok(Self::streamed(source, settings)),
            }
        }
        let arguments = settings.arguments;
        let kind = batch_sampler(&arguments.batch_sampler)?;
        let one = |dataset: &Arc<dyn Dataset>, seed: Option<u64>| {
            let input = SamplerInput {
                dataset: Arc::clone(dataset),
                batch_size: settings.batch_size,
                drop_last: arguments.dataloader_drop_last,
                label_columns: LABEL_COLUMNS.map(String::from).to_vec(),
                seed,
            };
            settings.one.map_or_else(|| (kind.make)(input.clone()), |make| make(input.clone()))
        };
        let sampler = if let Datasets::Single(_) = data {
            let (_, dataset) = parts.first().ok_or_else(|| TrainError::invalid("there is no dataset"))?;
            one(dataset, kind.seed.or(arguments.data_seed).or(Some(arguments.seed)))?
        } else {
            let samplers = parts.iter().map(|(_, dataset)| one(dataset, kind.seed)).collect::<Result<Vec<_>>>()?;
            let rows: Vec<usize> = parts.iter().map(|(_, dataset)| dataset.len()).collect();
            match settings.several {
                Some(make) => make(samplers, rows, arguments.seed)?,
                None => {
                    let kind = multi_dataset_batch_sampler(&arguments.multi_dataset_batch_sampler)?;
                    (kind.make)(samplers, rows, arguments.seed)?
                }
            }
        };
        Ok(Self::Indexed { parts, order: BatchOrder::new(sampler, arguments.seed) })
    }

    fn streamed(source: &Arc<dyn StreamedDataset>, settings: &BatchSettings<'_>) -> Self {
        if settings.one.is_some() || settings.arguments.batch_sampler != "batch_sampler" {
            log::warn!("When using an IterableDataset, you cannot specify a batch sampler.");
        }
        Self::Streamed {
            source: Arc::clone(source),
            batch_size: settings.batch_size,
            drop_last: settings.arguments.dataloader_drop_last,
            rows: None,
            taken: 0,
        }
    }

    /// Batches in an epoch, where the number is known.
    pub(super) fn len(&self) -> Option<usize> {
        match self {
            Self::Indexed { order, .. } => Some(order.batches()),
            Self::Streamed { .. } => None,
        }
    }

    /// Rows of all datasets, where the number is known.
    pub(super) fn rows(&self) -> Option<usize> {
        match self {
            Self::Indexed { parts, .. } => Some(parts.iter().map(|(_, dataset)| dataset.len()).sum()),
            Self::Streamed { .. } => None,
        }
    }

    pub(super) fn start(&mut self, epoch: u64) {
        match self {
            Self::Indexed { order, .. } => order.start(epoch),
            Self::Streamed { rows, taken, .. } => (*rows, *taken) = (None, 0),
        }
    }

    pub(super) fn next(&mut self) -> Result<Option<RowBatch>> {
        match self {
            Self::Indexed { parts, order } => {
                let Some(indices) = order.next_batch()? else { return Ok(None) };
                let mut first = indices.first().copied().unwrap_or(0);
                let (mut offset, mut part) = (0, None);
                for (name, dataset) in parts.iter() {
                    if first < dataset.len() {
                        part = Some((name, dataset));
                        break;
                    }
                    first -= dataset.len();
                    offset += dataset.len();
                }
                let (name, dataset) =
                    part.ok_or_else(|| TrainError::invalid("a batch sampler gave a row that no dataset has"))?;
                let row = |index: usize| match index.checked_sub(offset) {
                    Some(index) => dataset.row(index),
                    None => Err(TrainError::invalid("a batch sampler mixed rows of two datasets in a batch")),
                };
                let rows = indices.into_iter().map(row).collect::<Result<Vec<_>>>()?;
                Ok(Some(RowBatch { dataset: name.clone(), columns: dataset.columns().to_vec(), rows }))
            }
            Self::Streamed { source, batch_size, drop_last, rows: iterator, taken } => {
                let iterator = match iterator {
                    Some(iterator) => iterator,
                    None => iterator.insert(source.rows()?),
                };
                let rows = iterator.by_ref().take(*batch_size).collect::<Result<Vec<_>>>()?;
                if rows.is_empty() || (*drop_last && rows.len() < *batch_size) {
                    return Ok(None);
                }
                *taken += 1;
                Ok(Some(RowBatch { dataset: None, columns: source.columns().to_vec(), rows }))
            }
        }
    }

    pub(super) fn state(&self) -> BatchesState {
        match self {
            Self::Indexed { order, .. } => BatchesState::Indexed(order.state()),
            Self::Streamed { taken, .. } => BatchesState::Streamed { taken: *taken },
        }
    }

    pub(super) fn restore(&mut self, state: &BatchesState) -> Result<()> {
        match (&mut *self, state) {
            (Self::Indexed { order, .. }, BatchesState::Indexed(state)) => order.restore(state),
            (Self::Streamed { .. }, BatchesState::Streamed { taken: wanted }) => {
                self.start(0);
                for _ in 0..*wanted {
                    if self.next()?.is_none() {
                        return Err(TrainError::invalid(
                            "the stream has fewer rows than before: its source has changed",
                        ));
                    }
                }
                Ok(())
            }
            _ => Err(TrainError::invalid("the checkpoint is of another kind of dataset: streamed or not")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{FileDataset, Table};

    fn settings(arguments: &TrainingArguments) -> BatchSettings<'_> {
        BatchSettings { arguments, batch_size: 3, one: None, several: None }
    }

    fn table(prefix: &str, rows: usize) -> Table {
        Table::new().column("text", (0..rows).map(|row| format!("{prefix}{row}"))).unwrap()
    }

    #[test]
    fn batches_know_their_dataset() {
        let arguments = TrainingArguments::default();
        let data = Datasets::from(vec![("x", table("x", 7)), ("y", table("y", 4))]);
        let mut batches = Batches::new(&data, &settings(&arguments)).unwrap();
        assert_eq!((batches.len(), batches.rows()), (Some(5), Some(11)));
        batches.start(1);
        let mut seen = Vec::new();
        while let Some(batch) = batches.next().unwrap() {
            for row in batch.rows {
                let text = row[0].as_text().unwrap().to_owned();
                assert!(text.starts_with(batch.dataset.as_deref().unwrap()), "{text}");
                seen.push(text);
            }
        }
        seen.sort();
        assert_eq!(seen.len(), 11);
        seen.dedup();
        assert_eq!(seen.len(), 11);
    }

    #[test]
    fn a_stream_is_taken_up_where_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.tsv");
        std::fs::write(&path, "text\na\nb\nc\nd\ne\nf\ng\n").unwrap();
        let arguments = TrainingArguments::default();
        let data = FileDataset::open(&path).unwrap().streamed();
        let new = || Batches::new(&data, &settings(&arguments)).unwrap();
        let (mut first, mut second) = (new(), new());
        first.next().unwrap();
        first.next().unwrap();
        second.restore(&first.state()).unwrap();
        assert_eq!(second.next().unwrap().unwrap().rows, [[Cell::from("g")]]);
        assert!(second.next().unwrap().is_none());
        assert!(new().restore(&BatchesState::Streamed { taken: 4 }).is_err());
    }
}
