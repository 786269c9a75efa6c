//! Results of evaluations as tables, JSON and CSV.

use std::io::Write;
use std::path::Path;

use serde_json::{Map, Value, json};
use st_eval::Evaluation;

use crate::failure::{Failure, Result};
use crate::output::{RecordFormat, Records, Target};
use crate::render::{Align, Table, print};

/// The columns of the CSV.
const COLUMNS: &[&str] = &["evaluator", "name", "metric", "value", "primary"];

/// A metric a line; the primary one has a star.
pub(super) fn table(evaluations: &[Evaluation]) -> Result<()> {
    let mut out = String::new();
    for evaluation in evaluations {
        let mut table = Table::new(vec![Align::Left, Align::Right, Align::Left]);
        for (name, value) in &evaluation.metrics {
            let star = if *name == evaluation.primary_metric { "*" } else { "" };
            table.row(vec![name.clone(), format!("{value:.4}"), star.to_owned()]);
        }
        if !out.is_empty() {
            out.push('\n');
        }
        out.push_str(&table.lines());
    }
    print(&out)
}

pub(super) fn json(model: &str, evaluations: &[Evaluation]) -> Value {
    let one = |evaluation: &Evaluation| {
        // A number that is none has no JSON.
        let number = |value: f64| serde_json::Number::from_f64(value).map_or(Value::Null, Value::Number);
        let metrics: Map<String, Value> =
            evaluation.metrics.iter().map(|(name, value)| (name.clone(), number(*value))).collect();
        json!({
            "evaluator": evaluation.class_name,
            "name": evaluation.name,
            "primary_metric": evaluation.primary_metric,
            "score": evaluation.score().map(number),
            "metrics": metrics,
        })
    };
    json!({ "model": model, "evaluations": evaluations.iter().map(one).collect::<Vec<_>>() })
}

pub(super) fn csv(evaluations: &[Evaluation]) -> Result<()> {
    let mut records = Records::create(None, Some(RecordFormat::Csv), COLUMNS)?;
    for evaluation in evaluations {
        for (name, value) in &evaluation.metrics {
            records.write(vec![
                evaluation.class_name.into(),
                evaluation.name.as_str().into(),
                name.as_str().into(),
                json!(value),
                (*name == evaluation.primary_metric).into(),
            ])?;
        }
    }
    records.finish()
}

/// Writes a text file that appears whole or not at all; makes its folder.
pub(in crate::commands) fn write_whole(path: &Path, text: &str) -> Result<()> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).map_err(|error| Failure::path("make", folder, &error))?;
    }
    let mut target = Target::file(path, true)?;
    target.write_all(text.as_bytes()).map_err(|error| target.failed(&error))?;
    target.commit()
}
