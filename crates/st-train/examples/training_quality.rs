//! Quality of training on the STS benchmark; the original's side is `benchmarks/training/quality.py`.
//!
//!     cargo run --release -p st-train --example training_quality -- MODEL STSB.tsv.gz --epochs 1 --batch 16 --rate 2e-5 --seeds 42 43 44

use std::error::Error;
use std::time::Instant;

use sentence_transformers::SentenceTransformer;
use st_eval::{EmbeddingSimilarityEvaluator, Evaluator, Occasion, SimilarityPairs};
use st_train::data::Table;
use st_train::losses::CosineSimilarityLoss;
use st_train::model::{EmbeddingModel, TrainableModel, TrainingOptions};
use st_train::{SaveInterval, Trainer, TrainingArguments};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, data, rest @ ..] = arguments.as_slice() else {
        return Err(
            "usage: training_quality MODEL STSB.tsv.gz [--epochs N] [--batch N] [--rate X] [--seeds N …]".into()
        );
    };
    let option = |name: &str| rest.iter().position(|own| own == name).map(|place| &rest[place + 1..]);
    let one = |name: &str, default: &str| {
        option(name).and_then(|values| values.first().cloned()).unwrap_or_else(|| default.to_owned())
    };
    let (epochs, batch, rate): (f64, usize, f64) =
        (one("--epochs", "1").parse()?, one("--batch", "16").parse()?, one("--rate", "2e-5").parse()?);
    let seeds: Vec<u64> = option("--seeds")
        .map_or_else(|| vec![42], |values| values.iter().map_while(|value| value.parse().ok()).collect());
    let train = SimilarityPairs::read_tsv(data.as_ref(), Some("train"))?;
    let table = Table::new()
        .column("sentence1", train.sentences1)?
        .column("sentence2", train.sentences2)?
        .column("score", train.scores.into_iter().map(|score| score / 5.0))?;
    let dev = SimilarityPairs::read_tsv(data.as_ref(), Some("dev"))?;
    let evaluator = EmbeddingSimilarityEvaluator::from_pairs(dev)?.named("dev");
    let spearman = |model: &SentenceTransformer| -> Result<f64, Box<dyn Error>> {
        let evaluation = evaluator.evaluate(model, &Occasion::new())?;
        Ok(100.0 * evaluation.metric("dev_spearman_cosine").ok_or("no Spearman correlation")?)
    };
    for seed in seeds {
        let library = SentenceTransformer::load(model)?;
        let before = spearman(&library)?;
        let folder = tempfile::tempdir()?;
        let settings = TrainingArguments::new(folder.path())
            .save_strategy(SaveInterval::No)
            .num_train_epochs(epochs)
            .per_device_train_batch_size(batch)
            .learning_rate(rate)
            .warmup_ratio(0.1)
            .logging_steps(50.0)
            .seed(seed);
        let start = Instant::now();
        let mut trainer = Trainer::new(TrainableModel::new(&library, TrainingOptions::new())?, settings)
            .train_dataset(table.clone())
            .loss(CosineSimilarityLoss::new())
            .callback(st_train::callbacks::ProgressLine::new());
        trainer.train()?;
        let seconds = start.elapsed().as_secs();
        let after = spearman(&trainer.model().sentence_transformer()?)?;
        println!("seed {seed}: dev Spearman {before:.2} -> {after:.2}, {seconds} s");
    }
    Ok(())
}
