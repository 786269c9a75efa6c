//! [`Adafactor`].

use std::collections::HashMap;

use candle_core::{D, DType, Device, Tensor};

use crate::Result;

use super::Optimizer;
use super::gradients::Gradients;
use super::groups::ParameterGroup;
use super::state::{OptimizerState, ParameterState};

/// Added to squared gradients.
const EPSILON: f64 = 1e-30;
/// The root mean square that an update is cut to.
const CLIP_THRESHOLD: f64 = 1.0;
/// How the share of older squares grows: 1 − t^this.
const DECAY_RATE: f64 = -0.8;

/// Adafactor (Shazeer & Stern 2018) with a given learning rate, as the Hugging Face trainer sets it up: neither scaled by
/// the parameter nor relative to the step, without first moment.
///
/// Of a matrix's squared gradients only the means of rows and columns are remembered: memory grows with the sides, not the
/// area.
///
/// ```
/// use st_train::optimizers::{Adafactor, Optimizer};
/// assert_eq!(Adafactor::new(Vec::new()).name(), "adafactor");
/// ```
#[derive(Debug)]
pub struct Adafactor {
    groups: Vec<ParameterGroup>,
    memory: HashMap<String, (u64, Squares)>,
}

/// Running means of squared gradients.
#[derive(Debug)]
enum Squares {
    /// Of each row and of each column of a matrix.
    Factored { row: Tensor, column: Tensor },
    /// Of each number of a vector.
    Whole(Tensor),
}

impl Adafactor {
    /// An optimizer of these groups.
    #[must_use]
    pub fn new(groups: Vec<ParameterGroup>) -> Self {
        Self { groups, memory: HashMap::new() }
    }
}

impl Squares {
    fn new(gradient: &Tensor) -> candle_core::Result<Self> {
        let shape = gradient.dims();
        let zeros = |shape: &[usize]| Tensor::zeros(shape, gradient.dtype(), gradient.device());
        Ok(match shape.len() {
            0 | 1 => Self::Whole(zeros(shape)?),
            rank => {
                let columns: Vec<usize> = shape[..rank - 2].iter().chain(&shape[rank - 1..]).copied().collect();
                Self::Factored { row: zeros(&shape[..rank - 1])?, column: zeros(&columns)? }
            }
        })
    }

    /// Takes a gradient in; gives it divided by the root of the means.
    fn update(&mut self, gradient: &Tensor, kept: f64) -> candle_core::Result<Tensor> {
        let square = (gradient.sqr()? + EPSILON)?;
        let mix = |old: &Tensor, new: Tensor| (old * kept)? + (new * (1.0 - kept))?;
        match self {
            Self::Whole(mean) => {
                *mean = mix(mean, square)?;
                gradient.div(&mean.sqrt()?)
            }
            Self::Factored { row, column } => {
                *row = mix(row, square.mean(D::Minus1)?)?;
                *column = mix(column, square.mean(D::Minus2)?)?;
                let rows = row.broadcast_div(&row.mean_keepdim(D::Minus1)?)?.sqrt()?.recip()?.unsqueeze(D::Minus1)?;
                let columns = column.sqrt()?.recip()?.unsqueeze(D::Minus2)?;
                rows.broadcast_mul(&columns)?.mul(gradient)
            }
        }
    }

    fn named(&self) -> Vec<(&'static str, &Tensor)> {
        match self {
            Self::Whole(mean) => vec![("square", mean)],
            Self::Factored { row, column } => vec![("square_row", row), ("square_column", column)],
        }
    }
}

impl Optimizer for Adafactor {
    fn name(&self) -> &'static str {
        "adafactor"
    }

    fn groups(&self) -> &[ParameterGroup] {
        &self.groups
    }

    fn groups_mut(&mut self) -> &mut [ParameterGroup] {
        &mut self.groups
    }

    fn step(&mut self, gradients: &Gradients, factor: f64) -> Result<()> {
        for group in &self.groups {
            let rate = group.learning_rate * factor;
            for (name, variable) in &group.parameters {
                let Some(gradient) = gradients.get(variable)? else { continue };
                let wide = if variable.dtype() == DType::F64 { DType::F64 } else { DType::F32 };
                let gradient = gradient.to_dtype(wide)?;
                let (steps, squares) = match self.memory.get_mut(name) {
                    Some(memory) => memory,
                    None => self.memory.entry(name.clone()).or_insert((0, Squares::new(&gradient)?)),
                };
                *steps += 1;
                #[expect(clippy::cast_precision_loss, reason = "a number of steps")]
                let kept = 1.0 - (*steps as f64).powf(DECAY_RATE);
                let update = squares.update(&gradient, kept)?;
                let mean =
                    update.sqr()?.mean_all()?.to_device(&Device::Cpu)?.to_dtype(DType::F64)?.to_scalar::<f64>()?;
                let update = (update * (rate / (mean.sqrt() / CLIP_THRESHOLD).max(1.0)))?;
                let parameter = (variable.as_detached_tensor().to_dtype(wide)? * (1.0 - group.weight_decay * rate))?;
                variable.set(&(parameter - update)?.to_dtype(variable.dtype())?)?;
            }
        }
        Ok(())
    }

    fn state(&self) -> Result<OptimizerState> {
        let mut parameters = Vec::new();
        for (name, _) in self.groups.iter().flat_map(|group| &group.parameters) {
            let Some((steps, squares)) = self.memory.get(name) else { continue };
            let mut tensors = Vec::new();
            for (kind, tensor) in squares.named() {
                tensors.push((kind.to_owned(), tensor.to_device(&Device::Cpu)?.contiguous()?));
            }
            parameters.push(ParameterState { name: name.clone(), steps: *steps, tensors });
        }
        Ok(OptimizerState { optimizer: self.name().to_owned(), parameters })
    }

    fn restore(&mut self, state: &OptimizerState) -> Result<()> {
        let parameters = || self.groups.iter().flat_map(|group| &group.parameters);
        state.check(self.name(), parameters().map(|(name, _)| name.as_str()))?;
        let mut memory = HashMap::new();
        for (name, variable) in parameters() {
            let Some(saved) = state.parameter(name) else { continue };
            let wide = if variable.dtype() == DType::F64 { DType::F64 } else { DType::F32 };
            let empty = Squares::new(&variable.as_detached_tensor().to_dtype(wide)?)?;
            let read = |(kind, shape): (&str, &Tensor)| {
                Ok::<_, crate::TrainError>(saved.tensor(kind, shape.dims())?.to_device(variable.device())?)
            };
            let mut tensors = empty.named().into_iter().map(read).collect::<Result<Vec<_>>>()?.into_iter();
            let squares = match (tensors.next(), tensors.next()) {
                (Some(row), Some(column)) => Squares::Factored { row, column },
                (Some(mean), None) => Squares::Whole(mean),
                _ => empty,
            };
            memory.insert(name.clone(), (saved.steps, squares));
        }
        self.memory = memory;
        Ok(())
    }
}
