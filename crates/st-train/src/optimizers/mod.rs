//! Optimizers: what gradients do to parameters. [`OPTIMIZERS`] lists those that there are; [`Optimizer`] is for others.

mod adafactor;
mod adamw;
mod gradients;
mod groups;
mod in_place;
mod sgd;
mod state;

use std::fmt::Debug;

use crate::data::Mapping;
use crate::{Result, TrainError};

pub use adafactor::Adafactor;
pub use adamw::AdamW;
pub use gradients::Gradients;
pub use groups::{NoDecay, ParameterGroup, parameter_groups};
pub use sgd::Sgd;
pub use state::{OptimizerState, ParameterState};

/// Changes parameters by their gradients.
///
/// Parameters come in groups, each with its own learning rate and weight decay. What the optimizer remembers between steps
/// can be written down and read back, so that a resumed run goes on as if it had not stopped.
///
/// ```
/// use candle_core::{Device, Tensor, Var};
/// use st_train::optimizers::{Gradients, Optimizer, ParameterGroup, Sgd};
///
/// let weight = Var::new(&[1f32, 2.0], &Device::Cpu)?;
/// let group = ParameterGroup { parameters: vec![("weight".into(), weight.clone())], learning_rate: 0.5, weight_decay: 0.0 };
/// let mut optimizer = Sgd::new(vec![group], 0.0);
/// let mut store = weight.sqr()?.sum_all()?.backward()?; // gradient 2·weight
/// let mut gradients = Gradients::new();
/// gradients.accumulate(&mut store, [&weight])?;
/// optimizer.step(&gradients, 1.0)?;
/// assert_eq!(weight.to_vec1::<f32>()?, [0.0, 0.0]);
/// # Ok::<(), st_train::TrainError>(())
/// ```
pub trait Optimizer: Debug + Send {
    /// Its name; a state is only restored by the optimizer that wrote it.
    fn name(&self) -> &'static str;

    /// The parameters.
    fn groups(&self) -> &[ParameterGroup];

    /// The parameters, to change learning rates.
    fn groups_mut(&mut self) -> &mut [ParameterGroup];

    /// One step; `factor` is the schedule's, on each group's learning rate. Parameters without gradient stay.
    ///
    /// # Errors
    /// When an operation fails.
    fn step(&mut self, gradients: &Gradients, factor: f64) -> Result<()>;

    /// What it remembers.
    ///
    /// # Errors
    /// When it cannot be read from the device.
    fn state(&self) -> Result<OptimizerState>;

    /// Remembers what [`Optimizer::state`] gave.
    ///
    /// # Errors
    /// When the state is another optimizer's, or of other parameters.
    fn restore(&mut self, state: &OptimizerState) -> Result<()>;
}

/// What the training arguments say about an optimizer.
///
/// ```
/// let settings = st_train::optimizers::OptimizerSettings::default();
/// assert_eq!((settings.beta1, settings.beta2, settings.epsilon), (0.9, 0.999, 1e-8));
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct OptimizerSettings {
    /// `adam_beta1`.
    pub beta1: f64,
    /// `adam_beta2`.
    pub beta2: f64,
    /// `adam_epsilon`.
    pub epsilon: f64,
    /// `optim_args`.
    pub arguments: Mapping<f64>,
}

impl Default for OptimizerSettings {
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, arguments: Mapping::default() }
    }
}

/// Makes an optimizer.
pub type MakeOptimizer = fn(Vec<ParameterGroup>, &OptimizerSettings) -> Box<dyn Optimizer>;

/// A row of [`OPTIMIZERS`].
#[derive(Debug, Clone, Copy)]
pub struct OptimizerKind {
    /// Its name in the training arguments.
    pub name: &'static str,
    /// Other names for it there.
    pub aliases: &'static [&'static str],
    /// What it does.
    pub summary: &'static str,
    /// What `optim_args` may set.
    pub arguments: &'static [&'static str],
    make: MakeOptimizer,
}

/// Every optimizer.
///
/// ```
/// use st_train::optimizers::OPTIMIZERS;
/// assert_eq!(OPTIMIZERS.iter().map(|kind| kind.name).collect::<Vec<_>>(), ["adamw_torch", "sgd", "adafactor"]);
/// ```
pub const OPTIMIZERS: &[OptimizerKind] = &[
    OptimizerKind {
        name: "adamw_torch",
        aliases: &["adamw", "adamw_torch_fused"],
        summary: "AdamW (Loshchilov & Hutter 2019), as PyTorch's",
        arguments: &[],
        make: |groups, settings| Box::new(AdamW::new(groups, settings.beta1, settings.beta2, settings.epsilon)),
    },
    OptimizerKind {
        name: "sgd",
        aliases: &[],
        summary: "gradient descent with momentum, as PyTorch's",
        arguments: &["momentum"],
        make: |groups, settings| Box::new(Sgd::new(groups, settings.arguments.get("momentum").copied().unwrap_or(0.0))),
    },
    OptimizerKind {
        name: "adafactor",
        aliases: &[],
        summary: "Adafactor (Shazeer & Stern 2018) with a given learning rate, little memory",
        arguments: &[],
        make: |groups, _| Box::new(Adafactor::new(groups)),
    },
];

/// The optimizer of a name.
///
/// # Errors
/// When there is none of that name, or it does not have an argument that is set.
pub fn optimizer(name: &str, groups: Vec<ParameterGroup>, settings: &OptimizerSettings) -> Result<Box<dyn Optimizer>> {
    let kind = find(name)?;
    for argument in settings.arguments.names() {
        if !kind.arguments.contains(&argument) {
            let known = if kind.arguments.is_empty() { "none".to_owned() } else { kind.arguments.join(", ") };
            let message = format!("has `{argument}`, but the optimizer '{}' has {known}", kind.name);
            return Err(TrainError::option("optim_args", message));
        }
    }
    Ok((kind.make)(groups, settings))
}

/// The row of a name.
pub(crate) fn find(name: &str) -> Result<&'static OptimizerKind> {
    OPTIMIZERS.iter().find(|kind| kind.name == name || kind.aliases.contains(&name)).ok_or_else(|| {
        let known: Vec<&str> = OPTIMIZERS.iter().map(|kind| kind.name).collect();
        TrainError::option("optim", format!("is '{name}', but should be one of '{}'", known.join("', '")))
    })
}
