//! `fit` and `old_fit`: examples in, a better model out; evaluations, saving, checkpoints, messages.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::path::Path;
use std::sync::{Arc, Mutex};

use sentence_transformers::SentenceTransformer;
use st_eval::EmbeddingSimilarityEvaluator;
use st_train::fit::{DataLoader, FitObjective, FitOptions, NoDuplicatesDataLoader, SentenceLabelDataset, fit, old_fit};
use st_train::losses::{BatchAllTripletLoss, CosineSimilarityLoss, MultipleNegativesRankingLoss};
use st_train::model::{EmbeddingModel, TrainableModel};
use st_train::readers::InputExample;

use common::tiny_model;

fn examples(count: usize) -> Vec<InputExample> {
    let words = ["cat", "dog", "sunny", "stadium", "weather", "drove", "mat"];
    let text = |number: usize| format!("the {} {}", words[number % 7], words[number / 7 % 7]);
    (0..count).map(|n| InputExample::new([text(n), text(n * 5 + 3)]).label((n % 4) as f64 / 4.0)).collect()
}

fn evaluator() -> EmbeddingSimilarityEvaluator {
    let (first, second, scores) = examples(16).into_iter().fold((vec![], vec![], vec![]), |mut all, example| {
        all.0.push(example.texts[0].clone());
        all.1.push(example.texts[1].clone());
        all.2.push(example.label.as_number().unwrap());
        all
    });
    EmbeddingSimilarityEvaluator::new(first, second, scores).unwrap().named("dev")
}

/// Score, epoch and step of each evaluation.
type Scores = Arc<Mutex<Vec<(f64, f64, i64)>>>;

/// Options that keep scores in a list.
fn options(folder: &Path) -> (FitOptions, Scores) {
    let scores = Scores::default();
    let kept = Arc::clone(&scores);
    let options = FitOptions::new()
        .epochs(2)
        .warmup_steps(2)
        .learning_rate(2e-3)
        .show_progress_bar(false)
        .evaluator(evaluator())
        .output_path(Some(folder.join("best")))
        .callback(move |score, epoch, steps| kept.lock().unwrap().push((score, epoch, steps)));
    (options, scores)
}

fn embedding(model: &dyn EmbeddingModel) -> Vec<f32> {
    model.sentence_transformer().unwrap().encode(&["the sunny stadium"]).unwrap().as_slice().to_vec()
}

fn loaded(folder: &Path) -> SentenceTransformer {
    SentenceTransformer::load(folder.to_str().unwrap()).unwrap()
}

#[test]
fn fit_trains_evaluates_and_saves_the_best() {
    let folder = tempfile::tempdir().unwrap();
    let model = tiny_model("tiny-bert", 0.1);
    let before = embedding(&model);
    let (options, scores) = options(folder.path());
    let objective = FitObjective::new(DataLoader::new(examples(24), 8).shuffle(1), CosineSimilarityLoss::new());
    let outcome =
        fit(&model, vec![objective], options.checkpoint_path(Some(folder.path().join("checkpoints")))).unwrap();
    assert_eq!(outcome.global_step, 6);
    assert_ne!(before, embedding(&model));
    let scores = scores.lock().unwrap();
    let places: Vec<(f64, i64)> = scores.iter().map(|(_, epoch, steps)| (*epoch, *steps)).collect();
    assert_eq!(places, [(1.0, 3), (2.0, 6)]);
    assert!(folder.path().join("best/eval/similarity_evaluation_dev_results.csv").is_file());
    loaded(&folder.path().join("best"));
    assert!(folder.path().join("checkpoints/checkpoint-6").is_dir());
}

