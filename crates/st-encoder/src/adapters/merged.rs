//! [`MergedAdapters`]: adapters laid over the weights of a checkpoint.

use std::ops::Range;
use std::sync::Arc;

use super::adapter::Adapter;
use super::layer::to_f32;
use crate::EncoderError;
use crate::weights::WeightsOverlay;

/// Adapters that are active together, in their order, as an overlay over a checkpoint's weights.
///
/// What several adapters replace whole is the last one's. Changes add up; with DoRA the rows of the sum so far are scaled
/// by the magnitude over the length that the base's row has with that adapter's change alone, as PEFT computes it.
///
/// ```no_run
/// use std::sync::Arc;
/// use st_encoder::EncoderFiles;
/// use st_encoder::adapters::{AdaptableModules, Adapter, MergedAdapters};
///
/// let files = EncoderFiles::open("all-MiniLM-L6-v2")?;
/// let adapter = Adapter::open("my-adapter".as_ref(), &AdaptableModules::of_files(&files)?)?;
/// let adapted = files.with_overlay(Arc::new(MergedAdapters::new(vec![Arc::new(adapter)])?));
/// # Ok::<(), st_encoder::EncoderError>(())
/// ```
#[derive(Debug)]
pub struct MergedAdapters {
    adapters: Vec<Arc<Adapter>>,
}

impl MergedAdapters {
    /// Adapters that are active together.
    ///
    /// # Errors
    /// [`EncoderError::UnsupportedAdapter`] when two of them train modules whole, or one adds a bias to a module whose
    /// rows another scales afterwards.
    pub fn new(adapters: Vec<Arc<Adapter>>) -> Result<Self, EncoderError> {
        let refuse = |adapter: &Adapter, message: String| {
            Err(EncoderError::UnsupportedAdapter { path: adapter.path().into(), message })
        };
        let mut replacing = adapters.iter().filter(|adapter| !adapter.config().modules_to_save.is_empty());
        if let (Some(_), Some(second)) = (replacing.next(), replacing.next()) {
            return refuse(second, "Attempted to set multiple adapters at once for modules_to_save.".into());
        }
        for (index, adapter) in adapters.iter().enumerate() {
            let biased = |module: &str| {
                adapters[..index].iter().any(|earlier| earlier.layer(module).is_some_and(|layer| layer.bias.is_some()))
            };
            if let Some((module, _)) =
                adapter.layers().find(|(module, layer)| layer.magnitude.is_some() && biased(module))
            {
                return refuse(adapter, format!("DoRA cannot follow an adapter with lora_bias in module '{module}'"));
            }
        }
        Ok(Self { adapters })
    }
}

impl WeightsOverlay for MergedAdapters {
    fn changes(&self, name: &str) -> bool {
        let changed = |adapter: &Arc<Adapter>| {
            adapter.whole(name).is_some()
                || name.strip_suffix(".weight").is_some_and(|module| adapter.layer(module).is_some())
                || name.strip_suffix(".bias").and_then(|module| adapter.layer(module)?.bias.as_ref()).is_some()
        };
        self.adapters.iter().any(changed)
    }

    fn apply(&self, name: &str, rows: Range<usize>, numbers: &mut [f32]) -> Result<(), EncoderError> {
        let width = numbers.len().checked_div(rows.len()).unwrap_or(0);
        for whole in self.adapters.iter().filter_map(|adapter| adapter.whole(name)) {
            let part =
                whole.data().get(rows.start * width..rows.end * width).filter(|part| part.len() == numbers.len());
            numbers.copy_from_slice(part.ok_or_else(|| misfit(name, &rows))?);
        }
        if let Some(module) = name.strip_suffix(".weight") {
            let layers: Vec<_> = self.adapters.iter().filter_map(|adapter| adapter.layer(module)).collect();
            if layers.is_empty() {
                return Ok(());
            }
            let base = numbers.to_vec();
            for layer in layers {
                let [outer, inner] = layer.matrix();
                let part_of_table = layer.kind.is_table() && rows != (0..outer);
                if rows.end > outer || width != inner || part_of_table {
                    return Err(misfit(name, &rows));
                }
                layer.apply(rows.clone(), &base, numbers);
            }
        } else if let Some(module) = name.strip_suffix(".bias") {
            for layer in self.adapters.iter().filter_map(|adapter| adapter.layer(module)) {
                if let Some(bias) = &layer.bias {
                    let scaling = to_f32(layer.scaling);
                    let part = bias.data().get(rows.clone()).ok_or_else(|| misfit(name, &rows))?;
                    for (number, bias) in numbers.iter_mut().zip(part) {
                        *number += scaling * bias;
                    }
                }
            }
        }
        Ok(())
    }
}

fn misfit(name: &str, rows: &Range<usize>) -> EncoderError {
    EncoderError::Config {
        path: super::ADAPTER_CONFIG.into(),
        message: format!("the adapter does not fit rows {rows:?} of tensor '{name}'; it was read for another network"),
    }
}
