//! The fields of [`TrainingArguments`], one line of defaults each.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::data::{Mapping, PromptSettings, RouterMapping};

use super::choices::{Interval, Resume, SaveInterval};

/// A field of [`TrainingArguments`], for front doors.
///
/// ```
/// use st_train::TrainingArguments;
/// assert!(TrainingArguments::FIELDS.iter().any(|field| field.name == "learning_rate"));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ArgumentField {
    /// Its name.
    pub name: &'static str,
    /// What it sets.
    pub description: &'static str,
}

/// Makes the struct, its defaults, a setter per field, and the list of fields.
macro_rules! arguments {
    ($($(#[doc = $description:literal])+ $name:ident: $type:ty = $default:expr,)*) => {
        /// Everything that is set about a training run, under the names of the original's
        /// `SentenceTransformerTrainingArguments`, as far as they make sense for one process.
        ///
        /// Read from JSON or TOML, where unknown names are errors, or set by methods of the fields' names.
        ///
        /// ```
        /// use st_train::{Interval, TrainingArguments};
        ///
        /// let arguments = TrainingArguments::new("models/mine")
        ///     .num_train_epochs(1.0)
        ///     .per_device_train_batch_size(32)
        ///     .warmup_ratio(0.1)
        ///     .eval_strategy(Interval::Steps)
        ///     .eval_steps(Some(100.0));
        /// assert_eq!(arguments.learning_rate, 5e-5);
        /// let read = TrainingArguments::from_toml("num_train_epochs = 1.0\nlogging_steps = 50")?;
        /// assert_eq!(read.logging_steps, 50.0);
        /// # Ok::<(), st_train::TrainError>(())
        /// ```
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct TrainingArguments {
            $($(#[doc = $description])+ pub $name: $type,)*
        }

        impl Default for TrainingArguments {
            fn default() -> Self {
                Self { $($name: $default,)* }
            }
        }

        impl TrainingArguments {
            /// The fields, in order.
            pub const FIELDS: &'static [ArgumentField] =
                &[$(ArgumentField { name: stringify!($name), description: concat!($($description),+) },)*];

            $(
                $(#[doc = $description])+
                #[must_use]
                pub fn $name(mut self, $name: $type) -> Self {
                    self.$name = $name;
                    self
                }
            )*
        }
    };
}

arguments! {
    /// The folder for checkpoints and results of evaluations.
    output_dir: PathBuf = "tmp_trainer".into(),
    /// What is put before the texts: a text, or texts by column, by dataset, or by dataset and column.
    prompts: Option<PromptSettings> = None,
    /// The order of rows, a name of `BATCH_SAMPLERS`.
    batch_sampler: String = "batch_sampler".into(),
    /// How several datasets are put together, a name of `MULTI_DATASET_BATCH_SAMPLERS`.
    multi_dataset_batch_sampler: String = "proportional".into(),
    /// The route of each column, for models with a router; by column, or by dataset and column.
    router_mapping: RouterMapping = RouterMapping::default(),
    /// Learning rates for parameters whose names match a regular expression.
    learning_rate_mapping: Mapping<f64> = Mapping::default(),
    /// Rows per training batch.
    per_device_train_batch_size: usize = 8,
    /// Rows per evaluation batch.
    per_device_eval_batch_size: usize = 8,
    /// Batches whose gradients are added up before a step.
    gradient_accumulation_steps: usize = 1,
    /// Learning rate at its highest.
    learning_rate: f64 = 5e-5,
    /// Weight decay of all parameters but biases and norms.
    weight_decay: f64 = 0.0,
    /// The share of the old mean in AdamW's mean of gradients.
    adam_beta1: f64 = 0.9,
    /// The share of the old mean in AdamW's mean of squared gradients.
    adam_beta2: f64 = 0.999,
    /// What AdamW adds to the divisor.
    adam_epsilon: f64 = 1e-8,
    /// The norm that gradients are cut to; 0 for no limit.
    max_grad_norm: f64 = 1.0,
    /// Epochs; the last one may be a part of one.
    num_train_epochs: f64 = 3.0,
    /// Steps, instead of epochs; −1 to go by epochs.
    max_steps: i64 = -1,
    /// The schedule of the learning rate, a name of `SCHEDULES`.
    lr_scheduler_type: String = "linear".into(),
    /// What the schedule leaves open, such as `num_cycles`.
    lr_scheduler_kwargs: Map<String, Value> = Map::new(),
    /// The share of all steps in which the learning rate rises.
    warmup_ratio: f64 = 0.0,
    /// Steps in which the learning rate rises; goes before `warmup_ratio` unless it is 0.
    warmup_steps: usize = 0,
    /// When the loss is logged: no, steps, epoch.
    logging_strategy: Interval = Interval::Steps,
    /// Log the first step too.
    logging_first_step: bool = false,
    /// Steps between logs; below 1, a share of all steps.
    logging_steps: f64 = 500.0,
    /// Log the mean of earlier losses in place of one that is not a number.
    logging_nan_inf_filter: bool = true,
    /// When the model is evaluated: no, steps, epoch.
    eval_strategy: Interval = Interval::No,
    /// Steps between evaluations, `logging_steps` where it is not set; below 1, a share of all steps.
    eval_steps: Option<f64> = None,
    /// Steps or epochs before the first evaluation.
    eval_delay: f64 = 0.0,
    /// Evaluate before the first step.
    eval_on_start: bool = false,
    /// When a checkpoint is saved: no, steps, epoch, best.
    save_strategy: SaveInterval = SaveInterval::Steps,
    /// Steps between checkpoints; below 1, a share of all steps.
    save_steps: f64 = 500.0,
    /// How many checkpoints are kept; the best and the last one always are.
    save_total_limit: Option<usize> = None,
    /// Save the model only, so that training cannot be resumed.
    save_only_model: bool = false,
    /// The seed of dropout, of the order of the data and of whatever else is random.
    seed: u64 = 42,
    /// Another seed for the order of the data.
    data_seed: Option<u64> = None,
    /// Multiply bfloat16 in the encoder's linear layers, forward and backward; parameters, sums, attention, norms and the
    /// loss stay in 32 bits. Of 32-bit parameters only. It is tested on processors, by the engine's kernels and by the
    /// operations that GPUs run; no GPU of ours has run it.
    bf16: bool = false,
    /// Compute in float16 where that is precise enough; refused, as the original refuses it on processors.
    fp16: bool = false,
    /// Compute the encoder's blocks again in the backward pass instead of keeping what they made: less memory for more time,
    /// the same numbers to rounding.
    gradient_checkpointing: bool = false,
    /// Leave out a last batch that is not full.
    dataloader_drop_last: bool = false,
    /// After training, go back to the best checkpoint.
    load_best_model_at_end: bool = false,
    /// The metric by which models are chosen; by default the loss on the evaluation data.
    metric_for_best_model: Option<String> = None,
    /// Whether larger is better; by default unless the metric's name ends in `loss`.
    greater_is_better: Option<bool> = None,
    /// The optimizer, a name of `OPTIMIZERS`.
    optim: String = "adamw_torch".into(),
    /// What the optimizer leaves open, such as `momentum`.
    optim_args: Mapping<f64> = Mapping::default(),
    /// Go on from a checkpoint: its folder, or true for the last one in the output folder.
    resume_from_checkpoint: Option<Resume> = None,
}
