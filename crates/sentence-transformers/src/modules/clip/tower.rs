//! The two encoders, each with the map of its rows.

use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value};
use st_encoder::{Backend, Encoder, EncoderFiles, EncoderOptions, PartOverlay, Tensor, TensorSource, WeightsOverlay};

use super::projection::Projection;
use crate::{Error, Result};

/// Which of the two.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Part {
    /// What stands before the names of its weights.
    name: &'static str,
    /// Name of its map's weight.
    projection: &'static str,
    config: &'static str,
    model_type: &'static str,
}

pub(super) const TEXT: Part = Part {
    name: "text_model",
    projection: "text_projection.weight",
    config: "text_config",
    model_type: "clip_text_model",
};
pub(super) const VISION: Part = Part {
    name: "vision_model",
    projection: "visual_projection.weight",
    config: "vision_config",
    model_type: "clip_vision_model",
};

/// One of the two encoders, and the map of its rows, as they run.
#[derive(Debug, Clone)]
pub(super) struct Tower {
    part: &'static Part,
    /// Without adapters.
    files: EncoderFiles,
    pub(super) encoder: Arc<dyn Encoder>,
    pub(super) projection: Arc<Projection>,
}

/// How towers are loaded: components of the common space, backend, options, and the adapters that lie over the weights of
/// the whole model.
pub(super) struct TowerOptions<'a> {
    pub(super) width: usize,
    pub(super) backend: &'a dyn Backend,
    pub(super) options: &'a EncoderOptions,
    pub(super) overlay: Option<Arc<dyn WeightsOverlay>>,
}

impl Part {
    /// Configuration of one half, and the weights of the whole model. Old configurations leave out the `model_type`.
    pub(super) fn files(&self, whole: &EncoderFiles) -> Result<EncoderFiles> {
        let (config, path) = (whole.config(), whole.config_path());
        let name = self.config;
        let empty = || Value::Object(Map::new());
        let mut half = config.get(name).filter(|half| !half.is_null()).cloned().unwrap_or_else(empty);
        // Files of 2021 say some fields a second time; those count.
        let again = config.get(format!("{name}_dict")).and_then(Value::as_object).cloned().unwrap_or_default();
        let Some(fields) = half.as_object_mut() else {
            return Err(Error::config(&path, format_args!("'{name}' should be an object")));
        };
        fields.extend(again);
        fields.insert("model_type".into(), self.model_type.into());
        Ok(whole.clone().with_config(half))
    }
}

impl Tower {
    pub(super) fn load(part: &'static Part, files: EncoderFiles, options: &TowerOptions<'_>) -> Result<Self> {
        let (mut own, mut whole) = (files.clone(), files.clone());
        if let Some(overlay) = &options.overlay {
            own = own.with_overlay(Arc::new(PartOverlay::new(Arc::clone(overlay), format!("{}.", part.name))));
            whole = whole.with_overlay(Arc::clone(overlay));
        }
        let mut encoder_options = options.options.clone();
        if part.name == VISION.name {
            // Those of texts.
            encoder_options.calibration.clear();
        }
        let encoder: Arc<dyn Encoder> = Arc::from(options.backend.load(&own, &encoder_options)?);
        let shape = [options.width, encoder.info().hidden];
        let weights = whole.weights()?;
        let weight = weights.tensor(&TensorSource::whole(part.projection), &shape)?.to_f32()?.into_owned();
        Ok(Self { part, files, encoder, projection: Arc::new(Projection::new(weight, shape)) })
    }

    /// The same half of the model with other weights or adapters.
    pub(super) fn again(&self, files: EncoderFiles, options: &TowerOptions<'_>) -> Result<Self> {
        Self::load(self.part, files, options)
    }

    /// Its configuration, and the weights of the whole model.
    pub(super) fn files(&self) -> &EncoderFiles {
        &self.files
    }
}

/// One of the two encoders of a [`ClipModel`](super::ClipModel), with the map of its rows, as training makes a graph of them:
/// without adapters.
#[derive(Debug, Clone, Copy)]
pub struct ClipTower<'a>(pub(super) &'a Tower);

impl<'a> ClipTower<'a> {
    /// What stands before the names of its weights: `text_model` or `vision_model`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.0.part.name
    }

    /// Its configuration, and the weights of the whole model.
    #[must_use]
    pub fn files(&self) -> &'a EncoderFiles {
        &self.0.files
    }

    /// Name of the map's weight: `text_projection.weight` or `visual_projection.weight`.
    #[must_use]
    pub fn projection_name(&self) -> &'static str {
        self.0.part.projection
    }

    /// The map's weight, row-major, and its shape `[width, hidden]`.
    ///
    /// # Errors
    /// When the checkpoint cannot be read any more.
    pub fn projection(&self) -> Result<(Vec<f32>, [usize; 2])> {
        let shape = self.0.projection.shape();
        let weights = self.0.files.weights()?;
        let tensor: Tensor<'_> = weights.tensor(&TensorSource::whole(self.0.part.projection), &shape)?;
        Ok((tensor.to_f32()?.into_owned(), shape))
    }
}

/// Components of the space that texts and images share.
pub(super) fn width(config: &Value, path: &Path) -> Result<usize> {
    match config.get("projection_dim").map_or(Some(512), Value::as_u64) {
        Some(width @ 1..=0xff_ffff) => Ok(width as usize),
        _ => Err(Error::config(path, "'projection_dim' should be a whole number from 1 to 16777215")),
    }
}
