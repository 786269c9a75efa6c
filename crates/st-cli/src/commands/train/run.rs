//! The run of `train`: from the configuration to the trained model.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use sentence_transformers::hub::Source;
use sentence_transformers::{LoadOptions, SentenceTransformer};
use serde_json::{Map, Value, json};
use st_train::callbacks::{LossChart, TensorBoard};
use st_train::data::Datasets;
use st_train::distillation::TeacherLabel;
use st_train::model::{EmbeddingModel, TrainableModel, TrainingOptions};
use st_train::{Objective, TrainError, TrainOutcome, Trainer, TrainingArguments, last_checkpoint};

use super::adapter::{AdapterPlan, refuse_untrained};
use super::config::Config;
use super::distillation::DistillationPlan;
use super::losses::{LossContext, build};
use super::reporting::Reporter;
use super::{Arguments, data};
use crate::commands::evaluate::write_whole;
use crate::commands::model::DEFAULT_MODEL;
use crate::commands::tasks::{TaskOptions, TaskRequest};
use crate::commands::{Surroundings, View};
use crate::failure::{Exit, Failure, Result};
use crate::render::{Align, Downloads, Table, print};

/// The folder of the trained model in the output folder.
const FINAL: &str = "final";
/// The folder of the trained model with its adapter in the weights.
const MERGED: &str = "merged";
/// The chart of the losses and the folder of TensorBoard's files, in the output folder.
const CHART: &str = "loss.png";
const EVENTS: &str = "runs";
/// What a run came to, in the output folder.
const SUMMARY: &str = "training.json";

pub(in crate::commands) fn run(arguments: &Arguments, surroundings: Surroundings) -> Result<Exit> {
    let config = arguments.config()?;
    let Some(output) = config.output_dir.clone() else {
        return Err(Failure::usage("there is no output folder").with_hint("name one with --output, or output_dir"));
    };
    let train = data::read(&config.train_dataset.0)?.ok_or_else(|| {
        Failure::usage("there is nothing to train on").with_hint("give files with --train, or train_dataset")
    })?;
    let eval = data::read(&config.eval_dataset.0)?;
    let settings = training_arguments(&config, &output)?;
    check_place(&output, &settings)?;
    let evaluators = evaluators(&config)?;
    let adapter = config.adapter.as_ref().map(AdapterPlan::read).transpose()?;
    let distillation = config.distillation.as_ref().map(DistillationPlan::read).transpose()?;
    let name = config.model.clone().unwrap_or_else(|| DEFAULT_MODEL.to_owned());
    let mut model = arguments.load(&name, config.max_seq_length, surroundings)?;
    let scratch = tempfile::tempdir().map_err(|error| Failure::io("make", "a temporary folder", &error))?;
    if let Some(distillation) = &distillation {
        model = distillation.student(model, scratch.path())?;
    }
    describe(&config, &name, &mut model, arguments)?;
    match &adapter {
        Some(adapter) => adapter.attach(&mut model, &arguments.hub.options(), settings.seed)?,
        None => refuse_untrained(&model)?,
    }
    let mut model = TrainableModel::new(&model, TrainingOptions::new())?;
    freeze(&config.freeze.0, &mut model)?;
    let losses = losses(&config, &train, &model, &settings, &|name: &str| {
        let guide = arguments.load(name, None, surroundings)?;
        Ok(Arc::new(TrainableModel::new(&guide, TrainingOptions::new())?) as Arc<dyn EmbeddingModel>)
    })?;
    if arguments.dry_run {
        let adapter = adapter.map(|adapter| adapter.described(model.library())).transpose()?;
        return rehearse(&name, &settings, [Some(&train), eval.as_ref()], &losses, (&model, adapter, &config));
    }

    let (mut train, mut eval) = (train, eval);
    if let Some(plan) = &distillation
        && let Some(name) = &plan.teacher
    {
        let teacher = arguments.load(name, None, surroundings)?;
        let kind = |name: &str| losses.teacher_label(name);
        train = plan.label(&teacher, &train, &kind)?;
        eval = eval.map(|eval| plan.label(&teacher, &eval, &kind)).transpose()?;
    }
    let interrupted = Arc::new(AtomicBool::new(false));
    let mut trainer = Trainer::new(model, settings)
        .train_dataset(train)
        .callback(Reporter::new(&output, surroundings.quiet, Arc::clone(&interrupted)))
        .callback(LossChart::new(output.join(CHART)));
    if !arguments.no_tensorboard {
        trainer = trainer.callback(TensorBoard::new(output.join(EVENTS)));
    }
    if let Some(eval) = eval {
        trainer = trainer.eval_dataset(eval);
    }
    for evaluator in evaluators {
        trainer = trainer.boxed_evaluator(evaluator);
    }
    trainer = match losses {
        Losses::Single(loss) => trainer.boxed_loss(loss),
        Losses::Named(losses) => trainer.losses(losses),
    };
    let outcome = trainer.train().map_err(|error| with_way_on(error.into(), &output))?;
    if interrupted.load(Ordering::SeqCst) {
        return Err(with_way_on(Failure::interrupted(), &output));
    }
    let folder = output.join(FINAL);
    trainer.save_model(&folder)?;
    let mut summary = summary(&name, &folder, &outcome, &trainer);
    if adapter.is_some_and(|adapter| adapter.merge) {
        let folder = output.join(MERGED);
        let mut model = trainer.sentence_transformer()?;
        model.merge_adapters()?;
        model.save_pretrained(&folder)?;
        summary["merged"] = folder.display().to_string().into();
    }
    write_whole(&output.join(SUMMARY), &format!("{summary:#}\n"))?;
    show(&summary, arguments.format)?;
    Ok(Exit::Done)
}

