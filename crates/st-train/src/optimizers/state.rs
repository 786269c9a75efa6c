//! [`OptimizerState`]: what an optimizer remembers, as a file.

use std::collections::HashMap;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use safetensors::SafeTensors;

use crate::{Result, TrainError};

/// What an optimizer remembers.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use st_train::optimizers::{OptimizerState, ParameterState};
///
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("optimizer.safetensors");
/// let tensors = vec![("mean".to_owned(), Tensor::new(&[0.5f32], &Device::Cpu)?)];
/// let parameter = ParameterState { name: "2.linear.bias".into(), steps: 7, tensors };
/// OptimizerState { optimizer: "adamw_torch".into(), parameters: vec![parameter] }.save(&path)?;
/// let state = OptimizerState::load(&path)?;
/// assert_eq!((state.optimizer.as_str(), state.parameters[0].steps), ("adamw_torch", 7));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct OptimizerState {
    /// Its name.
    pub optimizer: String,
    /// What it remembers of each parameter that it has changed.
    pub parameters: Vec<ParameterState>,
}

/// What an optimizer remembers of a parameter.
#[derive(Debug, Clone)]
pub struct ParameterState {
    /// The parameter's name.
    pub name: String,
    /// Steps that changed it.
    pub steps: u64,
    /// Numbers, by the optimizer's names for them.
    pub tensors: Vec<(String, Tensor)>,
}

impl ParameterState {
    /// A tensor of a name, if it has the shape.
    pub(super) fn tensor(&self, name: &str, shape: &[usize]) -> Result<&Tensor> {
        let found = self.tensors.iter().find(|(own, _)| own == name).map(|(_, tensor)| tensor);
        found.filter(|tensor| tensor.dims() == shape).ok_or_else(|| {
            let message = format!("the optimizer's state has no '{name}' of shape {shape:?} for '{}'", self.name);
            TrainError::invalid(message)
        })
    }
}

/// The name of the file's metadata.
const METADATA: &str = "state";

/// What the file says besides tensors.
#[derive(serde::Deserialize)]
struct Metadata {
    optimizer: String,
    steps: serde_json::Map<String, serde_json::Value>,
}

/// Between a tensor's name and its parameter's.
const SEPARATOR: char = ':';

impl OptimizerState {
    /// What is remembered of the parameter of a name.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&ParameterState> {
        self.parameters.iter().find(|parameter| parameter.name == name)
    }

    /// Writes a safetensors file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        let steps: serde_json::Map<String, serde_json::Value> =
            self.parameters.iter().map(|parameter| (parameter.name.clone(), parameter.steps.into())).collect();
        // One entry: the order of several would differ from file to file.
        let entry = serde_json::json!({"optimizer": self.optimizer, "steps": steps}).to_string();
        let metadata = HashMap::from([(METADATA.to_owned(), entry)]);
        let tensors = self.parameters.iter().flat_map(|parameter| {
            parameter.tensors.iter().map(move |(name, tensor)| (format!("{name}{SEPARATOR}{}", parameter.name), tensor))
        });
        let file = safetensors::serialize(tensors, Some(metadata))
            .map_err(|error| TrainError::format(path, format!("the optimizer's state cannot be written: {error}")))?;
        std::fs::write(path, file).map_err(TrainError::writing(path))
    }

    /// Reads what [`OptimizerState::save`] wrote.
    ///
    /// # Errors
    /// When the file cannot be read or is something else.
    pub fn load(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).map_err(TrainError::reading(path))?;
        let parse = || TrainError::parse::<safetensors::SafeTensorError>(path, "safetensors");
        let (_, header) = SafeTensors::read_metadata(&bytes).map_err(parse())?;
        let file = SafeTensors::deserialize(&bytes).map_err(parse())?;
        let metadata = header.metadata().as_ref().and_then(|metadata| metadata.get(METADATA));
        let metadata = metadata.ok_or_else(|| TrainError::format(path, "it is no optimizer's state"))?;
        let Metadata { optimizer, steps } =
            serde_json::from_str(metadata).map_err(TrainError::parse::<serde_json::Error>(path, "JSON"))?;
        let mut parameters: Vec<ParameterState> = steps
            .into_iter()
            .map(|(name, steps)| ParameterState { name, steps: steps.as_u64().unwrap_or(0), tensors: Vec::new() })
            .collect();
        let places: HashMap<String, usize> =
            parameters.iter().enumerate().map(|(index, parameter)| (parameter.name.clone(), index)).collect();
        for (full, view) in file.tensors() {
            let place = full.split_once(SEPARATOR).and_then(|(name, of)| Some((name, *places.get(of)?)));
            let Some((name, place)) = place else {
                return Err(TrainError::format(path, format!("the tensor '{full}' belongs to no parameter")));
            };
            let data_type = DType::try_from(view.dtype())?;
            let tensor = Tensor::from_raw_buffer(view.data(), data_type, view.shape(), &Device::Cpu)?;
            parameters[place].tensors.push((name.to_owned(), tensor));
        }
        Ok(Self { optimizer, parameters })
    }

    /// Refuses the state of another optimizer, or of parameters that are not there.
    pub(super) fn check<'a>(&self, optimizer: &str, known: impl Iterator<Item = &'a str> + Clone) -> Result<()> {
        if self.optimizer != optimizer {
            let message = format!("the state is that of the optimizer '{}', not of '{optimizer}'", self.optimizer);
            return Err(TrainError::invalid(message));
        }
        for parameter in &self.parameters {
            if !known.clone().any(|name| name == parameter.name) {
                let message =
                    format!("the optimizer's state is of a parameter '{}', which is not trained", parameter.name);
                return Err(TrainError::invalid(message));
            }
        }
        Ok(())
    }
}
