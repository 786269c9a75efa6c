//! Adapters as parts of a graph: their tensors are parameters beside the frozen ones of the network.

use std::collections::HashMap;

use candle_core::{DType, Device, Tensor};
use st_encoder::EncoderError;
use st_encoder::adapters::Adapter;

use crate::error::failed;
use crate::parameters::Parameters;

/// An adapter of a network: which of its parameters change which module.
#[derive(Debug)]
pub(crate) struct GraphAdapter {
    /// What it was made of; its numbers are those at first.
    pub(crate) adapter: Adapter,
    /// What it is called in the names of parameters.
    pub(crate) name: String,
    pub(crate) layers: HashMap<String, GraphLayer>,
}

/// The change of one module: numbers of its parameters.
#[derive(Debug, Clone, Copy)]
pub(crate) struct GraphLayer {
    /// Its place of dropout.
    pub(crate) place: u64,
    pub(crate) a: usize,
    pub(crate) b: usize,
    pub(crate) bias: Option<usize>,
    pub(crate) magnitude: Option<usize>,
    pub(crate) scaling: f64,
}

impl GraphLayer {
    pub(crate) fn numbers(self) -> impl Iterator<Item = usize> {
        [Some(self.a), Some(self.b), self.bias, self.magnitude].into_iter().flatten()
    }
}

/// Places of dropout per adapter; those from the first such number on are adapters', the network's own are smaller.
const PLACES: u64 = 1 << 32;

impl GraphAdapter {
    /// Adds the tensors of a network's adapter `number` to the parameters, and puts what it replaces whole into its place.
    pub(crate) fn attach(
        number: usize,
        (name, adapter): (&str, &Adapter),
        trainable: bool,
        parameters: &mut Parameters,
    ) -> Result<Self, EncoderError> {
        for (tensor_name, tensor) in adapter.whole_tensors() {
            parameters.replace(tensor_name, tensor, trainable)?;
        }
        let mut named = adapter.parameters(name).into_iter();
        let mut layers = HashMap::new();
        for (place, (module, layer)) in adapter.layers().enumerate() {
            let mut next = || match named.next() {
                Some((name, tensor)) => parameters.push(name, tensor, trainable),
                None => Err(EncoderError::MissingTensor { path: adapter.path().into(), name: module.to_owned() }),
            };
            let (a, b) = (next()?, next()?);
            let bias = layer.bias.as_ref().map(|_| next()).transpose()?;
            let magnitude = layer.magnitude.as_ref().map(|_| next()).transpose()?;
            let place = PLACES * (number as u64 + 1) + place as u64;
            let scaling = layer.scaling;
            layers.insert(module.to_owned(), GraphLayer { place, a, b, bias, magnitude, scaling });
        }
        Ok(Self { adapter: adapter.clone(), name: name.to_owned(), layers })
    }

    /// The adapter with the numbers that the parameters have now.
    pub(crate) fn current(&self, parameters: &Parameters) -> Result<Adapter, EncoderError> {
        self.adapter.with_numbers(&self.name, |name, _| {
            let parameter = parameters.all.iter().find(|parameter| parameter.name() == name);
            let numbers = |tensor: Tensor| -> candle_core::Result<Vec<f32>> {
                tensor.to_device(&Device::Cpu)?.to_dtype(DType::F32)?.flatten_all()?.to_vec1()
            };
            parameter.map(|parameter| numbers(parameter.variable().as_detached_tensor())).transpose().map_err(failed)
        })
    }
}
