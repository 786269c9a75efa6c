//! Whether model, arguments, datasets and losses fit together, in the original's words where it has some.

use candle_core::DType;

use crate::arguments::Interval;
use crate::data::{Collator, Datasets, listed};
use crate::model::{EmbeddingModel, InputKind};
use crate::{Result, TrainError};

use super::{Losses, Setup};

pub(super) fn check(model: &dyn EmbeddingModel, setup: &Setup) -> Result<()> {
    let arguments = &setup.arguments;
    if setup.optimizer.is_none() && setup.schedule.is_none() {
        arguments.check()?;
    } else {
        // What another optimizer or schedule stands for is not looked up.
        arguments
            .clone()
            .optim("adamw_torch".into())
            .lr_scheduler_type("linear".into())
            .lr_scheduler_kwargs(Default::default())
            .check()?;
        if let Some(schedule) = &setup.schedule {
            arguments.check_schedule(schedule)?;
        }
    }
    if model.input_kind() == InputKind::Router && arguments.router_mapping.is_empty() {
        return Err(TrainError::invalid(
            "You are using a Router module in your model, but you did not provide a `router_mapping` in the training \
             arguments. This means that the Router module will not be able to route the inputs to the correct submodules. \
             Please provide a `router_mapping` that maps column names to routes, e.g. {'column_one': 'query', \
             'column_two': 'document', 'column_three': 'document'}.",
        ));
    }
    let has_blocks = matches!(model.input_kind(), InputKind::Transformer | InputKind::Router | InputKind::Clip);
    if arguments.gradient_checkpointing && !has_blocks {
        return Err(TrainError::option(
            "gradient_checkpointing",
            "is set, but the model has no transformer whose blocks could be computed again; leave it unset",
        ));
    }
    if arguments.bf16 {
        if model.data_type() != DType::F32 {
            let found = model.data_type();
            let message = format!(
                "is set, but mixed precision is there for 32-bit parameters, and these are {found:?}; leave it unset, or \
                 load the model so"
            );
            return Err(TrainError::option("bf16", message));
        }
        if !has_blocks {
            log::warn!("`bf16` is set, but the model has no transformer whose products it could speed up");
        }
    }
    if arguments.eval_strategy != Interval::No && setup.eval.is_none() && setup.evaluator.is_none() {
        return Err(TrainError::invalid(format!(
            "You have set `args.eval_strategy` to {}, but you didn't provide an `eval_dataset` or an `evaluator`. Either \
             provide an `eval_dataset` or an `evaluator` to `SentenceTransformerTrainer`, or set \
             `args.eval_strategy='no'` to skip evaluation.",
            arguments.eval_strategy.as_str()
        )));
    }
    let losses = setup.losses()?;
    for (role, data) in [("train", &setup.train), ("eval", &setup.eval)] {
        let Some(data) = data else { continue };
        data.check(role)?;
        check_names(role, data, losses)?;
        check_columns(role, data, losses)?;
    }
    for (_, loss) in losses.all() {
        loss.check(model)?;
    }
    Ok(())
}

/// A loss per dataset needs the datasets' names.
fn check_names(role: &str, data: &Datasets, losses: &Losses) -> Result<()> {
    let Losses::Named(named) = losses else { return Ok(()) };
    if matches!(data, Datasets::Single(_)) {
        return Err(TrainError::invalid(format!(
            "If the provided `loss` is a dict, then the `{role}_dataset` must be a `DatasetDict`."
        )));
    }
    let mut missing: Vec<&str> = data.names().filter(|name| !named.iter().any(|(own, _)| own == name)).collect();
    missing.sort_unstable();
    if missing.is_empty() {
        return Ok(());
    }
    let plural = if missing.len() == 1 { "s" } else { "" };
    Err(TrainError::invalid(format!(
        "If the provided `loss` is a dict, then all keys from the `{role}_dataset` dictionary must occur in `loss` also. \
         Currently, {} occur{plural} in `{role}_dataset` but not in `loss`.",
        listed(&missing)
    )))
}

/// A loss that takes a number of text columns is not given another number.
fn check_columns(role: &str, data: &Datasets, losses: &Losses) -> Result<()> {
    let collator = Collator::default();
    for (name, source) in data.sources() {
        let columns = source.columns();
        let texts = columns.len() - usize::from(collator.label_column(columns).is_some());
        let card = losses.of(Some(name))?.card();
        if !card.accepts(texts) {
            let of = if name.is_empty() { String::new() } else { format!(" '{name}'") };
            return Err(TrainError::invalid(format!(
                "the {role} dataset{of} has {texts} text columns, but {} takes {}; its columns are {}",
                card.name,
                card.columns,
                listed(columns)
            )));
        }
    }
    Ok(())
}
