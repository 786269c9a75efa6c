//! A transformer's checkpoint with new weights.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use safetensors::tensor::{Dtype, TensorView};
use st_encoder::architectures::describe;
use st_encoder::weights::current_name;
use st_encoder::{EncoderFiles, Slot, TensorSource, Weights};

use crate::files::SavedTensor;
use crate::{Error, ErrorKind, NewWeights, Result};

/// What stands before the names of a transformer's weights, between the module's name and the checkpoint's.
pub(super) const MODEL: &str = "auto_model.";

/// The prefix that the names of an encoder's weights have in a checkpoint.
pub(super) fn prefix(files: &EncoderFiles) -> Result<&'static str> {
    let (architecture, spec) = describe(files.config(), &files.config_path())?;
    let stored = files.weights()?;
    let probe = (architecture.source)(&spec, Slot::WordEmbedding).name;
    let prefix = architecture.prefixes.iter().find(|prefix| stored.contains(&format!("{prefix}{probe}")));
    Ok(prefix.copied().unwrap_or_default())
}

/// The bytes of `model.safetensors` with new weights, all in 32 bits, under the checkpoint's own names; `None` when there
/// are no new ones, or, where they are `frozen`, the new ones are the old ones. What the network does not use (a pooler, a
/// language model's head) is kept. The new ones have `start` before their names in the place of the checkpoint's `prefix`.
pub(in crate::modules) fn with_new(
    files: &EncoderFiles,
    prefix: impl FnOnce(&EncoderFiles) -> Result<&'static str>,
    start: &str,
    new: &mut NewWeights,
    frozen: bool,
) -> Result<Option<Arc<Vec<u8>>>> {
    if !new.names().any(|name| name.starts_with(start)) {
        return Ok(None);
    }
    let prefix = prefix(files)?;
    let stored = files.weights()?;
    let mut tensors = Vec::new();
    let mut changed = !frozen;
    for name in stored.names() {
        let shape = stored.shape_of(name).unwrap_or_default();
        let today = current_name(name).unwrap_or_else(|| name.to_owned());
        let old = || stored.tensor(&TensorSource::whole(name), shape)?.to_f32().map(Cow::into_owned);
        let numbers = match today.strip_prefix(prefix) {
            None => None,
            Some(inside) => new.take(&format!("{start}{inside}"), shape)?,
        };
        let numbers = match numbers {
            Some(numbers) => {
                changed = changed || numbers != old()?;
                numbers
            }
            None => old()?,
        };
        tensors.push(SavedTensor::new(name, shape, numbers));
    }
    changed.then(|| written(&tensors)).transpose()
}

/// The bytes of `model.safetensors` with what lies over the weights, all in 32 bits, under the checkpoint's own names.
/// `adapted` are the weights as executors read them, with their prefix.
pub(in crate::modules) fn merged(stored: &Weights, adapted: &Weights) -> Result<Arc<Vec<u8>>> {
    let mut tensors = Vec::new();
    for name in stored.names() {
        let shape = stored.shape_of(name).unwrap_or_default();
        let today = current_name(name).unwrap_or_else(|| name.to_owned());
        let tensor = match today.strip_prefix(adapted.prefix()) {
            Some(inside) => adapted.tensor(&TensorSource::whole(inside), shape)?,
            None => stored.tensor(&TensorSource::whole(name), shape)?,
        };
        tensors.push(SavedTensor::new(name, shape, tensor.to_f32()?.into_owned()));
    }
    written(&tensors)
}

fn written(tensors: &[SavedTensor<'_>]) -> Result<Arc<Vec<u8>>> {
    let failed = |error: safetensors::SafeTensorError| {
        Error::new(ErrorKind::Weights, "the new weights cannot be written").with_source(error)
    };
    let mut views = Vec::with_capacity(tensors.len());
    for SavedTensor { name, shape, data } in tensors {
        let view = TensorView::new(Dtype::F32, shape.clone(), bytemuck::cast_slice(data)).map_err(failed)?;
        views.push((name.as_ref(), view));
    }
    let format = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    Ok(Arc::new(safetensors::serialize(views, Some(format)).map_err(failed)?))
}
