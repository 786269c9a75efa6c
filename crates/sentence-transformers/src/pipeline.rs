//! [`Pipeline`]: the modules of a model in order, checked to fit together.

use st_encoder::{Pass, Rows};

use crate::module::{Feature, InputModule, Module};
use crate::{Error, ErrorKind, Features, NewWeights, Result};

/// A module with its name in `modules.json`.
#[derive(Debug)]
pub struct NamedModule {
    /// The name; usually the position, `"1"`.
    pub name: String,
    /// The module.
    pub module: Box<dyn Module>,
}

/// An input module and those that follow. That each finds what it needs, in the width it needs, is checked once, here.
#[derive(Debug)]
pub struct Pipeline {
    input_name: String,
    input: Box<dyn InputModule>,
    rest: Vec<NamedModule>,
    dimension: Option<usize>,
    width: usize,
    layers: bool,
}

/// What of a pipeline's features is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Goal {
    /// Sentence embeddings only; token rows that no module reads need not be computed.
    Sentences,
    /// Token embeddings too.
    Tokens,
}

impl Pipeline {
    /// Puts modules together.
    ///
    /// # Errors
    /// When a module needs a feature that none before it gives, or takes another width than it is given: the error names
    /// the module.
    pub fn new(input_name: impl Into<String>, input: Box<dyn InputModule>, rest: Vec<NamedModule>) -> Result<Self> {
        let mut available = vec![Feature::Tokens, input.dataflow().gives];
        if input.layers().is_some() {
            available.push(Feature::LayerEmbeddings);
        }
        let mut width = input.width();
        let mut dimension = (input.dataflow().gives == Feature::SentenceEmbedding).then_some(width);
        for NamedModule { name, module } in &rest {
            let (kind, flow) = (module.kind().name, module.dataflow());
            if !available.contains(&flow.needs) {
                let needed = flow.needs.name();
                return Err(Error::new(
                    ErrorKind::Config,
                    format!("module '{name}' ({kind}) needs '{needed}', which no module before it gives"),
                )
                .with_hint("the order of modules.json is wrong: an encoder comes first, then Pooling, then the rest"));
            }
            if let (Some(wanted), Some(given)) = (module.needed_layers(), input.layers())
                && wanted != given
            {
                return Err(Error::new(
                    ErrorKind::Config,
                    format!("module '{name}' ({kind}) takes {wanted} hidden states, but the encoder has {given}"),
                )
                .with_hint(
                    "the modules do not belong together: download the model again, all files from one revision",
                ));
            }
            width = module.output_dim(width).map_err(|wanted| {
                Error::new(
                    ErrorKind::Config,
                    format!("module '{name}' ({kind}) takes vectors of {wanted} components, but is given {width}"),
                )
                .with_hint("the modules do not belong together: download the model again, all files from one revision")
            })?;
            if flow.gives == Feature::TokenEmbeddings {
                available.retain(|feature| *feature != Feature::LayerEmbeddings);
            }
            available.push(flow.gives);
            if flow.gives == Feature::SentenceEmbedding {
                dimension = Some(width);
            }
        }
        let layers = rest.iter().any(|module| module.module.needed_layers().is_some());
        Ok(Self { input_name: input_name.into(), input, rest, dimension, width, layers })
    }

    /// The same modules with new weights. `path` says what stands before the names of a module's weights, by the module's
    /// position and name.
    pub(crate) fn with_weights(&self, path: &dyn Fn(usize, &str) -> String, weights: &mut NewWeights) -> Result<Self> {
        let input = self.input.input_with_weights(&path(0, &self.input_name), weights)?;
        let mut rest = Vec::with_capacity(self.rest.len());
        for (position, NamedModule { name, module }) in self.rest.iter().enumerate() {
            let module = module.with_weights(&path(position + 1, name), weights)?;
            rest.push(NamedModule { name: name.clone(), module });
        }
        Self::new(self.input_name.clone(), input, rest)
    }

    /// The module that reads the texts of a task.
    ///
    /// # Errors
    /// When a router has no route for the task.
    pub fn reader(&self, task: Option<&str>) -> Result<&dyn InputModule> {
        Ok(self.input.route(task)?.unwrap_or(self.input.as_ref()))
    }

    /// The module that reads texts.
    #[must_use]
    pub fn input(&self) -> &dyn InputModule {
        self.input.as_ref()
    }

    /// The module that reads texts, to change it.
    pub fn input_mut(&mut self) -> &mut dyn InputModule {
        self.input.as_mut()
    }

    /// The modules after the input module, to change them.
    pub fn rest_mut(&mut self) -> &mut [NamedModule] {
        &mut self.rest
    }

    /// Number of modules.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rest.len() + 1
    }

    /// Never true: there is always an input module.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        false
    }

    /// The modules in order, with their names.
    pub fn modules(&self) -> impl Iterator<Item = (&str, &dyn Module)> {
        let first: &dyn Module = self.input.as_ref();
        std::iter::once((self.input_name.as_str(), first))
            .chain(self.rest.iter().map(|module| (module.name.as_str(), module.module.as_ref())))
    }

    /// Components of a sentence embedding; `None` when no module makes one.
    #[must_use]
    pub fn dimension(&self) -> Option<usize> {
        self.dimension
    }

    /// What it gives: sentence embeddings where any module makes them.
    #[must_use]
    pub fn gives(&self) -> Feature {
        if self.dimension.is_some() { Feature::SentenceEmbedding } else { Feature::TokenEmbeddings }
    }

    /// Components of each vector of what it gives.
    #[must_use]
    pub fn width(&self) -> usize {
        self.dimension.unwrap_or(self.width)
    }

    /// How many hidden states it can give; `None` when it can give none.
    #[must_use]
    pub fn layers(&self) -> Option<usize> {
        if self.rest.is_empty() { self.input.layers() } else { None }
    }

    /// Whether any module leaves prompt tokens out, so that their number must be known.
    #[must_use]
    pub fn excludes_prompt(&self) -> bool {
        self.input.excludes_prompt() || self.rest.iter().any(|module| module.module.excludes_prompt())
    }

    /// Runs every module.
    ///
    /// # Errors
    /// The first module's that fails.
    pub fn forward(&self, features: Features, pass: &Pass, goal: Goal) -> Result<Features> {
        let first_only = goal == Goal::Sentences
            && self.rest.first().is_some_and(|module| module.module.rows() == Rows::First)
            && !self.rest[1..].iter().any(|module| module.module.dataflow().needs == Feature::TokenEmbeddings);
        let rows = if first_only { Rows::First } else { pass.rows };
        let layers = pass.layers || self.layers;
        self.after_input(self.input.forward(features, &Pass { rows, layers, ..*pass })?, pass)
    }

    /// Runs every module after the input module.
    pub(crate) fn after_input(&self, mut features: Features, pass: &Pass) -> Result<Features> {
        for module in &self.rest {
            features = module.module.forward(features, pass)?;
        }
        Ok(features)
    }
}
