//! An adapter's tensors as parameters that are trained, under the names that they have inside PEFT's models.

use super::adapter::Adapter;
use super::layer::{AdapterLayer, AdapterTensor};
use super::modules::ModuleKind;

impl AdapterLayer {
    /// The tensors, each with the end of its name in a model where the adapter is called `adapter`.
    fn parts(&self, adapter: &str) -> Vec<(String, &AdapterTensor)> {
        let (a, b) = match self.kind {
            ModuleKind::Linear | ModuleKind::Convolution => {
                (format!("lora_A.{adapter}.weight"), format!("lora_B.{adapter}.weight"))
            }
            ModuleKind::Embedding => (format!("lora_embedding_A.{adapter}"), format!("lora_embedding_B.{adapter}")),
        };
        let mut parts = vec![(a, &self.a), (b, &self.b)];
        parts.extend(self.bias.iter().map(|bias| (format!("lora_B.{adapter}.bias"), bias)));
        let magnitude = self.magnitude.iter();
        parts.extend(magnitude.map(|magnitude| (format!("lora_magnitude_vector.{adapter}.weight"), magnitude)));
        parts
    }

    /// The tensors in the order of [`AdapterLayer::parts`], to change them.
    fn parts_mut(&mut self) -> impl Iterator<Item = &mut AdapterTensor> {
        [&mut self.a, &mut self.b].into_iter().chain(&mut self.bias).chain(&mut self.magnitude)
    }
}

impl Adapter {
    /// The parameters of its layers under the names that they have in a model where it is called `adapter`, such as
    /// `encoder.layer.0.attention.self.query.lora_A.default.weight`; what it replaces whole is not among them.
    #[must_use]
    pub fn parameters(&self, adapter: &str) -> Vec<(String, &AdapterTensor)> {
        let of = |(module, layer): (&str, &'_ AdapterLayer)| -> Vec<String> {
            layer.parts(adapter).into_iter().map(|(end, _)| format!("{module}.{end}")).collect()
        };
        let names = self.layers().flat_map(of);
        let tensors = self.layers().flat_map(|(_, layer)| layer.parts(adapter).into_iter().map(|(_, tensor)| tensor));
        names.zip(tensors).collect()
    }

    /// The same adapter with other numbers: `new` is asked for each of [`Adapter::parameters`], and for each of
    /// [`Adapter::whole_tensors`] by its name; what it has nothing for stays as it is.
    ///
    /// # Errors
    /// Those of `new`.
    pub fn with_numbers<E>(
        &self,
        adapter: &str,
        mut new: impl FnMut(&str, &[usize]) -> Result<Option<Vec<f32>>, E>,
    ) -> Result<Self, E> {
        let mut changed = self.clone();
        let names: Vec<String> = self.parameters(adapter).into_iter().map(|(name, _)| name).collect();
        let wholes: Vec<String> = self.whole_tensors().map(|(name, _)| name.to_owned()).collect();
        for (name, tensor) in names.iter().chain(&wholes).zip(changed.tensors_mut()) {
            if let Some(numbers) = new(name, tensor.shape())?
                && let Some(replaced) = AdapterTensor::new(tensor.shape().to_vec(), numbers)
            {
                *tensor = replaced;
            }
        }
        Ok(changed)
    }

    /// All tensors: the layers', then those that it replaces whole.
    fn tensors_mut(&mut self) -> impl Iterator<Item = &mut AdapterTensor> {
        let (layers, whole) = self.content_mut();
        layers.values_mut().flat_map(AdapterLayer::parts_mut).chain(whole.values_mut())
    }
}