#[test]
fn fit_takes_objectives_in_turn_and_saves_the_last_without_an_evaluator() {
    let folder = tempfile::tempdir().unwrap();
    let model = tiny_model("tiny-bert", 0.1);
    let pairs = |count: usize| -> Vec<InputExample> {
        (0..count).map(|n| InputExample::new([format!("cat {n}"), format!("dog {n}")])).collect()
    };
    let objectives = vec![
        FitObjective::new(NoDuplicatesDataLoader::new(pairs(12), 4, 1), MultipleNegativesRankingLoss::new()),
        FitObjective::new(NoDuplicatesDataLoader::new(pairs(9), 4, 2), MultipleNegativesRankingLoss::new()),
    ];
    let options = FitOptions::new()
        .warmup_steps(0)
        .show_progress_bar(false)
        .steps_per_epoch(Some(5))
        .checkpoint_path(Some(folder.path().join("checkpoints")))
        .output_path(Some(folder.path().join("last")));
    assert_eq!(fit(&model, objectives, options).unwrap().global_step, 5);
    let saved = loaded(&folder.path().join("last")).encode(&["the sunny stadium"]).unwrap();
    assert_eq!(saved.as_slice(), embedding(&model));
}

#[test]
fn fit_resumes() {
    let folder = tempfile::tempdir().unwrap();
    let run = |epochs: usize, checkpoints: &str, resume: bool| {
        let model = tiny_model("tiny-bert", 0.1);
        let objective = FitObjective::new(DataLoader::new(examples(24), 8), CosineSimilarityLoss::new());
        let options = FitOptions::new()
            .epochs(epochs)
            .scheduler("constantlr")
            .show_progress_bar(false)
            .checkpoint_path(Some(folder.path().join(checkpoints)))
            .checkpoint_save_steps(3)
            .resume_from_checkpoint(resume);
        fit(&model, vec![objective], options).unwrap();
        embedding(&model)
    };
    let whole = run(2, "whole", false);
    run(1, "parts", false);
    assert_eq!(run(2, "parts", true), whole);
}

#[test]
fn old_fit_has_its_own_loop() {
    let folder = tempfile::tempdir().unwrap();
    let model: TrainableModel = tiny_model("tiny-bert", 0.1);
    let before = embedding(&model);
    let (options, scores) = options(folder.path());
    let labelled: Vec<InputExample> =
        (0..12).map(|n| InputExample::new([format!("cat {n}")]).label(n as i64 % 3)).collect();
    let objectives = vec![
        FitObjective::new(DataLoader::new(examples(24), 8), CosineSimilarityLoss::new()),
        FitObjective::new(SentenceLabelDataset::new(labelled, 6, 3), BatchAllTripletLoss::new()),
    ];
    let checkpoints = folder.path().join("checkpoints");
    let options = options
        .evaluation_steps(1)
        .checkpoint_path(Some(checkpoints.clone()))
        .checkpoint_save_steps(1)
        .checkpoint_save_total_limit(2);
    assert_eq!(old_fit(&model, objectives, options).unwrap(), 4); // two batches in the shorter loader, two epochs
    assert_ne!(before, embedding(&model));
    let places: Vec<(f64, i64)> = scores.lock().unwrap().iter().map(|(_, epoch, steps)| (*epoch, *steps)).collect();
    assert_eq!(places, [(0.0, 1), (0.0, 2), (0.0, -1), (1.0, 1), (1.0, 2), (1.0, -1)]);
    let mut kept: Vec<String> = std::fs::read_dir(&checkpoints)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    kept.sort();
    assert_eq!(kept, ["3", "4"]);
}

#[test]
fn options_that_nothing_would_follow_are_refused() {
    let model = tiny_model("tiny-bert", 0.1);
    let objective = || vec![FitObjective::new(DataLoader::new(examples(4), 2), CosineSimilarityLoss::new())];
    let error = fit(&model, objective(), FitOptions::new().scheduler("Steps")).unwrap_err().to_string();
    assert_eq!(error, "Unknown scheduler steps");
    let error = fit(&model, objective(), FitOptions::new().use_amp(true)).unwrap_err().to_string();
    assert!(error.starts_with("`use_amp` is set, but it stands for 16-bit floats"));
    let error = old_fit(&model, objective(), FitOptions::new().resume_from_checkpoint(true)).unwrap_err().to_string();
    assert!(error.contains("`old_fit` cannot resume"));
    assert!(fit(&model, Vec::new(), FitOptions::new()).unwrap_err().to_string().contains("no training objective"));
}
