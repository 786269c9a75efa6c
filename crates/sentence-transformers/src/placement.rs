//! Where a model runs and what its numbers are: `device`, `dtype`, `to`, `half`, `float`, `compile`.

use std::sync::Arc;

use st_encoder::{Backend, DataType, WeightFormat};

use crate::modules::{Conversion, Router};
use crate::{EncodeOptions, Error, ErrorKind, Pipeline, Result, SentenceTransformer};

impl SentenceTransformer {
    /// Where the encoder runs, in PyTorch's words: `cpu`, `cuda:0`, `mps`. Models without an encoder run on the processor.
    #[must_use]
    pub fn device(&self) -> &str {
        self.encoder().map_or("cpu", |encoder| encoder.device.as_str())
    }

    /// What the encoder's numbers are, by the name of PyTorch's data type (`float32`, `float16`, `bfloat16`, `float64`), or
    /// `int8`; `None` for models without an encoder. Embeddings are `float32` all the same.
    #[must_use]
    pub fn dtype(&self) -> Option<&'static str> {
        let info = self.encoder()?;
        Some(if info.computes == DataType::F64 { DataType::F64.as_str() } else { info.weights.as_str() })
    }

    /// Keeps the encoder's weights in another form from now on: the original's `half()` ([`WeightFormat::F16`]),
    /// `bfloat16()` and `float()`, and `int8`. The weights are read from the checkpoint again, so that the way back loses
    /// nothing.
    ///
    /// ```no_run
    /// use sentence_transformers::{SentenceTransformer, WeightFormat};
    ///
    /// let mut model = SentenceTransformer::load("all-MiniLM-L6-v2")?;
    /// model.to_format(WeightFormat::BF16)?;
    /// assert_eq!(model.dtype(), Some("bfloat16"));
    /// # Ok::<(), sentence_transformers::Error>(())
    /// ```
    ///
    /// # Errors
    /// When the model has no encoder, or its backend does not know the form; the model then stays as it was.
    pub fn to_format(&mut self, weights: WeightFormat) -> Result<()> {
        self.convert(&Conversion { weights: Some(weights), ..Conversion::default() })
    }

    /// [`SentenceTransformer::to_format`] with [`WeightFormat::Int8`], calibrated on texts like those that will come,
    /// which get the default prompt if there is one and are kept for later conversions. Without this, `int8` is calibrated
    /// on a few built-in sentences. What it brings is little: with all-MiniLM-L6-v2, 300 texts of the kind lowered the mean
    /// distance from 32-bit weights by 7 to 13 %, and texts of another kind raised it by up to 48 % (`docs/performance.md`).
    ///
    /// ```no_run
    /// use sentence_transformers::SentenceTransformer;
    ///
    /// let mut model = SentenceTransformer::load("all-MiniLM-L6-v2")?;
    /// model.calibrate(&["Patient denies chest pain.", "BP 130/85, HR 72."])?;
    /// assert_eq!(model.dtype(), Some("int8"));
    /// # Ok::<(), sentence_transformers::Error>(())
    /// ```
    ///
    /// # Errors
    /// Without texts, when the tokenizer fails on one, when the model has no encoder, or when its backend does not know
    /// `int8`; the model then stays as it was.
    pub fn calibrate<T: AsRef<str>>(&mut self, texts: &[T]) -> Result<()> {
        if texts.is_empty() {
            return Err(Error::new(ErrorKind::Argument, "there are no texts to calibrate on")
                .with_hint("give some, or load the model with int8 weights without any"));
        }
        let prompt = self.default_prompt_name().and_then(|name| self.prompts().get(name)).unwrap_or_default();
        let texts = texts.iter().map(|text| format!("{prompt}{}", text.as_ref())).collect();
        let (weights, calibration) = (Some(WeightFormat::Int8), Some(texts));
        self.convert(&Conversion { weights, calibration, ..Conversion::default() })
    }

    /// [`SentenceTransformer::to_format`] with 16-bit floats.
    ///
    /// # Errors
    /// As there.
    pub fn half(&mut self) -> Result<()> {
        self.to_format(WeightFormat::F16)
    }

    /// [`SentenceTransformer::to_format`] with bfloat16.
    ///
    /// # Errors
    /// As there.
    pub fn bfloat16(&mut self) -> Result<()> {
        self.to_format(WeightFormat::BF16)
    }

    /// [`SentenceTransformer::to_format`] with 32-bit floats.
    ///
    /// # Errors
    /// As there.
    pub fn float(&mut self) -> Result<()> {
        self.to_format(WeightFormat::F32)
    }

    /// Runs the encoder on another backend from now on: the original's `to(device)`, `cuda()`, `cpu()` and `double()`.
    /// Which device and which numbers is the backend's matter; the candle backend knows graphics processors and 64-bit
    /// floats, [`crate::native::NativeBackend`] is the processor's. The form of the weights is the backend's default.
    ///
    /// # Errors
    /// When the model has no encoder, or the backend cannot load it; the model then stays as it was.
    pub fn to_backend(&mut self, backend: Arc<dyn Backend>) -> Result<()> {
        let weights = Some(WeightFormat::default());
        self.convert(&Conversion { backend: Some(backend), weights, ..Conversion::default() })
    }

    fn convert(&mut self, conversion: &Conversion) -> Result<()> {
        if self.parts.pipeline.input_mut().convert(conversion)? {
            return Ok(());
        }
        let kind = self.parts.pipeline.input().kind().name;
        let message = format!("{kind} has no encoder whose device or numbers could be changed");
        Err(Error::new(ErrorKind::Unsupported, message)
            .with_hint("models of this kind run on the processor as they are"))
    }

    /// Does now what the first call would do: starts the threads, reads every weight into memory and runs a text through
    /// each route, so that the first call is as fast as the others. Weights are packed when a model is loaded. A second
    /// time it only runs the texts.
    ///
    /// # Errors
    /// As [`SentenceTransformer::encode`].
    pub fn compile(&self) -> Result<()> {
        self.thread_pool()?;
        let text = ["Models read a text of a few words once, so that nothing waits when the first real one comes."];
        for task in tasks(self.pipeline()) {
            let options = EncodeOptions::new();
            let options = task.map_or(options.clone(), |task| options.task(task));
            if self.pipeline().dimension().is_some() {
                self.encode_with(&text, &options)?;
            } else {
                self.encode_tokens(&text, &options)?;
            }
        }
        Ok(())
    }
}

/// A task for each route of a router; one run without a task where there is none.
fn tasks(pipeline: &Pipeline) -> Vec<Option<&str>> {
    let first: &dyn std::any::Any = pipeline.input();
    match first.downcast_ref::<Router>() {
        Some(router) => router.routes().map(|(name, _)| Some(name)).collect(),
        None => vec![None],
    }
}
