//! [`Sgd`].

use std::collections::HashMap;

use candle_core::{Device, Tensor};

use crate::Result;

use super::Optimizer;
use super::gradients::Gradients;
use super::groups::ParameterGroup;
use super::state::{OptimizerState, ParameterState};

/// Gradient descent with momentum, as PyTorch's: g ← g + λp; b ← μb + g (b = g at first); p ← p − ηb.
///
/// ```
/// use st_train::optimizers::{Optimizer, Sgd};
/// assert_eq!(Sgd::new(Vec::new(), 0.9).name(), "sgd");
/// ```
#[derive(Debug)]
pub struct Sgd {
    groups: Vec<ParameterGroup>,
    momentum: f64,
    memory: HashMap<String, (u64, Option<Tensor>)>,
}

impl Sgd {
    /// An optimizer of these groups.
    #[must_use]
    pub fn new(groups: Vec<ParameterGroup>, momentum: f64) -> Self {
        Self { groups, momentum, memory: HashMap::new() }
    }
}

impl Optimizer for Sgd {
    fn name(&self) -> &'static str {
        "sgd"
    }

    fn groups(&self) -> &[ParameterGroup] {
        &self.groups
    }

    fn groups_mut(&mut self) -> &mut [ParameterGroup] {
        &mut self.groups
    }

    fn step(&mut self, gradients: &Gradients, factor: f64) -> Result<()> {
        for group in &self.groups {
            for (name, variable) in &group.parameters {
                let Some(mut gradient) = gradients.get(variable)? else { continue };
                let parameter = variable.as_detached_tensor();
                if group.weight_decay != 0.0 {
                    gradient = (gradient + (&parameter * group.weight_decay)?)?;
                }
                let (steps, buffer) = self.memory.entry(name.clone()).or_default();
                *steps += 1;
                if self.momentum != 0.0 {
                    gradient = match buffer.take() {
                        Some(buffer) => ((buffer * self.momentum)? + gradient)?,
                        None => gradient,
                    };
                    *buffer = Some(gradient.clone());
                }
                variable.set(&(parameter - (gradient * (group.learning_rate * factor))?)?)?;
            }
        }
        Ok(())
    }

    fn state(&self) -> Result<OptimizerState> {
        let mut parameters = Vec::new();
        for (name, _) in self.groups.iter().flat_map(|group| &group.parameters) {
            let Some((steps, buffer)) = self.memory.get(name) else { continue };
            let tensors = match buffer {
                Some(buffer) => vec![("momentum".to_owned(), buffer.to_device(&Device::Cpu)?.contiguous()?)],
                None => Vec::new(),
            };
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
            let buffer = match self.momentum {
                0.0 => None,
                _ => Some(saved.tensor("momentum", variable.dims())?.to_device(variable.device())?),
            };
            memory.insert(name.clone(), (saved.steps, buffer));
        }
        self.memory = memory;
        Ok(())
    }
}
