//! Which model, and how it is loaded: the arguments that every command has.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use sentence_transformers::adapters::AdapterOptions;
use sentence_transformers::hub::HubOptions;
use sentence_transformers::{LoadOptions, SentenceTransformer, SimilarityFunction, WeightFormat};

use super::Surroundings;
use crate::failure::{Failure, Result};
use crate::input::{OnError, Request, Rows, Texts};
use crate::render::Downloads;

pub(super) const DEFAULT_MODEL: &str = "sentence-transformers/all-MiniLM-L6-v2";

#[derive(Debug, Args)]
#[command(next_help_heading = "Model")]
pub(super) struct ModelArguments {
    /// Folder of a model, or its name on the Hugging Face Hub
    #[arg(short, long, default_value = DEFAULT_MODEL, value_name = "FOLDER|NAME")]
    pub(super) model: String,
    #[command(flatten)]
    pub(super) hub: HubArguments,
    /// Form of the weights in memory
    #[arg(long, default_value = WeightFormat::F32.as_str(), value_parser = weight_formats(), value_name = "FORM")]
    pub(super) weights: WeightFormat,
    /// Texts like those that will come, for int8 weights to be calibrated on [default: a few built-in sentences]
    #[arg(long, value_name = "FILE")]
    calibration_texts: Option<PathBuf>,
    /// Longest token sequence, instead of the model's
    #[arg(long, value_name = "TOKENS")]
    pub(super) max_seq_length: Option<usize>,
    /// Threads to use [default: one per core]
    #[arg(long, value_name = "COUNT", value_parser = at_least_one)]
    threads: Option<usize>,
    /// Adapter in PEFT's format to lay over the model, a folder or its name on the Hub; several add up
    #[arg(long, value_name = "FOLDER|NAME")]
    pub(super) adapter: Vec<String>,
}

/// How the Hub is asked.
#[derive(Debug, Args)]
pub(super) struct HubArguments {
    /// Branch, tag or commit on the Hub
    #[arg(long, value_name = "NAME")]
    pub(super) revision: Option<String>,
    /// Folder of the Hub's cache, instead of the one that the environment names
    #[arg(long, value_name = "FOLDER")]
    cache_folder: Option<PathBuf>,
    /// Ask nothing of the Hub
    #[arg(long)]
    local_files_only: bool,
    /// Token for private models; HF_TOKEN in the environment serves as well and stays out of the process list
    #[arg(long, value_name = "TOKEN")]
    token: Option<String>,
}

impl HubArguments {
    /// As options, without progress.
    pub(super) fn options(&self) -> HubOptions {
        let mut hub = HubOptions::new().local_files_only(self.local_files_only);
        if let Some(revision) = &self.revision {
            hub = hub.revision(revision);
        }
        if let Some(folder) = &self.cache_folder {
            hub = hub.cache_folder(folder);
        }
        if let Some(token) = &self.token {
            hub = hub.token(token);
        }
        hub
    }
}

impl ModelArguments {
    pub(super) fn load(&self, surroundings: Surroundings) -> Result<SentenceTransformer> {
        let mut model = self.load_named(&self.model, surroundings)?;
        let names: Vec<String> = (1..=self.adapter.len()).map(|number| format!("adapter-{number}")).collect();
        for (adapter, name) in self.adapter.iter().zip(&names) {
            // The revision is the model's.
            let hub = self.hub.options().revision("main");
            model.load_adapter(adapter, &AdapterOptions::new().name(name).hub(hub))?;
        }
        if names.len() > 1 {
            model.set_adapters(&names.iter().map(String::as_str).collect::<Vec<_>>())?;
        }
        Ok(model)
    }

    /// Loads another model in the same way.
    pub(super) fn load_named(&self, name: &str, surroundings: Surroundings) -> Result<SentenceTransformer> {
        let calibration = self.calibration_texts.as_deref().map(|path| self.calibration(path)).transpose()?;
        let downloads = Arc::new(Downloads::new(surroundings.quiet));
        let hub = self.hub.options().progress(downloads.clone());
        // Calibration reads the weights again, so that the built-in one would be for nothing.
        let weights = if calibration.is_some() { WeightFormat::F32 } else { self.weights };
        let mut options = LoadOptions::new().hub(hub).weights(weights);
        if let Some(length) = self.max_seq_length {
            options = options.max_seq_length(length);
        }
        if let Some(threads) = self.threads {
            options = options.threads(threads);
        }
        let model = options.load(name);
        downloads.clear();
        let mut model = model?;
        if let Some(texts) = calibration {
            model.calibrate(&texts)?;
        }
        Ok(model)
    }

    /// The texts of `--calibration-texts`, without those that cannot be read.
    fn calibration(&self, path: &Path) -> Result<Vec<String>> {
        if self.weights != WeightFormat::Int8 {
            return Err(Failure::usage("--calibration-texts is for int8 weights").with_hint("add --weights int8"));
        }
        let rows = Rows::open(&Request { path, format: None, column: None })?;
        let mut rows = Texts::new(rows, OnError::Skip);
        let texts: Vec<String> = rows.by_ref().map(|text| text.text).collect();
        rows.finish()?;
        if texts.is_empty() {
            return Err(Failure::new(format!("{} holds no texts to calibrate on", path.display())));
        }
        Ok(texts)
    }
}

fn weight_formats() -> impl TypedValueParser<Value = WeightFormat> {
    PossibleValuesParser::new(WeightFormat::ALL.map(|(name, _)| name)).try_map(|name| {
        let found = WeightFormat::ALL.into_iter().find(|(known, _)| *known == name);
        found.map(|(_, format)| format).ok_or("no such form of weights")
    })
}

pub(super) fn similarity_functions() -> impl TypedValueParser<Value = SimilarityFunction> {
    PossibleValuesParser::new(SimilarityFunction::possible_values()).try_map(|name| name.parse::<SimilarityFunction>())
}

pub(super) fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("should be at least 1".to_owned()),
        Ok(number) => Ok(number),
        Err(error) => Err(error.to_string()),
    }
}
