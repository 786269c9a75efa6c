//! What the modules of a graph have in common: what flows through them, and how they find their weights.

use std::any::Any;
use std::fmt::Debug;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor, Var};
use sentence_transformers::modules::Module;
use st_candle::{DropoutPass, DropoutState, ops};

use crate::error::{Result, TrainError};
use crate::model::column::Column;
use crate::model::parameters::Parameters;
use crate::model::pass::TrainingPass;

/// A module of the library as operations that can be differentiated.
pub(crate) trait GraphModule: Debug + Send + Sync {
    /// Runs it.
    fn forward(&self, flow: Flow, run: &mut Run<'_>) -> Result<Flow>;

    /// Whether it reads the hidden states of every layer.
    fn needs_layers(&self) -> bool {
        false
    }
}

/// What one module hands to the next: the library's `Features`, as tensors.
#[derive(Debug, Clone, Default)]
pub(crate) struct Flow {
    /// One vector per token, `[tokens, hidden]`.
    pub(crate) tokens: Option<Tensor>,
    /// The hidden states of every layer, `[tokens, hidden]` each, the embeddings' first.
    pub(crate) layers: Option<Vec<Tensor>>,
    /// Per text, the sum of its tokens' weights, `[texts, 1]`.
    pub(crate) weight_sums: Option<Tensor>,
    /// One vector per text, `[texts, width]`.
    pub(crate) sentences: Option<Tensor>,
}

impl Flow {
    /// The token embeddings.
    pub(crate) fn tokens(&self) -> Result<&Tensor> {
        self.tokens.as_ref().ok_or_else(|| missing("token_embeddings"))
    }

    /// The sentence embeddings.
    pub(crate) fn sentences(&self) -> Result<&Tensor> {
        self.sentences.as_ref().ok_or_else(|| missing("sentence_embedding"))
    }

    /// The hidden states of every layer.
    pub(crate) fn layers(&self) -> Result<&[Tensor]> {
        self.layers.as_deref().ok_or_else(|| missing("all_layer_embeddings"))
    }

    /// With new sentence embeddings.
    pub(crate) fn with_sentences(self, sentences: Tensor) -> Self {
        Self { sentences: Some(sentences), ..self }
    }

    /// With new token embeddings.
    pub(crate) fn with_tokens(self, tokens: Tensor) -> Self {
        Self { tokens: Some(tokens), ..self }
    }
}

fn missing(feature: &str) -> TrainError {
    TrainError::invalid(format!("no module of the model has made '{feature}' yet"))
}

/// One run of a model.
#[derive(Debug)]
pub(crate) struct Run<'a> {
    pub(crate) column: &'a Column,
    pub(crate) pass: &'a mut TrainingPass,
    pub(crate) parameters: &'a Parameters,
    pub(crate) device: &'a Device,
    pub(crate) data_type: DType,
    /// Whether the encoder shall give the hidden states of every layer.
    pub(crate) layers: bool,
    /// Whether blocks are computed again in the backward pass instead of being kept.
    pub(crate) checkpoint: bool,
}

impl Run<'_> {
    /// A module's weight, without derivatives when it is frozen or none are wanted.
    pub(crate) fn weight(&self, path: &str, name: &str) -> Result<Tensor> {
        let full = format!("{path}{name}");
        let parameter = self
            .parameters
            .get(&full)
            .ok_or_else(|| TrainError::invalid(format!("the model has no parameter '{full}'")))?;
        let variable = parameter.variable();
        let tracked = parameter.is_trainable() && self.pass.gradients();
        Ok(if tracked { variable.as_tensor().clone() } else { variable.as_detached_tensor() })
    }

    /// Numbers as a constant.
    pub(crate) fn constant(&self, numbers: Vec<f32>, shape: &[usize]) -> Result<Tensor> {
        Ok(Tensor::from_vec(numbers, shape, self.device)?.to_dtype(self.data_type)?)
    }

    /// Indices of rows.
    pub(crate) fn indices(&self, rows: Vec<u32>) -> Result<Tensor> {
        let count = rows.len();
        Ok(Tensor::from_vec(rows, count, self.device)?)
    }

    /// The masks of dropout for one module; `None` when it is off.
    pub(crate) fn masks(&mut self) -> Option<DropoutPass> {
        self.pass.dropout_seed().map(|seed| DropoutState::new(seed).next_pass())
    }

    /// Sets each number to zero with the given probability and scales the others up, so that the mean stays (Srivastava
    /// et al. 2014); nothing in evaluation.
    pub(crate) fn dropout(&mut self, x: &Tensor, probability: f64) -> Result<Tensor> {
        let mask = self.masks().and_then(|masks| masks.mask(0, probability));
        Ok(ops::dropout(x, mask.as_ref())?)
    }
}

/// Makes the graph of a module and registers its parameters, the path before their names.
pub(crate) type Build = fn(&dyn Module, &str, &mut Builder) -> Result<Arc<dyn GraphModule>>;

/// Makes the graph of a model: collects its parameters.
#[derive(Debug)]
pub(crate) struct Builder {
    pub(crate) parameters: Parameters,
    pub(crate) device: Device,
    pub(crate) data_type: DType,
    /// Makes the graph of a module inside another.
    pub(crate) build: Build,
}

impl Builder {
    /// Takes all of a module's weights as parameters, under the names of its file.
    pub(crate) fn parameters_of(&mut self, module: &dyn Module, path: &str, trainable: bool) -> Result<()> {
        for tensor in module.tensors()? {
            let numbers = tensor.data.into_owned();
            let name = format!("{path}{}", tensor.name);
            let value = Tensor::from_vec(numbers, tensor.shape, &self.device)?.to_dtype(self.data_type)?;
            self.parameters.push(name.clone(), Var::from_tensor(&value)?)?;
            if !trainable {
                self.parameters.set_trainable(false, |known| known == name);
            }
        }
        Ok(())
    }
}

/// The library's module of a kind, by its type.
pub(crate) fn typed<M: Module>(module: &dyn Module) -> Result<&M> {
    (module as &dyn Any).downcast_ref::<M>().ok_or_else(|| {
        let kind = module.kind().name;
        TrainError::unsupported(
            format!("a module that calls itself {kind} is none of the library's"),
            "train it in another way, or replace it by the library's module",
        )
    })
}
