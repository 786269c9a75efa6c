//! [`Card`]: what a model card tells about a training run.

use serde_json::Value;
use st_card::{DatasetFacts, EvaluationFacts, LogLine, LossFacts, ModelCardData};

use crate::data::Datasets;
use crate::model::EmbeddingModel;
use crate::{Result, TrainError};

use super::Setup;

/// Rows that statistics look at.
const STATISTICS_ROWS: usize = 1000;

/// What is known of the run so far.
#[derive(Debug, Clone, Default)]
pub(crate) struct Card {
    /// Whether anything was trained.
    trained: bool,
    train: Vec<DatasetFacts>,
    eval: Vec<DatasetFacts>,
    losses: Vec<LossFacts>,
    /// Logs and evaluations, as the card's own data collects them.
    pub(super) recorded: ModelCardData,
}

impl Card {
    /// Looks at datasets and losses.
    pub(super) fn begin(model: &dyn EmbeddingModel, setup: &Setup) -> Result<Self> {
        let mut card = Self { trained: true, recorded: setup.card.recorded.clone(), ..Self::default() };
        let losses = setup.losses()?;
        card.losses = losses.all().into_iter().map(|(_, loss)| loss.facts()).collect();
        for (data, facts) in [(&setup.train, &mut card.train), (&setup.eval, &mut card.eval)] {
            if let Some(data) = data {
                *facts = describe(model, setup, data)?;
            }
        }
        Ok(card)
    }

    /// Takes up what a checkpoint kept.
    pub(super) fn restore(&mut self, logs: Vec<LogLine>, evaluations: Vec<EvaluationFacts>) {
        (self.recorded.training_logs, self.recorded.evaluations) = (logs, evaluations);
    }

    /// Adds what is known to a model's card data.
    pub(super) fn apply(&self, setup: &Setup, data: &mut ModelCardData) -> Result<()> {
        if !self.trained {
            return Ok(());
        }
        data.set_trained();
        data.set_losses(&self.losses);
        data.set_train_datasets(self.train.clone());
        if !self.eval.is_empty() {
            data.set_eval_datasets(self.eval.clone());
        }
        data.training_logs.clone_from(&self.recorded.training_logs);
        data.best_model_step = self.recorded.best_model_step;
        for evaluation in &self.recorded.evaluations {
            match data.evaluations.iter_mut().find(|own| {
                (&own.class_name, &own.name, &own.config)
                    == (&evaluation.class_name, &evaluation.name, &evaluation.config)
            }) {
                Some(own) => own.clone_from(evaluation),
                None => data.evaluations.push(evaluation.clone()),
            }
        }
        // Where files are is nobody's business.
        let keep = |(name, _): &(String, Value)| name != "output_dir" && name != "resume_from_checkpoint";
        data.non_default_hyperparameters = setup.arguments.changed()?.into_iter().filter(keep).collect();
        data.all_hyperparameters = setup.arguments.to_map()?.into_iter().filter(keep).collect();
        Ok(())
    }
}

/// The facts of each dataset: rows, columns, statistics, samples, loss.
fn describe(model: &dyn EmbeddingModel, setup: &Setup, data: &Datasets) -> Result<Vec<DatasetFacts>> {
    let losses = setup.losses()?;
    let mut all = Vec::new();
    for (name, source) in data.sources() {
        let rows = source.first_rows(STATISTICS_ROWS)?;
        let columns: Vec<(String, Vec<Value>)> = source
            .columns()
            .iter()
            .enumerate()
            .map(|(index, column)| {
                let value = |row: &Vec<crate::data::Cell>| {
                    serde_json::to_value(&row[index])
                        .map_err(|error| TrainError::invalid(format!("a value cannot be shown in the card: {error}")))
                };
                Ok((column.clone(), rows.iter().map(value).collect::<Result<_>>()?))
            })
            .collect::<Result<_>>()?;
        let lengths = |texts: &[&str]| {
            let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
            let column = model.tokenize(&texts, None, None).ok()?;
            Some(column.batch().offsets().windows(2).map(|pair| pair[1] - pair[0]).collect())
        };
        let mut facts = DatasetFacts { name: (!name.is_empty()).then(|| name.to_owned()), ..DatasetFacts::default() }
            .describe(source.len().unwrap_or(0) as u64, &columns, lengths)
            .loss(losses.of(Some(name))?.facts());
        if source.len().is_none() {
            facts.size = None;
        }
        for (index, statistics) in facts.statistics.iter_mut().enumerate() {
            let mut images = rows.iter().map(|row| row[index].as_image().is_some());
            if images.next() == Some(true) {
                (statistics.kind, statistics.details) = ("PIL.Image.Image".to_owned(), Vec::new());
            } else if images.any(|is_image| is_image) {
                statistics.details = Vec::new();
            }
        }
        all.push(facts);
    }
    Ok(all)
}
