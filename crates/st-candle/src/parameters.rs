//! [`Parameter`]: the checkpoint's tensors as variables, and which of them fills which slot.

use std::collections::HashMap;
use std::ops::Range;

use candle_core::{DType, Device, Tensor, Var};
use st_encoder::adapters::AdapterTensor;
use st_encoder::architectures::Architecture;
use st_encoder::{DataType, EncoderError, EncoderSpec, LayerSlot, Slot, TensorSource, Weights, required_slots};

use crate::error::failed;

/// A tensor of the checkpoint that the network uses, to be trained.
///
/// A tensor that fills several slots (ALBERT's shared blocks) or whose rows do (a fused projection of queries, keys and
/// values) is one parameter.
///
/// ```
/// use candle_core::{DType, Device};
/// use st_candle::EncoderGraph;
/// use st_encoder::EncoderFiles;
///
/// let files = EncoderFiles::open(st_testing::tiny_model("tiny-bert"))?;
/// let graph = EncoderGraph::load(&files, &Device::Cpu, DType::F32)?;
/// let parameter = &graph.parameters()[0];
/// assert_eq!(parameter.name(), "embeddings.word_embeddings.weight");
/// assert_eq!(parameter.tensor().dim(1)?, 32);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Parameter {
    name: String,
    variable: Var,
    stored: DataType,
    trainable: bool,
    /// Whether it may be trained at all: beside adapters the network's own parameters may not.
    free: bool,
}

impl Parameter {
    /// Its name in the checkpoint, without a prefix that a checkpoint of a larger model carries: the name under which
    /// transformers saves it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The variable: what an optimiser changes in place.
    #[must_use]
    pub fn variable(&self) -> &Var {
        &self.variable
    }

    /// The variable as a tensor.
    #[must_use]
    pub fn tensor(&self) -> &Tensor {
        self.variable.as_tensor()
    }

    /// Data type in the checkpoint.
    #[must_use]
    pub fn stored(&self) -> DataType {
        self.stored
    }

    /// Whether it is to be trained ([`crate::EncoderGraph::freeze`]).
    #[must_use]
    pub fn is_trainable(&self) -> bool {
        self.trainable
    }
}

/// Every parameter and the slots that they fill.
#[derive(Debug, Clone)]
pub(crate) struct Parameters {
    pub(crate) all: Vec<Parameter>,
    places: HashMap<Slot, Place>,
}

/// The parameter that fills a slot, and which of its rows.
#[derive(Debug, Clone)]
struct Place {
    parameter: usize,
    rows: Option<Range<usize>>,
}

impl Parameters {
    /// Reads every tensor that the network needs.
    pub(crate) fn load(
        architecture: &Architecture,
        spec: &EncoderSpec,
        weights: &Weights,
        device: &Device,
        dtype: DType,
    ) -> Result<Self, EncoderError> {
        let mut all: Vec<Parameter> = Vec::new();
        let mut known: HashMap<String, usize> = HashMap::new();
        let mut places = HashMap::new();
        for (slot, shape) in required_slots(spec) {
            let source = (architecture.source)(spec, slot);
            // Checks that the tensor is there and of the right shape, in the contract's words.
            let stored = weights.tensor(&source, &shape)?.data_type();
            let names = std::iter::once(&source.name).chain(&source.or);
            let name = names.into_iter().find(|name| weights.contains(name)).unwrap_or(&source.name).clone();
            let parameter = match known.get(&name) {
                Some(&parameter) => parameter,
                None => {
                    let variable = read(weights, &name, device, dtype)?;
                    known.insert(name.clone(), all.len());
                    all.push(Parameter { name, variable, stored, trainable: true, free: true });
                    all.len() - 1
                }
            };
            places.insert(slot, Place { parameter, rows: source.rows });
        }
        Ok(Self { all, places })
    }

    /// The tensor of a slot: a parameter or some of its rows. It carries no derivative when it is frozen or when
    /// `gradients` are not wanted.
    pub(crate) fn tensor(&self, slot: Slot, gradients: bool) -> Result<Tensor, EncoderError> {
        let place = self.place(slot)?;
        let parameter = &self.all[place.parameter];
        let tensor = if gradients && parameter.trainable {
            parameter.tensor().clone()
        } else {
            parameter.variable.as_detached_tensor()
        };
        match &place.rows {
            Some(rows) => tensor.narrow(0, rows.start, rows.len()).map_err(failed),
            None => Ok(tensor),
        }
    }

    /// Whether the network has a slot.
    pub(crate) fn has(&self, slot: Slot) -> bool {
        self.places.contains_key(&slot)
    }

    /// The distinct parameters of those slots that `wanted` names, in order.
    pub(crate) fn of(&self, wanted: impl Fn(&Slot) -> bool) -> Vec<&Parameter> {
        let mut indices: Vec<_> =
            self.places.iter().filter(|(slot, _)| wanted(slot)).map(|(_, place)| place.parameter).collect();
        indices.sort_unstable();
        indices.dedup();
        indices.into_iter().map(|index| &self.all[index]).collect()
    }

