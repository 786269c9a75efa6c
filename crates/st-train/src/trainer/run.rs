//! [`Run`]: the training loop.

use std::path::Path;
use std::time::Instant;

use candle_core::Var;
use serde_json::{Map, Value};

use crate::arguments::{Interval, SaveInterval};
use crate::callbacks::{Callback, Event, Saver, Speed};
use crate::checkpoint;
use crate::data::Collator;
use crate::loss::ObjectiveBatch;
use crate::model::{EmbeddingModel, Parameters, TrainingPass};
use crate::optimizers::{Gradients, Optimizer, OptimizerSettings, optimizer, parameter_groups};
use crate::random::Generator;
use crate::schedules::{Plateau, Schedule};
use crate::state::{Control, TrainerState, number, rounded};
use crate::{Result, TrainError};

use super::batches::{BatchSettings, Batches, RowBatch};
use super::plan::Plan;
use super::progress::Sums;
use super::saving::save_model;
use super::{Setup, TrainOutcome, evaluation};

/// A run: the setup and everything that changes in it.
pub(super) struct Run<'a> {
    pub(super) model: &'a dyn EmbeddingModel,
    pub(super) setup: &'a mut Setup,
    pub(super) parameters: Parameters,
    pub(super) variables: Vec<Var>,
    pub(super) optimizer: Box<dyn Optimizer>,
    pub(super) schedule: Schedule,
    /// What lowers the learning rates after evaluations, where that is the schedule.
    pub(super) plateau: Option<Plateau>,
    pub(super) plan: Plan,
    pub(super) batches: Batches,
    collator: Collator,
    pub(super) pass: TrainingPass,
    pub(super) sums: Sums,
    pub(super) total_loss: f64,
    control: Control,
    pub(super) epoch: usize,
    pub(super) epoch_done: bool,
    /// Batches of the epoch that were trained on.
    pub(super) batches_done: usize,
    loss: Option<f64>,
    gradient_norm: Option<f64>,
    learning_rate: f64,
    start: Instant,
    first_step: usize,
    rows: usize,
    tokens: usize,
}

