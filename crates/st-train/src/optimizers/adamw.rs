//! [`AdamW`].

use std::collections::HashMap;

use candle_core::{DType, Device, Tensor, Var};
use rayon::prelude::*;
use st_native::training::{AdamStep, Compute};

use crate::Result;

use super::gradients::Gradients;
use super::groups::ParameterGroup;
use super::in_place::{self, Numbers};
use super::state::{OptimizerState, ParameterState};
use super::{Optimizer, find};

/// Numbers that a thread takes at once.
const BLOCK: usize = 1 << 14;

/// AdamW (Loshchilov & Hutter 2019), in PyTorch's order of operations. In 32 bits on a processor it is one pass of the
/// engine's kernel over each parameter.
///
/// With gradient g, rate η, decay λ, step t: p ← p·(1−ηλ); m ← m + (g−m)·(1−β₁); v ← β₂v + (1−β₂)g²;
/// p ← p − η/(1−β₁ᵗ) · m / (√v/√(1−β₂ᵗ) + ε).
///
/// ```
/// use candle_core::{Device, Var};
/// use st_train::optimizers::{AdamW, Gradients, Optimizer, ParameterGroup};
///
/// let weight = Var::new(&[1f64], &Device::Cpu)?;
/// let group = ParameterGroup { parameters: vec![("w".into(), weight.clone())], learning_rate: 0.1, weight_decay: 0.0 };
/// let mut optimizer = AdamW::new(vec![group], 0.9, 0.999, 1e-8);
/// let mut gradients = Gradients::new();
/// gradients.accumulate(&mut (weight.as_tensor() * 5.0)?.sum_all()?.backward()?, [&weight])?;
/// optimizer.step(&gradients, 1.0)?;
/// assert!((weight.to_vec1::<f64>()?[0] - 0.9).abs() < 1e-8); // the first step goes by the learning rate
/// # Ok::<(), st_train::TrainError>(())
/// ```
#[derive(Debug)]
pub struct AdamW {
    groups: Vec<ParameterGroup>,
    beta1: f64,
    beta2: f64,
    epsilon: f64,
    memory: HashMap<String, Memory>,
    compute: Compute,
}

/// What is remembered of a parameter.
#[derive(Debug)]
struct Memory {
    steps: u64,
    moments: Moments,
}

#[derive(Debug)]
enum Moments {
    Single {
        mean: Vec<f32>,
        square: Vec<f32>,
    },
    Double {
        mean: Vec<f64>,
        square: Vec<f64>,
    },
    /// On a device, or of half precision; in float32.
    Tensors {
        mean: Tensor,
        square: Tensor,
    },
}

impl AdamW {
    /// An optimizer of these groups.
    #[must_use]
    pub fn new(groups: Vec<ParameterGroup>, beta1: f64, beta2: f64, epsilon: f64) -> Self {
        Self { groups, beta1, beta2, epsilon, memory: HashMap::new(), compute: Compute::detect() }
    }

    fn numbers(&self, group: &ParameterGroup, number: u64, factor: f64, gradient_factor: f64) -> AdamStep {
        AdamStep {
            learning_rate: group.learning_rate * factor,
            beta1: self.beta1,
            beta2: self.beta2,
            epsilon: self.epsilon,
            weight_decay: group.weight_decay,
            number,
            gradient_factor,
        }
    }
}

/// What a step multiplies and divides by.
#[derive(Debug, Clone, Copy)]
struct Factors {
    kept: f64,
    mean_share: f64,
    square_share: f64,
    size: f64,
    correction: f64,
}

impl Factors {
    fn of(step: &AdamStep) -> Self {
        let power = i32::try_from(step.number).unwrap_or(i32::MAX);
        Self {
            kept: 1.0 - step.learning_rate * step.weight_decay,
            mean_share: 1.0 - step.beta1,
            square_share: 1.0 - step.beta2,
            size: step.learning_rate / (1.0 - step.beta1.powi(power)),
            correction: (1.0 - step.beta2.powi(power)).sqrt(),
        }
    }
}

