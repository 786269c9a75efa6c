//! The original's LabelAccuracyEvaluator and SoftmaxLoss on fixed embeddings: same accuracy, same files.

#![expect(clippy::unwrap_used, reason = "fixtures that are not as expected fail the test")]

use std::fs;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;
use st_eval::{
    EmbedOptions, Embedder, Evaluator, LabelAccuracyEvaluator, Occasion, Result, Role, SentenceClassifier, SoftmaxHead,
};
use st_vectors::{Embeddings, SimilarityFunction};

fn rows(value: &Value) -> Embeddings {
    let number = |value: &Value| value.as_f64().unwrap() as f32;
    let row = |row: &Value| -> Vec<f32> { row.as_array().unwrap().iter().map(number).collect() };
    Embeddings::from_rows(value.as_array().unwrap().iter().map(row)).unwrap()
}

/// Takes `u7` for row 7 of `u`.
struct Lookup {
    u: Embeddings,
    v: Embeddings,
}

impl Embedder for Lookup {
    fn embed(&self, texts: &[&str], _: Role, _: &EmbedOptions<'_>) -> Result<Embeddings> {
        let row = |text: &&str| {
            let side = if text.starts_with('u') { &self.u } else { &self.v };
            side.row(text[1..].parse().unwrap())
        };
        Ok(Embeddings::from_rows(texts.iter().map(row))?)
    }

    fn similarity(&self) -> SimilarityFunction {
        SimilarityFunction::Cosine
    }
}

#[test]
fn accuracies_and_files_are_the_originals() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/label_accuracy.json");
    let golden: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let model = Lookup { u: rows(&golden["u"]), v: rows(&golden["v"]) };
    let labels: Vec<usize> =
        golden["labels"].as_array().unwrap().iter().map(|label| label.as_u64().unwrap() as usize).collect();
    let column = |side: &str| (0..labels.len()).map(|row| format!("{side}{row}")).collect::<Vec<_>>();
    let mut accuracies = Vec::new();
    for case in golden["cases"].as_array().unwrap() {
        let flag = |index: usize| case["flags"][index].as_bool().unwrap();
        let bias = case["bias"].as_array().unwrap().iter().map(|value| value.as_f64().unwrap() as f32).collect();
        let head = SoftmaxHead::new(rows(&case["weight"]), Some(bias)).unwrap().features(flag(0), flag(1), flag(2));
        let head: Arc<dyn SentenceClassifier> = Arc::new(head);
        let evaluator = LabelAccuracyEvaluator::new(vec![column("u"), column("v")], labels.clone(), head)
            .unwrap()
            .named(case["name"].as_str().unwrap());
        let folder = tempfile::tempdir().unwrap();
        let occasion = Occasion::new().output_path(folder.path()).epoch(1);
        let evaluation = evaluator.evaluate(&model, &occasion).unwrap();
        let (name, expected) = case["metrics"].as_object().unwrap().iter().next().unwrap();
        assert_eq!(evaluation.metrics, [(name.clone(), expected.as_f64().unwrap())]);
        assert_eq!(evaluation.primary_metric, case["primary_metric"].as_str().unwrap());
        for (file, expected) in case["files"].as_object().unwrap() {
            assert_eq!(fs::read_to_string(folder.path().join(file)).unwrap(), expected.as_str().unwrap(), "{file}");
        }
        accuracies.push(evaluation.score().unwrap());
    }
    assert!(accuracies.iter().any(|accuracy| *accuracy != accuracies[0]), "the cases differ: {accuracies:?}");
}
