//! From what a folder says and what the options say to a model.

use st_card::ModelCardData;
use st_hub::{Selection, Source};

use crate::model::Parts;
use crate::module::{InputContext, Origin};
use crate::pipeline::Pipeline;
use crate::{Result, SentenceTransformer};

use super::folder::Folder;
use super::options::LoadOptions;

impl SentenceTransformer {
    /// Loads a model from a folder or, by its name, from the Hub. [`LoadOptions`] is the long form.
    ///
    /// # Errors
    /// When there is no such model, or one of its files is missing, damaged or unsupported.
    pub fn load(name: impl AsRef<str>) -> Result<Self> {
        LoadOptions::new().load(name)
    }

    /// A model of given modules.
    ///
    /// # Errors
    /// When the options name a default prompt that does not exist.
    pub fn from_pipeline(pipeline: Pipeline, options: &LoadOptions) -> Result<Self> {
        Self::assemble(Folder::of_pipeline(pipeline), options, "made in memory".to_owned())
    }

    fn assemble(folder: Folder, options: &LoadOptions, origin: String) -> Result<Self> {
        let prompts = options.merge_prompts(&folder.prompts);
        let default_prompt_name = options.default_prompt_name.clone().or(folder.default_prompt_name);
        if let Some(name) = &default_prompt_name {
            prompts.require(name, "Default prompt")?;
            log::warn!(
                "Default prompt name is set to '{name}'. This prompt will be applied to all `encode()` calls, except if \
                 `encode()` is called with `prompt` or `prompt_name` parameters."
            );
        }
        let threads = options
            .threads
            .or_else(|| std::thread::available_parallelism().ok().map(std::num::NonZero::get))
            .unwrap_or(1);
        Ok(Self::from_parts(Parts {
            pipeline: folder.pipeline,
            prompts,
            default_prompt_name,
            similarity: options.similarity.or(folder.similarity).unwrap_or_default(),
            truncate_dim: options.truncate_dim,
            threads,
            path: folder.path,
            origin,
            config: folder.config,
            card: folder.card,
            card_data: ModelCardData::new().local_files_only(options.hub.is_offline()),
        }))
    }
}

impl LoadOptions {
    /// Loads a model from a folder or, by its name, from the Hub.
    ///
    /// # Errors
    /// When there is no such model, or one of its files is missing, damaged or unsupported.
    pub fn load(&self, name: impl AsRef<str>) -> Result<SentenceTransformer> {
        let name = name.as_ref();
        log::info!("Load pretrained SentenceTransformer: {name}");
        let source = Source::resolve(name, &self.hub)?;
        let origin = Origin {
            name: source.id().unwrap_or(name).to_owned(),
            hub: self.hub.clone(),
            is_local: matches!(source, Source::Folder(_)),
        };
        let context = InputContext { origin, ..self.input.clone() };
        let folder = super::folder::open(name, source.snapshot(&Selection::model())?, &context)?;
        SentenceTransformer::assemble(folder, self, source.origin())
    }
}
