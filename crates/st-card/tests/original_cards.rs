//! The cards that the original wrote for the facts beside them, byte for byte.

use serde::Deserialize;
use st_card::{Column, DatasetFacts, EvaluationFacts, LossFacts, ModelCardData, ModelFacts, Scalar};
use std::collections::HashMap;
use std::path::Path;

#[derive(Deserialize)]
struct Case {
    data: ModelCardData,
    model: ModelFacts,
    train: Vec<Dataset>,
    eval: Vec<Dataset>,
    losses: Vec<LossFacts>,
    evaluations: Vec<(EvaluationFacts, Scalar, i64)>,
}

#[derive(Deserialize)]
struct Dataset {
    facts: DatasetFacts,
    columns: Vec<Column>,
    token_lengths: HashMap<String, Vec<usize>>,
}

impl Dataset {
    fn describe(self) -> DatasetFacts {
        let rows = self.columns[0].1.len() as u64;
        let lengths = |texts: &[&str]| {
            let (name, _) = self.columns.iter().find(|(_, values)| values[..texts.len()] == *texts)?;
            self.token_lengths.get(name).cloned()
        };
        self.facts.describe(rows, &self.columns, lengths)
    }
}

fn check(name: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cards");
    let json = std::fs::read_to_string(folder.join(format!("{name}.json"))).expect("facts");
    let expected = std::fs::read_to_string(folder.join(format!("{name}.md"))).expect("card");
    let case: Case = serde_json::from_str(&json).expect("facts of our types");

    let mut data = case.data;
    data.register_model(&case.model);
    if !case.train.is_empty() {
        data.set_train_datasets(case.train.into_iter().map(Dataset::describe).collect());
    }
    data.set_eval_datasets(case.eval.into_iter().map(Dataset::describe).collect());
    if !case.losses.is_empty() {
        data.set_losses(&case.losses);
    }
    for (evaluation, epoch, step) in case.evaluations {
        data.set_evaluation_metrics(evaluation, epoch, step);
    }
    let card = data.render(&case.model).expect("a card");
    for (number, (ours, theirs)) in card.split('\n').zip(expected.split('\n')).enumerate() {
        assert_eq!(ours, theirs, "{name}.md, line {}", number + 1);
    }
    assert_eq!(card, expected, "{name}.md");
}

#[test]
fn a_fresh_model() {
    check("fresh");
}

#[test]
fn a_retrieval_model_with_prompts() {
    check("retrieval");
}

#[test]
fn a_static_model_compared_by_dot_product() {
    check("static");
}

#[test]
fn a_model_described_by_hand() {
    check("described");
}

#[test]
fn hostile_texts() {
    check("hostile");
}

#[test]
fn results_of_several_evaluators() {
    check("evaluated");
}

#[test]
fn a_trained_model() {
    check("trained");
}

#[test]
fn many_datasets_and_long_logs() {
    check("folded");
}

#[test]
fn one_dataset_and_one_log_line() {
    check("single");
}

#[test]
fn long_logs_with_a_best_step() {
    check("long-logs");
}