/// What is minimised.
enum Losses {
    Single(Box<dyn Objective>),
    Named(Vec<(String, Box<dyn Objective>)>),
}

impl Losses {
    /// What the loss of a data set learns from a teacher.
    fn teacher_label(&self, dataset: &str) -> st_train::Result<TeacherLabel> {
        match self {
            Self::Single(loss) => TeacherLabel::of_loss(loss.as_ref()),
            Self::Named(all) => match all.iter().find(|(known, _)| known == dataset) {
                Some((_, loss)) => TeacherLabel::of_loss(loss.as_ref()),
                None => Err(TrainError::invalid(format!("there is no loss for the data set {dataset:?}"))),
            },
        }
    }
}

impl Arguments {
    fn load(&self, name: &str, length: Option<usize>, surroundings: Surroundings) -> Result<SentenceTransformer> {
        let downloads = Arc::new(Downloads::new(surroundings.quiet));
        let mut options = LoadOptions::new().hub(self.hub.options().progress(downloads.clone()));
        if let Some(length) = length {
            options = options.max_seq_length(length);
        }
        let model = options.load(name);
        downloads.clear();
        model.map_err(Failure::from)
    }
}

/// The arguments of the trainer. Where there is something to evaluate on and nothing says when, it is after every epoch.
fn training_arguments(config: &Config, output: &Path) -> Result<TrainingArguments> {
    let mut entries = config.arguments.clone();
    if entries.contains_key("output_dir") {
        return Err(Failure::usage("output_dir stands outside of `arguments`"));
    }
    entries.insert("output_dir".to_owned(), output.display().to_string().into());
    let evaluates = !config.eval_dataset.0.is_empty() || !config.evaluators.0.is_empty();
    if evaluates && !entries.contains_key("eval_strategy") {
        entries.insert("eval_strategy".to_owned(), "epoch".into());
    }
    TrainingArguments::from_json(&Value::Object(entries).to_string())
        .map_err(|error| Failure::usage("the training arguments are not understood").with_cause(&error))
}

/// A new run does not mix its files with those of an earlier one.
fn check_place(output: &Path, settings: &TrainingArguments) -> Result<()> {
    if settings.resume_from_checkpoint.is_some() {
        return Ok(());
    }
    match last_checkpoint(output)? {
        None => Ok(()),
        Some(last) => Err(Failure::usage(format!("{} is there from an earlier run", last.display()))
            .with_hint("go on with it by --resume, or write into another folder with --output")),
    }
}

fn evaluators(config: &Config) -> Result<Vec<Box<dyn st_eval::Evaluator>>> {
    let options = TaskOptions { split: config.evaluator_split.clone(), ..TaskOptions::default() };
    let build = |text: &String| {
        let request = TaskRequest::parse(text)
            .map_err(|problem| Failure::usage(format!("the evaluator {text:?} is not understood: {problem}")))?;
        request.evaluator(&options)
    };
    config.evaluators.0.iter().map(build).collect()
}

/// Puts what the card is to say into the model.
fn describe(config: &Config, name: &str, model: &mut SentenceTransformer, arguments: &Arguments) -> Result<()> {
    let base = Source::resolve(name, &arguments.hub.options())?;
    let data = model.card_data_mut();
    data.local_files_only = true;
    if let Some(id) = base.id() {
        data.base_model = Some(id.to_owned());
    }
    if let Some(title) = &config.card.model_name {
        data.model_name = Some(title.clone());
    }
    if !config.card.language.0.is_empty() {
        data.set_language(&config.card.language.0);
    }
    if let Some(license) = &config.card.license {
        data.set_license(license);
    }
    Ok(())
}

fn freeze(prefixes: &[String], model: &mut TrainableModel) -> Result<()> {
    for prefix in prefixes {
        if model.parameters_mut().freeze(prefix) == 0 {
            let names: Vec<&str> = model.parameters().iter().map(|parameter| parameter.name()).take(5).collect();
            return Err(Failure::usage(format!("no parameter's name begins with {prefix:?}"))
                .with_hint(format!("the names begin with {}, …", names.join(", "))));
        }
    }
    Ok(())
}