    /// The parameters of a network of which only some blocks are left, in a new order of names: block `layers[i]` becomes
    /// block `i`, and a convolution stays at its place. `spec` describes the smaller network.
    pub(crate) fn with_layers(
        &self,
        architecture: &Architecture,
        spec: &EncoderSpec,
        layers: &[usize],
    ) -> Result<Self, EncoderError> {
        let mut all: Vec<Parameter> = Vec::new();
        let mut places = HashMap::new();
        for (slot, _) in required_slots(spec) {
            let before = match slot {
                Slot::Layer { slot: LayerSlot::Convolution(_) | LayerSlot::ConvolutionNorm(_), .. } => slot,
                Slot::Layer { layer, slot } => Slot::Layer { layer: layers[layer], slot },
                other => other,
            };
            let place = self.place(before)?;
            let mut parameter = self.all[place.parameter].clone();
            if before != slot {
                parameter.name = (architecture.source)(spec, slot).name;
            }
            let index = all.iter().position(|known| known.name == parameter.name).unwrap_or_else(|| {
                all.push(parameter);
                all.len() - 1
            });
            places.insert(slot, Place { parameter: index, rows: place.rows.clone() });
        }
        Ok(Self { all, places })
    }

    fn place(&self, slot: Slot) -> Result<&Place, EncoderError> {
        let missing = || EncoderError::MissingTensor { path: "the network".into(), name: format!("{slot:?}") };
        self.places.get(&slot).ok_or_else(missing)
    }

    /// Trains the parameters that `trainable` says yes to, and no others.
    pub(crate) fn select(&mut self, trainable: impl Fn(&str) -> bool) {
        for parameter in &mut self.all {
            parameter.trainable = parameter.free && trainable(&parameter.name);
        }
    }

    /// Freezes everything for good, because adapters are trained instead.
    pub(crate) fn freeze_for_adapters(&mut self) {
        for parameter in &mut self.all {
            (parameter.trainable, parameter.free) = (false, false);
        }
    }

    /// Adds a parameter of an adapter and gives its number.
    pub(crate) fn push(&mut self, name: String, tensor: &AdapterTensor, free: bool) -> Result<usize, EncoderError> {
        let (device, dtype) = self
            .all
            .first()
            .map_or((Device::Cpu, DType::F32), |first| (first.variable.device().clone(), first.variable.dtype()));
        let variable = variable(tensor, &device, dtype)?;
        self.all.push(Parameter { name, variable, stored: DataType::F32, trainable: free, free });
        Ok(self.all.len() - 1)
    }

    /// Puts an adapter's tensor into the place of the network's, where the network uses it.
    pub(crate) fn replace(&mut self, name: &str, tensor: &AdapterTensor, free: bool) -> Result<(), EncoderError> {
        if let Some(parameter) = self.all.iter_mut().find(|parameter| parameter.name == name) {
            parameter.variable = variable(tensor, parameter.variable.device(), parameter.variable.dtype())?;
            (parameter.trainable, parameter.free) = (free, free);
        }
        Ok(())
    }

    /// A parameter by its number, without derivatives when it is frozen or `gradients` are not wanted.
    pub(crate) fn at(&self, index: usize, gradients: bool) -> Tensor {
        let parameter = &self.all[index];
        if gradients && parameter.trainable {
            parameter.tensor().clone()
        } else {
            parameter.variable.as_detached_tensor()
        }
    }

    /// The slots of the network, in any order.
    pub(crate) fn slots(&self) -> impl Iterator<Item = &Slot> {
        self.places.keys()
    }

    /// Name of the parameter that fills a slot, and which of its rows.
    pub(crate) fn source(&self, slot: Slot) -> Option<(&str, Option<Range<usize>>)> {
        let place = self.places.get(&slot)?;
        Some((self.all[place.parameter].name.as_str(), place.rows.clone()))
    }
}

/// An adapter's tensor as a variable.
fn variable(tensor: &AdapterTensor, device: &Device, dtype: DType) -> Result<Var, EncoderError> {
    let numbers = Tensor::from_slice(tensor.data(), tensor.shape(), &Device::Cpu);
    let moved = numbers.and_then(|numbers| numbers.to_dtype(dtype)?.to_device(device));
    moved.and_then(|numbers| Var::from_tensor(&numbers)).map_err(failed)
}

/// A whole tensor of the checkpoint as a variable.
fn read(weights: &Weights, name: &str, device: &Device, dtype: DType) -> Result<Var, EncoderError> {
    let missing = || EncoderError::MissingTensor { path: weights.path().into(), name: name.to_owned() };
    let shape = weights.shape_of(name).ok_or_else(missing)?.to_vec();
    let stored = weights.tensor(&TensorSource::whole(name), &shape)?;
    let numbers = stored.to_f32()?;
    let tensor = if stored.data_type() == DataType::F64 && dtype == DType::F64 {
        let numbers: Vec<f64> = stored.bytes().as_chunks().0.iter().map(|&bytes| f64::from_le_bytes(bytes)).collect();
        Tensor::from_vec(numbers, shape, &Device::Cpu)
    } else {
        Tensor::from_slice(&numbers, shape, &Device::Cpu)
    };
    // Converted before it is moved: not every device has 64-bit floats.
    let moved = tensor.and_then(|tensor| tensor.to_dtype(dtype)?.to_device(device));
    moved.and_then(|tensor| Var::from_tensor(&tensor)).map_err(failed)
}