impl Optimizer for AdamW {
    fn name(&self) -> &'static str {
        "adamw_torch"
    }

    fn groups(&self) -> &[ParameterGroup] {
        &self.groups
    }

    fn groups_mut(&mut self) -> &mut [ParameterGroup] {
        &mut self.groups
    }

    fn step(&mut self, gradients: &Gradients, factor: f64) -> Result<()> {
        let mut memory = std::mem::take(&mut self.memory);
        let done = self.groups.iter().try_for_each(|group| {
            group.parameters.iter().try_for_each(|(name, variable)| {
                let Some(gradient) = gradients.unscaled(variable) else { return Ok(()) };
                let memory = match memory.get_mut(name) {
                    Some(memory) => memory,
                    None => memory.entry(name.clone()).or_insert(Memory { steps: 0, moments: Moments::new(variable)? }),
                };
                memory.steps += 1;
                let step = self.numbers(group, memory.steps, factor, gradients.factor());
                memory.moments.apply(variable, gradient, &step, &self.compute)
            })
        });
        self.memory = memory;
        done
    }

    fn state(&self) -> Result<OptimizerState> {
        let mut parameters = Vec::new();
        for (name, variable) in self.groups.iter().flat_map(|group| &group.parameters) {
            let Some(memory) = self.memory.get(name) else { continue };
            let (mean, square) = memory.moments.tensors(variable.dims())?;
            let tensors = vec![("mean".to_owned(), mean), ("square".to_owned(), square)];
            parameters.push(ParameterState { name: name.clone(), steps: memory.steps, tensors });
        }
        Ok(OptimizerState { optimizer: self.name().to_owned(), parameters })
    }

    fn restore(&mut self, state: &OptimizerState) -> Result<()> {
        let parameters = || self.groups.iter().flat_map(|group| &group.parameters);
        state.check(find(self.name())?.name, parameters().map(|(name, _)| name.as_str()))?;
        let mut memory = HashMap::new();
        for (name, variable) in parameters() {
            let Some(saved) = state.parameter(name) else { continue };
            let (mean, square) = (saved.tensor("mean", variable.dims())?, saved.tensor("square", variable.dims())?);
            let mut moments = Moments::new(variable)?;
            moments.set(mean, square)?;
            memory.insert(name.clone(), Memory { steps: saved.steps, moments });
        }
        self.memory = memory;
        Ok(())
    }
}

impl Moments {
    fn new(variable: &Var) -> Result<Self> {
        let count = variable.elem_count();
        Ok(match (variable.device().is_cpu() && variable.is_contiguous(), variable.dtype()) {
            (true, DType::F32) => Self::Single { mean: vec![0.0; count], square: vec![0.0; count] },
            (true, DType::F64) => Self::Double { mean: vec![0.0; count], square: vec![0.0; count] },
            (_, data_type) => {
                let wide = if data_type == DType::F64 { DType::F64 } else { DType::F32 };
                let zeros = Tensor::zeros(variable.dims(), wide, variable.device())?;
                Self::Tensors { mean: zeros.clone(), square: zeros }
            }
        })
    }

    fn tensors(&self, shape: &[usize]) -> Result<(Tensor, Tensor)> {
        Ok(match self {
            Self::Single { mean, square } => {
                (Tensor::from_slice(mean, shape, &Device::Cpu)?, Tensor::from_slice(square, shape, &Device::Cpu)?)
            }
            Self::Double { mean, square } => {
                (Tensor::from_slice(mean, shape, &Device::Cpu)?, Tensor::from_slice(square, shape, &Device::Cpu)?)
            }
            Self::Tensors { mean, square } => (mean.to_device(&Device::Cpu)?, square.to_device(&Device::Cpu)?),
        })
    }

