//! `train`: a model trained on labelled or paired texts.

mod adapter;
mod config;
mod data;
mod distillation;
mod losses;
mod reporting;
mod run;
mod settings;

use std::path::PathBuf;

use clap::Args;
use clap::builder::PossibleValuesParser;
use serde_json::{Map, Value, json};
use st_train::losses::LOSSES;

use super::View;
use super::model::HubArguments;
use config::{Config, DatasetConfig, Several};

pub(super) use run::run;

#[derive(Debug, Args)]
#[command(
    after_help = "What is trained, and how, is in a TOML or JSON file, in flags, or in both; flags win. The keys of \
the file: model, output_dir, max_seq_length, train_dataset and eval_dataset (a path, a table of path, name, columns, \
image_columns and rows, or a list of these), loss (a name, a table of name and settings, or a table of these by data set), evaluators (as \
`evaluate` takes tasks), evaluator_split, freeze (beginnings of parameter names), adapter (rank, alpha, dropout, target_modules and the other names of \
PEFT's LoraConfig; path to go on with an adapter; name; merge), distillation (teacher, a model that makes the labels of \
MSELoss, MarginMSELoss, DistillKLDivLoss, CosineSimilarityLoss, CoSENTLoss and AnglELoss; its similarity and truncate_dim; \
keep_layers, the layers of the model that the student begins with), card (model_name, language, license) and arguments (the \
original's training arguments by their names).

The output folder gets final (the model, or its adapter in PEFT's form), merged (the model with its adapter in the weights, \
where asked for), checkpoint-N, metrics.jsonl, loss.png, runs (TensorBoard), eval and training.json. \
After Ctrl-C, or whatever else ended a run, the same command with --resume goes on from the last checkpoint.

Examples:
  sentence-transformers train --train pairs.jsonl --loss MultipleNegativesRankingLoss --epochs 1 --output my-model
  sentence-transformers train train.toml --set loss.scale=30 --set arguments.weight_decay=0.01
  sentence-transformers train train.toml --resume
  sentence-transformers train train.toml --lora-rank 16 --lora-target query,value --merge-adapter"
)]
pub(crate) struct Arguments {
    /// File that says what is trained, and how
    #[arg(value_name = "FILE")]
    config: Option<PathBuf>,
    /// Folder of the model to begin with, or its name on the Hugging Face Hub
    #[arg(short, long, value_name = "FOLDER|NAME")]
    model: Option<String>,
    /// Folder for the trained model, checkpoints and reports
    #[arg(short, long, value_name = "FOLDER")]
    output: Option<PathBuf>,
    /// File of training data; may be repeated
    #[arg(long, value_name = "FILE")]
    train: Vec<PathBuf>,
    /// File of data that the loss is measured on meanwhile; may be repeated
    #[arg(long, value_name = "FILE")]
    eval: Vec<PathBuf>,
    /// Column of paths of images, PNG or JPEG, for a model that sees, such as CLIP; may be repeated
    #[arg(long, value_name = "NAME")]
    image_column: Vec<String>,
    /// Loss, by its name in the original
    #[arg(long, value_name = "NAME", value_parser = loss_names(), ignore_case = true, hide_possible_values = true)]
    loss: Option<String>,
    /// Task that the model is measured on meanwhile, as `evaluate` takes it; may be repeated
    #[arg(long, value_name = "TASK[:NAME]=PATH")]
    evaluator: Vec<String>,
    /// Split of the tasks
    #[arg(long, value_name = "NAME")]
    split: Option<String>,
    /// Times that the data is gone through [default: 3]
    #[arg(long, value_name = "COUNT")]
    epochs: Option<f64>,
    /// Steps, instead of epochs
    #[arg(long, value_name = "COUNT")]
    max_steps: Option<usize>,
    /// Rows of a batch, in training and evaluation [default: 8]
    #[arg(long, value_name = "COUNT")]
    batch_size: Option<usize>,
    /// Learning rate at its highest [default: 5e-5]
    #[arg(long, value_name = "RATE")]
    learning_rate: Option<f64>,
    /// Part of the steps in which the learning rate rises [default: 0]
    #[arg(long, value_name = "PART")]
    warmup_ratio: Option<f64>,
    /// Seed of whatever is random [default: 42]
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,
    /// Train a LoRA adapter of this rank instead of the model's weights
    #[arg(long, value_name = "RANK")]
    lora_rank: Option<usize>,
    /// What the adapter is scaled by, before it is divided by the rank [default: 8]
    #[arg(long, value_name = "ALPHA")]
    lora_alpha: Option<f64>,
    /// Probability with which inputs of the adapter are dropped [default: 0]
    #[arg(long, value_name = "PART")]
    lora_dropout: Option<f64>,
    /// Module that the adapter changes; may be repeated [default: as PEFT for the kind of model]
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    lora_target: Vec<String>,
    /// Save the model with the adapter in its weights too
    #[arg(long)]
    merge_adapter: bool,
    /// Compute activations again in the backward pass instead of keeping them: less memory, more time
    #[arg(long)]
    gradient_checkpointing: bool,
    /// Longest token sequence, instead of the model's
    #[arg(long, value_name = "TOKENS")]
    max_seq_length: Option<usize>,
    /// Any entry of the file, by its path: arguments.logging_steps=10, loss.scale=30; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = config::entry)]
    set: Vec<(String, Value)>,
    /// Go on from the last checkpoint in the output folder
    #[arg(long)]
    resume: bool,
    /// Write no files for TensorBoard
    #[arg(long)]
    no_tensorboard: bool,
    /// Say what would be trained, and train nothing
    #[arg(long)]
    dry_run: bool,
    /// How the result is shown
    #[arg(long, value_enum, default_value_t = View::Table, value_name = "VIEW")]
    format: View,
    #[command(flatten)]
    hub: HubArguments,
}

