//! [`Parameters`]: the numbers that training changes, by name.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{Tensor, Var};

use crate::error::{Result, TrainError};

/// One parameter: a variable and its name.
#[derive(Debug, Clone)]
pub struct Parameter {
    name: String,
    variable: Var,
    trainable: bool,
}

impl Parameter {
    /// Its name, that of the original's `named_parameters()`: `0.auto_model.embeddings.word_embeddings.weight`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The variable. Clones share its memory: [`Var::set`] changes the model.
    #[must_use]
    pub fn variable(&self) -> &Var {
        &self.variable
    }

    /// Whether training may change it (`requires_grad`).
    #[must_use]
    pub fn is_trainable(&self) -> bool {
        self.trainable
    }
}

/// The parameters of a model or a loss, in the original's order, under the original's names.
///
/// ```
/// use candle_core::{DType, Device, Var};
/// use st_train::model::Parameters;
///
/// let mut parameters = Parameters::new();
/// for name in ["0.auto_model.embeddings.word_embeddings.weight", "2.linear.weight", "2.linear.bias"] {
///     parameters.push(name, Var::zeros(3, DType::F32, &Device::Cpu)?)?;
/// }
/// assert_eq!(parameters.freeze("0."), 1);
/// let trained: Vec<_> = parameters.trainable().map(|parameter| parameter.name()).collect();
/// assert_eq!(trained, ["2.linear.weight", "2.linear.bias"]);
/// assert_eq!((parameters.len(), parameters.elements()), (3, 9));
/// # Ok::<(), st_train::TrainError>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct Parameters {
    list: Vec<Parameter>,
    index: BTreeMap<String, usize>,
}

impl Parameters {
    /// No parameters.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a trainable parameter.
    ///
    /// # Errors
    /// When there is one of that name.
    pub fn push(&mut self, name: impl Into<String>, variable: Var) -> Result<()> {
        let name = name.into();
        if self.index.contains_key(&name) {
            let message = format!("two parameters are called '{name}'");
            return Err(TrainError::invalid(message));
        }
        self.index.insert(name.clone(), self.list.len());
        self.list.push(Parameter { name, variable, trainable: true });
        Ok(())
    }

    /// Appends all parameters of `other`, `prefix` before their names. The variables are shared, not copied.
    ///
    /// # Errors
    /// When two would have the same name.
    pub fn extend(&mut self, prefix: &str, other: &Self) -> Result<()> {
        for parameter in &other.list {
            self.push(format!("{prefix}{}", parameter.name), parameter.variable.clone())?;
            if let Some(last) = self.list.last_mut() {
                last.trainable = parameter.trainable;
            }
        }
        Ok(())
    }

    /// Number of parameters (tensors).
    #[must_use]
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Number of numbers in all parameters.
    #[must_use]
    pub fn elements(&self) -> usize {
        self.list.iter().map(|parameter| parameter.variable.elem_count()).sum()
    }

    /// All parameters, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Parameter> {
        self.list.iter()
    }

    /// The parameters that training may change, in order.
    pub fn trainable(&self) -> impl Iterator<Item = &Parameter> {
        self.list.iter().filter(|parameter| parameter.trainable)
    }

    /// The parameter of a name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Parameter> {
        self.index.get(name).map(|&index| &self.list[index])
    }

    /// Freezes every parameter whose name starts with `prefix`; says how many.
    pub fn freeze(&mut self, prefix: &str) -> usize {
        self.set_trainable(false, |name| name.starts_with(prefix))
    }

    /// Sets whether the parameters whose names are chosen may be trained; says how many those are.
    pub fn set_trainable(&mut self, trainable: bool, chosen: impl Fn(&str) -> bool) -> usize {
        let found = self.list.iter_mut().filter(|parameter| chosen(&parameter.name));
        found.map(|parameter| parameter.trainable = trainable).count()
    }

    /// Writes all parameters, in their own data types, as a safetensors file.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        let tensors: Vec<(&str, &Tensor)> =
            self.list.iter().map(|parameter| (parameter.name.as_str(), parameter.variable.as_tensor())).collect();
        let file = safetensors::serialize(tensors, None)
            .map_err(|error| TrainError::format(path, format!("the parameters cannot be written: {error}")))?;
        std::fs::write(path, file).map_err(TrainError::writing(path))
    }

    /// Sets all parameters to what [`Parameters::save`] wrote. Nothing is changed when one does not fit.
    ///
    /// # Errors
    /// When the file cannot be read, lacks a parameter, or holds one of another shape.
    pub fn restore(&self, path: &Path) -> Result<()> {
        let bytes = std::fs::read(path).map_err(TrainError::reading(path))?;
        let file = safetensors::SafeTensors::deserialize(&bytes).map_err(TrainError::parse(path, "safetensors"))?;
        let mut loaded = Vec::with_capacity(self.list.len());
        for Parameter { name, variable, .. } in &self.list {
            let view = file.tensor(name).map_err(|_| {
                TrainError::format(path, format!("there is no parameter '{name}': the file is another model's"))
            })?;
            if view.shape() != variable.dims() {
                let message = format!("parameter '{name}' has shape {:?}, not {:?}", view.shape(), variable.dims());
                return Err(TrainError::format(path, message));
            }
            let data_type = candle_core::DType::try_from(view.dtype())?;
            let tensor = Tensor::from_raw_buffer(view.data(), data_type, view.shape(), variable.device())?;
            loaded.push(tensor.to_dtype(variable.dtype())?);
        }
        for (parameter, tensor) in self.list.iter().zip(loaded) {
            parameter.variable.set(&tensor)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device};

    fn two() -> Parameters {
        let mut parameters = Parameters::new();
        parameters.push("a", Var::new(&[[1f32, -2.5]], &Device::Cpu).unwrap()).unwrap();
        parameters.push("b", Var::new(&[0.1f64], &Device::Cpu).unwrap()).unwrap();
        parameters
    }

    #[test]
    fn what_was_saved_is_restored_bit_for_bit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("parameters.safetensors");
        let parameters = two();
        parameters.save(&path).unwrap();
        let fresh = Parameters {
            list: parameters
                .list
                .iter()
                .map(|p| Parameter {
                    variable: Var::from_tensor(&p.variable.zeros_like().unwrap()).unwrap(),
                    ..p.clone()
                })
                .collect(),
            index: parameters.index.clone(),
        };
        fresh.restore(&path).unwrap();
        assert_eq!(fresh.get("a").unwrap().variable().to_vec2::<f32>().unwrap(), [[1.0, -2.5]]);
        assert_eq!(fresh.get("b").unwrap().variable().to_vec1::<f64>().unwrap(), [0.1]);
        let mut more = two();
        more.push("c", Var::zeros(1, DType::F32, &Device::Cpu).unwrap()).unwrap();
        let error = more.restore(&path).unwrap_err().to_string();
        assert!(error.ends_with("there is no parameter 'c': the file is another model's"), "{error}");
    }

    #[test]
    fn names_are_unique_and_prefixes_freeze() {
        let mut parameters = two();
        assert!(parameters.push("a", Var::zeros(1, DType::F32, &Device::Cpu).unwrap()).is_err());
        assert_eq!(parameters.set_trainable(false, |name| name == "b"), 1);
        let mut all = Parameters::new();
        all.extend("model.", &parameters).unwrap();
        assert_eq!(all.trainable().map(Parameter::name).collect::<Vec<_>>(), ["model.a"]);
        assert_eq!(all.freeze(""), 2);
        assert_eq!(all.trainable().count(), 0);
        assert_eq!((all.elements(), all.get("model.c").is_none()), (3, true));
    }
}