    fn set(&mut self, new_mean: &Tensor, new_square: &Tensor) -> Result<()> {
        match self {
            Self::Single { mean, square } => {
                (*mean, *square) = (new_mean.flatten_all()?.to_vec1()?, new_square.flatten_all()?.to_vec1()?);
            }
            Self::Double { mean, square } => {
                (*mean, *square) = (new_mean.flatten_all()?.to_vec1()?, new_square.flatten_all()?.to_vec1()?);
            }
            Self::Tensors { mean, square } => {
                (*mean, *square) = (new_mean.to_device(mean.device())?, new_square.to_device(square.device())?);
            }
        }
        Ok(())
    }

    fn apply(&mut self, variable: &Var, gradient: &Tensor, step: &AdamStep, compute: &Compute) -> Result<()> {
        match self {
            Self::Single { mean, square } if in_place::is_plain(variable, gradient) => {
                in_place::update(variable, gradient, |numbers| {
                    if let Numbers::Single(parameter, gradient) = numbers {
                        compute.adam(step, parameter, gradient, mean, square);
                    }
                })
            }
            Self::Double { mean, square } if in_place::is_plain(variable, gradient) => {
                in_place::update(variable, gradient, |numbers| {
                    if let Numbers::Double(parameter, gradient) = numbers {
                        pass(parameter, gradient, mean, square, step);
                    }
                })
            }
            _ => {
                let (mean, square) = self.tensors(variable.dims())?;
                let (mean, square) = (mean.to_device(variable.device())?, square.to_device(variable.device())?);
                let (parameter, mean, square) = composed(variable, gradient, &mean, &square, step)?;
                variable.set(&parameter.to_dtype(variable.dtype())?)?;
                match self {
                    Self::Tensors { mean: own_mean, square: own_square } => (*own_mean, *own_square) = (mean, square),
                    other => other.set(&mean, &square)?,
                }
                Ok(())
            }
        }
    }
}

/// The same with tensor operations, for devices and half precision.
fn composed(
    variable: &Var,
    gradient: &Tensor,
    mean: &Tensor,
    square: &Tensor,
    step: &AdamStep,
) -> candle_core::Result<(Tensor, Tensor, Tensor)> {
    let factors = Factors::of(step);
    let parameter = variable.as_detached_tensor().to_dtype(mean.dtype())?;
    let gradient = (gradient.to_dtype(mean.dtype())? * step.gradient_factor)?;
    let parameter = (parameter * factors.kept)?;
    let mean = (mean + ((&gradient - mean)? * factors.mean_share)?)?;
    let square = ((square * step.beta2)? + (gradient.sqr()? * factors.square_share)?)?;
    let divisor = ((square.sqrt()? / factors.correction)? + step.epsilon)?;
    let parameter = (parameter - (mean.div(&divisor)? * factors.size)?)?;
    Ok((parameter, mean, square))
}

/// The same in 64 bits on a processor.
fn pass(parameter: &mut [f64], gradient: &[f64], mean: &mut [f64], square: &mut [f64], step: &AdamStep) {
    let factors = Factors::of(step);
    let blocks = parameter.par_chunks_mut(BLOCK).zip(gradient.par_chunks(BLOCK));
    let blocks = blocks.zip(mean.par_chunks_mut(BLOCK).zip(square.par_chunks_mut(BLOCK)));
    blocks.for_each(|((parameter, gradient), (mean, square))| {
        for (((parameter, &gradient), mean), square) in parameter.iter_mut().zip(gradient).zip(mean).zip(square) {
            let gradient = gradient * step.gradient_factor;
            *mean += (gradient - *mean) * factors.mean_share;
            *square = *square * step.beta2 + factors.square_share * gradient * gradient;
            let divisor = square.sqrt() / factors.correction + step.epsilon;
            *parameter = *parameter * factors.kept - factors.size * (*mean / divisor);
        }
    });
}
