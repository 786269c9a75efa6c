//! Evaluations: the loss on evaluation data, and evaluators.

use std::time::Instant;

use serde_json::{Map, Value};
use st_eval::Occasion;

use crate::data::{Collator, DataSource, Datasets};
use crate::loss::ObjectiveBatch;
use crate::model::{EmbeddingModel, TrainingPass};
use crate::state::{number, rounded};
use crate::{Result, TrainError};

use super::Setup;
use super::batches::{BatchSettings, Batches};
use super::progress::Sums;

/// Metrics of an evaluation and parts of its loss, which only the log has.
pub(super) struct Evaluated {
    pub(super) metrics: Map<String, Value>,
    pub(super) parts: Map<String, Value>,
}

/// Evaluates on all evaluation data; the metrics of several datasets one after the other.
pub(super) fn evaluate(model: &dyn EmbeddingModel, setup: &mut Setup) -> Result<Map<String, Value>> {
    let mut all = Map::new();
    for evaluated in evaluate_each(model, setup)? {
        all.extend(evaluated.metrics);
    }
    Ok(all)
}

/// Evaluates on each dataset. Evaluators run with the first.
pub(super) fn evaluate_each(model: &dyn EmbeddingModel, setup: &mut Setup) -> Result<Vec<Evaluated>> {
    let sources: Vec<(String, DataSource)> = match &setup.eval {
        None => Vec::new(),
        Some(data) => data.sources().into_iter().map(|(name, source)| (name.to_owned(), source.clone())).collect(),
    };
    let mut losses: Vec<(String, f64)> = Vec::new();
    let mut all = Vec::new();
    let count = sources.len().max(1);
    for index in 0..count {
        let start = Instant::now();
        let mut metrics = Map::new();
        let (mut parts, mut rows) = (Map::new(), 0);
        let prefix = match sources.get(index) {
            Some((name, _)) if !name.is_empty() => format!("eval_{name}"),
            _ => "eval".to_owned(),
        };
        if let Some((name, source)) = sources.get(index) {
            let (loss, sums, seen) = loss_on(model, setup, name, source)?;
            rows = seen;
            metrics.insert(format!("{prefix}_loss"), number(loss));
            losses.push((name.clone(), loss));
            for part in sums.parts {
                parts.insert(format!("eval_{}", part.name), number(rounded(part.mean(), 4)));
            }
        }
        if index == 0 {
            metrics.extend(run_evaluator(model, setup)?);
        }
        let elapsed = start.elapsed().as_secs_f64();
        metrics.insert(format!("{prefix}_runtime"), number(rounded(elapsed, 4)));
        if elapsed > 0.0 {
            let steps = rows.div_ceil(setup.arguments.per_device_eval_batch_size);
            #[expect(clippy::cast_precision_loss, reason = "counts")]
            for (name, count) in [("samples", rows as f64), ("steps", steps as f64)] {
                metrics.insert(format!("{prefix}_{name}_per_second"), number(rounded(count / elapsed, 3)));
            }
        }
        all.push(Evaluated { metrics, parts });
    }
    if !losses.is_empty() {
        let named: Vec<(&str, f64)> = losses.iter().map(|(name, loss)| (name.as_str(), *loss)).collect();
        let (epoch, step) = (setup.state.epoch, setup.state.global_step);
        setup.card.recorded.log_evaluation_losses(epoch, i64::try_from(step).unwrap_or(i64::MAX), &named);
    }
    Ok(all)
}

/// The mean loss of all rows, the sums of its parts, and the number of rows.
fn loss_on(model: &dyn EmbeddingModel, setup: &Setup, name: &str, source: &DataSource) -> Result<(f64, Sums, usize)> {
    let data = Datasets::Single(source.clone());
    let mut batches = Batches::new(&data, &BatchSettings::evaluation(setup))?;
    let mut collator = Collator::new(setup.arguments.prompts.clone(), setup.arguments.router_mapping.clone());
    let dataset = (!name.is_empty()).then_some(name);
    let objective = setup.losses()?.of(Some(name))?;
    let mut pass = TrainingPass::evaluation().with_autocast(setup.arguments.bf16);
    let mut sums = Sums::default();
    let (mut total, mut rows) = (0.0, 0usize);
    batches.start(0);
    let most = batches.len().unwrap_or(usize::MAX);
    for _ in 0..most {
        let Some(batch) = batches.next()? else { break };
        let batch = collator.collate(model, dataset, &batch.columns, batch.rows)?;
        let input = ObjectiveBatch { model, columns: &batch.columns, targets: &batch.targets };
        let parts = objective.forward(&input, &mut pass)?.detach().numbers()?;
        let loss: f64 = parts.iter().map(|(_, value)| value).sum();
        sums.add_parts(&parts);
        #[expect(clippy::cast_precision_loss, reason = "a number of rows")]
        {
            total += loss * batch.rows as f64;
        }
        rows += batch.rows;
    }
    if rows == 0 {
        return Err(TrainError::invalid(format!("the eval dataset {name} has no batch")));
    }
    #[expect(clippy::cast_precision_loss, reason = "a number of rows")]
    Ok((total / rows as f64, sums, rows))
}

fn run_evaluator(model: &dyn EmbeddingModel, setup: &mut Setup) -> Result<Map<String, Value>> {
    let mut metrics = Map::new();
    let Some(evaluator) = &setup.evaluator else { return Ok(metrics) };
    let folder = setup.arguments.output_dir.join("eval");
    std::fs::create_dir_all(&folder).map_err(TrainError::writing(&folder))?;
    let steps = i64::try_from(setup.state.global_step).unwrap_or(i64::MAX);
    let occasion = Occasion::new().output_path(&folder).epoch(setup.state.epoch).steps(steps);
    let library = model.sentence_transformer()?;
    let evaluation = evaluator.evaluate(&library, &occasion)?;
    evaluation.record(&mut setup.card.recorded, &occasion);
    for (name, value) in &evaluation.metrics {
        let name = if name.starts_with("eval_") { name.clone() } else { format!("eval_{name}") };
        metrics.insert(name, number(*value));
    }
    Ok(metrics)
}