fn losses(
    config: &Config,
    train: &Datasets,
    model: &TrainableModel,
    settings: &TrainingArguments,
    guide: &dyn Fn(&str) -> Result<Arc<dyn EmbeddingModel>>,
) -> Result<Losses> {
    let folder = model.library().path();
    let context = LossContext { model, seed: settings.seed, folder, classes: data::classes(train)?, guide };
    let Some(value) = &config.loss else {
        return Err(Failure::usage("there is no loss")
            .with_hint("name one with --loss, or loss; MultipleNegativesRankingLoss suits pairs without labels"));
    };
    match value {
        Value::Object(by_name) if !by_name.contains_key("name") => {
            let one = |(name, value): (&String, &Value)| Ok((name.clone(), build(value, &context)?));
            Ok(Losses::Named(by_name.iter().map(one).collect::<Result<_>>()?))
        }
        value => Ok(Losses::Single(build(value, &context)?)),
    }
}

/// Adds how a run goes on that `failure` has ended.
fn with_way_on(failure: Failure, output: &Path) -> Failure {
    match last_checkpoint(output) {
        Ok(Some(last)) => failure.with_hint(format!("the same command with --resume goes on from {}", last.display())),
        _ => failure,
    }
}

fn rehearse(
    name: &str,
    settings: &TrainingArguments,
    [train, eval]: [Option<&Datasets>; 2],
    losses: &Losses,
    (trained, adapter, config): (&TrainableModel, Option<Value>, &Config),
) -> Result<Exit> {
    let sources = |data: Option<&Datasets>| -> Vec<Value> {
        let all = data.map(Datasets::sources).unwrap_or_default();
        all.iter()
            .map(|(name, source)| json!({ "name": name, "columns": source.columns(), "rows": source.len() }))
            .collect()
    };
    let loss = |loss: &dyn Objective| json!({ "name": loss.card().name, "settings": loss.config() });
    let losses: BTreeMap<&str, Value> = match losses {
        Losses::Single(one) => BTreeMap::from([("", loss(one.as_ref()))]),
        Losses::Named(all) => all.iter().map(|(name, one)| (name.as_str(), loss(one.as_ref()))).collect(),
    };
    let parameters = trained.parameters();
    let count: usize = parameters.trainable().map(|parameter| parameter.variable().elem_count()).sum();
    let mut value = json!({
        "model": name,
        "parameters": { "trained": count, "all": parameters.elements() },
        "train_dataset": sources(train),
        "eval_dataset": sources(eval),
        "loss": losses.get("").cloned().unwrap_or_else(|| json!(losses)),
        "arguments": settings.changed()?,
    });
    if let Some(adapter) = adapter {
        value["adapter"] = adapter;
    }
    if let Some(distillation) = &config.distillation {
        value["distillation"] = json!(distillation);
    }
    print(&format!("{value:#}\n"))?;
    Ok(Exit::Done)
}

fn summary(name: &str, folder: &Path, outcome: &TrainOutcome, trainer: &Trainer<TrainableModel>) -> Value {
    let state = trainer.state();
    let last = state.log_history.iter().rev().find(|entry| entry.keys().any(|key| key.starts_with("eval_")));
    let evaluation: Map<String, Value> = last.cloned().unwrap_or_default();
    json!({
        "base_model": name,
        "model": folder.display().to_string(),
        "steps": outcome.global_step,
        "epochs": state.epoch,
        "training_loss": outcome.training_loss,
        "best_metric": state.best_metric,
        "best_step": state.best_global_step,
        "evaluation": evaluation,
        "metrics": outcome.metrics,
    })
}

fn show(summary: &Value, view: View) -> Result<()> {
    if view == View::Json {
        return print(&format!("{summary:#}\n"));
    }
    let mut table = Table::new(vec![Align::Left, Align::Left]);
    let number = |value: &Value| value.as_f64().map_or_else(|| value.to_string(), |number| format!("{number:.4}"));
    let text = summary["model"].as_str().unwrap_or_default();
    table.row(vec!["model".to_owned(), text.to_owned()]);
    if let Some(merged) = summary["merged"].as_str() {
        table.row(vec!["merged".to_owned(), merged.to_owned()]);
    }
    table.row(vec!["steps".to_owned(), summary["steps"].to_string()]);
    table.row(vec!["training loss".to_owned(), number(&summary["training_loss"])]);
    for (name, value) in summary["evaluation"].as_object().into_iter().flatten() {
        let is_speed = name.ends_with("_runtime") || name.ends_with("_per_second");
        if name.starts_with("eval_") && !is_speed {
            table.row(vec![name.clone(), number(value)]);
        }
    }
    print(&table.lines())
}