/// A method of callbacks with what it needs.
type Call<'c> = &'c mut dyn FnMut(&mut dyn Callback, &mut Event<'_>) -> Result<()>;

impl<'a> Run<'a> {
    pub(super) fn new(model: &'a dyn EmbeddingModel, setup: &'a mut Setup) -> Result<Self> {
        let arguments = &setup.arguments;
        let data = setup.train.as_ref().ok_or_else(|| TrainError::invalid("there is no training data"))?;
        let batches = Batches::new(data, &BatchSettings::training(setup))?;
        let plan = Plan::new(arguments, batches.len())?;
        let parameters = all_parameters(model, setup)?;
        let groups = parameter_groups(
            &parameters,
            arguments.learning_rate,
            arguments.weight_decay,
            setup.no_decay,
            &arguments.learning_rate_mapping,
        )?;
        if groups.is_empty() {
            return Err(TrainError::invalid(
                "every parameter of the model and the loss is frozen: there is nothing to train",
            ));
        }
        let optimizer = match &setup.optimizer {
            Some(make) => make(groups)?,
            None => {
                let settings = OptimizerSettings {
                    beta1: arguments.adam_beta1,
                    beta2: arguments.adam_beta2,
                    epsilon: arguments.adam_epsilon,
                    arguments: arguments.optim_args.clone(),
                };
                optimizer(&arguments.optim, groups, &settings)?
            }
        };
        let schedule = match &setup.schedule {
            Some(schedule) => schedule.clone(),
            None => Schedule::new(&arguments.lr_scheduler_type, plan.warmup_steps, plan.max_steps)?
                .with_options(arguments.lr_scheduler_kwargs.clone(), arguments.learning_rate)?,
        };
        if setup.schedule.is_none() && plan.warmup_steps > 0 && !schedule.kind().warms_up {
            log::warn!(
                "the schedule '{}' has no warm-up: warmup_steps and warmup_ratio are not followed",
                schedule.kind().name
            );
        }
        let plateau = schedule.plateau()?;
        let variables = parameters.trainable().map(|parameter| parameter.variable().clone()).collect();
        let collator = Collator::new(arguments.prompts.clone(), arguments.router_mapping.clone());
        let pass = TrainingPass::training(Generator::new(arguments.seed))
            .with_gradient_checkpointing(arguments.gradient_checkpointing)
            .with_autocast(arguments.bf16);
        Ok(Self {
            model,
            setup,
            parameters,
            variables,
            optimizer,
            schedule,
            plateau,
            plan,
            batches,
            collator,
            pass,
            sums: Sums::default(),
            total_loss: 0.0,
            control: Control::default(),
            epoch: 0,
            epoch_done: false,
            batches_done: 0,
            loss: None,
            gradient_norm: None,
            learning_rate: 0.0,
            start: Instant::now(),
            first_step: 0,
            rows: 0,
            tokens: 0,
        })
    }

    pub(super) fn train(mut self, resume: Option<&Path>) -> Result<TrainOutcome> {
        let plan = self.plan;
        checkpoint::sweep(&self.setup.arguments.output_dir);
        self.setup.state = TrainerState::default();
        self.setup.card = super::card::Card::begin(self.model, self.setup)?;
        if let Some(folder) = resume {
            self.restore(folder)?;
        }
        let state = &mut self.setup.state;
        (state.max_steps, state.num_train_epochs) = (plan.max_steps, plan.epochs);
        (state.logging_steps, state.eval_steps, state.save_steps) =
            (plan.logging_steps, plan.eval_steps, plan.save_steps);
        state.train_batch_size = self.setup.arguments.per_device_train_batch_size;
        self.first_step = state.global_step;
        self.announce();
        self.call(&mut |callback, event| callback.on_train_begin(event))?;
        self.control = Control::default();
        if self.setup.arguments.eval_on_start && resume.is_none() {
            self.evaluate()?;
        }
        let resumed = resume.is_some();
        let first = if self.epoch_done { self.epoch + 1 } else { self.epoch };
        for epoch in first..plan.epochs {
            let goes_on = resumed && epoch == first && !self.epoch_done;
            if !goes_on && self.setup.state.global_step >= plan.max_steps {
                break;
            }
            if !goes_on {
                self.batches.start(epoch as u64);
                self.batches_done = 0;
            }
            (self.epoch, self.epoch_done) = (epoch, false);
            self.control.should_epoch_stop = false;
            self.call(&mut |callback, event| callback.on_epoch_begin(event))?;
            self.train_epoch()?;
            if self.batches_done == 0 {
                log::warn!(
                    "There seems not to be a single sample in your epoch_iterator, stopping training at step {}! This is \
                     expected if you're using an IterableDataset and set num_steps ({}) higher than the number of \
                     available samples.",
                    self.setup.state.global_step,
                    plan.max_steps
                );
                self.control.should_training_stop = true;
            }
            self.after_epoch()?;
            if self.control.should_training_stop {
                break;
            }
        }
        self.end()
    }

    fn announce(&self) {
        let (arguments, plan) = (&self.setup.arguments, self.plan);
        log::info!("***** Running training *****");
        if let Some(rows) = self.batches.rows() {
            log::info!("  Num examples = {rows}");
        }
        log::info!("  Num Epochs = {}", plan.epochs);
        log::info!("  Instantaneous batch size per device = {}", arguments.per_device_train_batch_size);
        log::info!("  Gradient Accumulation steps = {}", arguments.gradient_accumulation_steps);
        log::info!("  Total optimization steps = {}", plan.max_steps);
        let trained: usize = self.variables.iter().map(|variable| variable.elem_count()).sum();
        log::info!("  Number of trainable parameters = {trained}");
        if self.setup.state.global_step > 0 {
            log::info!("  Continuing training from global step {}", self.setup.state.global_step);
        }
    }

    /// The steps of an epoch that are left.
    fn train_epoch(&mut self) -> Result<()> {
        let accumulated = self.setup.arguments.gradient_accumulation_steps;
        while self.batches_done < self.plan.batches && self.setup.state.global_step < self.plan.max_steps {
            let wanted = accumulated.min(self.plan.batches - self.batches_done);
            let mut taken = Vec::with_capacity(wanted);
            while taken.len() < wanted
                && let Some(batch) = self.batches.next()?
            {
                taken.push(batch);
            }
            if taken.is_empty() {
                // A sampler that gave fewer batches than it expected.
                return Ok(());
            }
            self.step(taken)?;
            if self.control.should_epoch_stop || self.control.should_training_stop {
                return Ok(());
            }
        }
        Ok(())
    }

    /// One step: the gradients of some batches, the optimizer, and what follows.
    fn step(&mut self, batches: Vec<RowBatch>) -> Result<()> {
        (self.control.should_log, self.control.should_evaluate, self.control.should_save) = (false, false, false);
        self.call(&mut |callback, event| callback.on_step_begin(event))?;
        let count = batches.len();
        let mut gradients = Gradients::new();
        let mut loss = 0.0;
        for (index, batch) in batches.into_iter().enumerate() {
            loss += self.batch(batch, count, &mut gradients)?;
            self.batches_done += 1;
            if index + 1 < count {
                self.call(&mut |callback, event| callback.on_substep_end(event))?;
            }
        }
        let step = self.setup.state.global_step;
        if self.setup.arguments.logging_nan_inf_filter && !loss.is_finite() {
            #[expect(clippy::cast_precision_loss, reason = "a number of steps")]
            let since = (1 + step - self.sums.since) as f64;
            self.sums.loss += self.sums.loss / since;
        } else {
            self.sums.loss += loss;
        }
        self.loss = Some(loss);
        let largest = self.setup.arguments.max_grad_norm;
        self.gradient_norm = if largest > 0.0 { Some(gradients.clip(&self.variables, largest)?) } else { None };
        let factor = self.schedule.factor(step);
        self.optimizer.step(&gradients, factor)?;
        self.learning_rate = self.optimizer.groups().first().map_or(0.0, |group| group.learning_rate) * factor;
        let state = &mut self.setup.state;
        state.global_step += 1;
        #[expect(clippy::cast_precision_loss, reason = "counts")]
        {
            state.epoch = self.epoch as f64 + self.batches_done as f64 / self.plan.batches as f64;
        }
        self.after_step()
    }

    /// The loss of a batch, divided by the number of batches of the step; its gradients are added up.
    fn batch(&mut self, batch: RowBatch, count: usize, gradients: &mut Gradients) -> Result<f64> {
        let dataset = batch.dataset.as_deref();
        let collated = self.collator.collate(self.model, dataset, &batch.columns, batch.rows)?;
        self.rows += collated.rows;
        self.tokens += collated.tokens();
        self.setup.state.num_input_tokens_seen += collated.tokens();
        #[expect(clippy::cast_precision_loss, reason = "a number of batches")]
        let share = 1.0 / count as f64;
        let objective = self.setup.losses()?.of(dataset.or(Some("")))?;
        let input = ObjectiveBatch { model: self.model, columns: &collated.columns, targets: &collated.targets };
        let (value, mut store) = objective.backward(&input, &mut self.pass, share)?;
        gradients.accumulate(&mut store, &self.variables)?;
        let parts = value.numbers()?;
        self.sums.add_parts(&parts);
        Ok(parts.iter().map(|(_, value)| value).sum::<f64>() * share)
    }

    /// What the arguments ask for after a step, and what callbacks do.
    fn after_step(&mut self) -> Result<()> {
        let (arguments, step) = (&self.setup.arguments, self.setup.state.global_step);
        #[expect(clippy::cast_precision_loss, reason = "a number of steps")]
        let waited = arguments.eval_delay <= step as f64;
        let control = &mut self.control;
        let every = |interval: Interval, steps: usize| interval == Interval::Steps && step.is_multiple_of(steps);
        control.should_log |= step == 1 && arguments.logging_first_step;
        control.should_log |= every(arguments.logging_strategy, self.plan.logging_steps);
        control.should_evaluate |= every(arguments.eval_strategy, self.plan.eval_steps) && waited;
        let saves = arguments.save_strategy == SaveInterval::Steps;
        control.should_save |= saves && step.is_multiple_of(self.plan.save_steps);
        if step >= self.plan.max_steps {
            control.should_training_stop = true;
            control.should_save |= saves;
        }
        self.call(&mut |callback, event| callback.on_step_end(event))?;
        self.log_evaluate_save()
    }

    fn after_epoch(&mut self) -> Result<()> {
        let arguments = &self.setup.arguments;
        let control = &mut self.control;
        control.should_log |= arguments.logging_strategy == Interval::Epoch;
        control.should_evaluate |=
            arguments.eval_strategy == Interval::Epoch && arguments.eval_delay <= self.setup.state.epoch;
        control.should_save |= arguments.save_strategy == SaveInterval::Epoch;
        self.call(&mut |callback, event| callback.on_epoch_end(event))?;
        self.epoch_done = !self.control.should_training_stop || self.batches_done >= self.plan.batches;
        self.log_evaluate_save()
    }

    fn log_evaluate_save(&mut self) -> Result<()> {
        let step = self.setup.state.global_step;
        if self.control.should_log && step > self.sums.since {
            self.log_loss()?;
        }
        if self.control.should_evaluate {
            let (better, metric) = self.evaluate()?;
            if let (Some(plateau), Some(metric)) = (&mut self.plateau, metric) {
                plateau.step(metric, self.optimizer.groups_mut());
            }
            if self.setup.arguments.save_strategy == SaveInterval::Best {
                self.control.should_save = better;
            }
        }
        if self.control.should_save {
            let folder = self.save()?;
            self.call(&mut |callback, event| callback.on_save(event, &folder))?;
        }
        (self.control.should_log, self.control.should_evaluate, self.control.should_save) = (false, false, false);
        Ok(())
    }

    fn log_loss(&mut self) -> Result<()> {
        let step = self.setup.state.global_step;
        #[expect(clippy::cast_precision_loss, reason = "a number of steps")]
        let mean = self.sums.loss / (step - self.sums.since) as f64;
        let mut logs = Map::new();
        logs.insert("loss".into(), number(rounded(mean, 4)));
        if let Some(norm) = self.gradient_norm {
            logs.insert("grad_norm".into(), number(norm));
        }
        logs.insert("learning_rate".into(), number(self.learning_rate));
        for part in &self.sums.parts {
            logs.insert(part.name.clone(), number(rounded(part.mean(), 4)));
        }
        self.total_loss += self.sums.loss;
        self.sums = Sums { since: step, ..Sums::default() };
        let (epoch, at) = (self.setup.state.epoch, i64::try_from(step).unwrap_or(i64::MAX));
        self.setup.card.recorded.log_training_loss(epoch, at, rounded(mean, 4));
        self.log(logs)
    }

    /// Appends to the history and tells the callbacks.
    fn log(&mut self, mut logs: Map<String, Value>) -> Result<()> {
        let state = &mut self.setup.state;
        logs.insert("epoch".into(), number(state.epoch));
        let mut entry = logs.clone();
        entry.insert("step".into(), state.global_step.into());
        state.log_history.push(entry);
        self.call(&mut |callback, event| callback.on_log(event, &logs))
    }

    /// Evaluates; says whether the metric by which models are chosen is better than before, and the metric.
    fn evaluate(&mut self) -> Result<(bool, Option<f64>)> {
        let mut all = Map::new();
        for evaluated in evaluation::evaluate_each(self.model, self.setup)? {
            let mut metrics = evaluated.metrics;
            metrics.insert("epoch".into(), number(self.setup.state.epoch));
            let logs = metrics.iter().chain(&evaluated.parts).map(|(name, value)| (name.clone(), value.clone()));
            self.log(logs.collect())?;
            self.call(&mut |callback, event| callback.on_evaluate(event, &metrics))?;
            all.extend(metrics);
        }
        let arguments = &self.setup.arguments;
        let needed = || self.plateau.as_ref().map(|_| "eval_loss".to_owned());
        let Some(name) = arguments.best_metric().or_else(needed) else { return Ok((false, None)) };
        let Some(metric) = all.get(&name).and_then(Value::as_f64) else {
            let known: Vec<&str> = all.keys().map(String::as_str).collect();
            return Err(TrainError::invalid(format!(
                "The `metric_for_best_model` training argument is set to '{name}', which is not found in the evaluation \
                 metrics. The available evaluation metrics are: {}. Consider changing the `metric_for_best_model` via the \
                 TrainingArguments.",
                crate::data::listed(&known)
            )));
        };
        let larger = arguments.larger_is_better();
        let state = &mut self.setup.state;
        let better = state.best_metric.is_none_or(|best| if larger { metric > best } else { metric < best });
        if better {
            (state.best_metric, state.best_global_step) = (Some(metric), Some(state.global_step));
        }
        Ok((better, Some(metric)))
    }

    /// The last logs; the best model where it is wanted.
    fn end(mut self) -> Result<TrainOutcome> {
        self.total_loss += self.sums.loss;
        let steps = self.setup.state.global_step;
        #[expect(clippy::cast_precision_loss, reason = "a number of steps")]
        let training_loss = self.total_loss / (steps as f64).max(0.001);
        let speed = self.speed();
        let mut metrics = Map::new();
        metrics.insert("train_runtime".into(), number(rounded(speed.elapsed.as_secs_f64(), 4)));
        metrics.insert("train_samples_per_second".into(), number(rounded(speed.rows_per_second(), 3)));
        metrics.insert("train_steps_per_second".into(), number(rounded(speed.steps_per_second(), 3)));
        metrics.insert("total_flos".into(), number(0.0));
        metrics.insert("train_loss".into(), number(training_loss));
        self.log(metrics.clone())?;
        if self.setup.arguments.load_best_model_at_end && self.setup.state.best_model_checkpoint.is_some() {
            self.load_best()?;
        }
        self.call(&mut |callback, event| callback.on_train_end(event))?;
        Ok(TrainOutcome { global_step: steps, training_loss, metrics })
    }

    fn speed(&self) -> Speed {
        let step = self.setup.state.global_step;
        Speed {
            elapsed: self.start.elapsed(),
            steps: step - self.first_step,
            rows: self.rows,
            tokens: self.tokens,
            steps_left: self.plan.max_steps.saturating_sub(step),
        }
    }

    /// Tells every callback.
    pub(super) fn call(&mut self, call: Call<'_>) -> Result<()> {
        let speed = self.speed();
        let mut callbacks = std::mem::take(&mut self.setup.callbacks);
        let save = |folder: &Path| save_model(self.model, self.setup, folder);
        let mut event = Event {
            arguments: &self.setup.arguments,
            state: &self.setup.state,
            control: &mut self.control,
            model: self.model,
            loss: self.loss,
            gradient_norm: self.gradient_norm,
            learning_rate: self.learning_rate,
            speed,
            saver: Saver(&save),
        };
        let done = callbacks.iter_mut().try_for_each(|callback| call(callback.as_mut(), &mut event));
        self.setup.callbacks = callbacks;
        done
    }
}

/// The parameters of the model and of the losses, named as in the original's loss object.
pub(super) fn all_parameters(model: &dyn EmbeddingModel, setup: &Setup) -> Result<Parameters> {
    let mut all = Parameters::new();
    all.extend("model.", model.parameters())?;
    for (name, loss) in setup.losses()?.all() {
        let prefix = if name.is_empty() { String::new() } else { format!("{name}.") };
        all.extend(&prefix, &loss.parameters())?;
    }
    Ok(all)
}