fn loss_names() -> PossibleValuesParser {
    PossibleValuesParser::new(LOSSES.iter().flat_map(|card| std::iter::once(&card.name).chain(card.aliases)))
}

impl Arguments {
    /// The file with the flags laid over it.
    fn config(&self) -> crate::failure::Result<Config> {
        // A loss that is named here begins without settings; --set gives it some.
        let loss = self.loss.iter().map(|name| ("loss".to_owned(), Value::from(name.as_str())));
        let entries: Vec<(String, Value)> = loss.chain(self.set.iter().cloned()).collect();
        let mut config = Config::read(self.config.as_deref(), &entries)?;
        let files = |paths: &[PathBuf]| Several(paths.iter().cloned().map(DatasetConfig::of).collect());
        config.model = self.model.clone().or(config.model);
        config.output_dir = self.output.clone().or(config.output_dir);
        config.max_seq_length = self.max_seq_length.or(config.max_seq_length);
        if !self.train.is_empty() {
            config.train_dataset = files(&self.train);
        }
        if !self.eval.is_empty() {
            config.eval_dataset = files(&self.eval);
        }
        if !self.image_column.is_empty() {
            for dataset in config.train_dataset.0.iter_mut().chain(&mut config.eval_dataset.0) {
                dataset.image_columns.clone_from(&self.image_column);
            }
        }
        if !self.evaluator.is_empty() {
            config.evaluators = Several(self.evaluator.clone());
        }
        config.evaluator_split = self.split.clone().or(config.evaluator_split);
        self.lay_over(&mut config.arguments);
        for (name, value) in self.adapter() {
            adapter::set(config.adapter.get_or_insert_default(), name, value);
        }
        Ok(config)
    }

    /// The flags about an adapter.
    fn adapter(&self) -> impl Iterator<Item = (&'static str, Value)> {
        let flags = [
            ("rank", self.lora_rank.map(Value::from)),
            ("alpha", self.lora_alpha.map(Value::from)),
            ("dropout", self.lora_dropout.map(Value::from)),
            ("target_modules", (!self.lora_target.is_empty()).then(|| json!(self.lora_target))),
            ("merge", self.merge_adapter.then_some(Value::Bool(true))),
        ];
        flags.into_iter().filter_map(|(name, value)| Some((name, value?)))
    }

    /// The flags that are training arguments.
    fn lay_over(&self, arguments: &mut Map<String, Value>) {
        let flags: [(&[&str], Option<Value>); 7] = [
            (&["num_train_epochs"], self.epochs.map(Value::from)),
            (&["max_steps"], self.max_steps.map(Value::from)),
            (&["per_device_train_batch_size", "per_device_eval_batch_size"], self.batch_size.map(Value::from)),
            (&["learning_rate"], self.learning_rate.map(Value::from)),
            (&["warmup_ratio"], self.warmup_ratio.map(Value::from)),
            (&["seed"], self.seed.map(Value::from)),
            (&["gradient_checkpointing"], self.gradient_checkpointing.then_some(Value::Bool(true))),
        ];
        for (names, value) in flags {
            for (name, value) in names.iter().zip(value.iter().cycle()) {
                arguments.insert((*name).to_owned(), value.clone());
            }
        }
        if self.resume {
            arguments.insert("resume_from_checkpoint".to_owned(), json!(true));
        }
    }
}
