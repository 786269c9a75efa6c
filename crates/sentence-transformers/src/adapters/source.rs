//! [`AdapterOptions`], and where an adapter's files are.

use std::path::PathBuf;

use st_encoder::adapters::{ADAPTER_CONFIG, ADAPTER_WEIGHTS};
use st_hub::{HubOptions, Selection, Source};

use crate::{Error, ErrorKind, Result};

/// How an adapter is loaded: the arguments of the original's `load_adapter`.
///
/// ```no_run
/// use sentence_transformers::SentenceTransformer;
/// use sentence_transformers::adapters::AdapterOptions;
///
/// let mut model = SentenceTransformer::load("all-MiniLM-L6-v2")?;
/// model.load_adapter("me/adapters", &AdapterOptions::new().name("law").subfolder("law").revision("v2"))?;
/// # Ok::<(), sentence_transformers::Error>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct AdapterOptions {
    pub(super) name: Option<String>,
    subfolder: Option<String>,
    pub(super) trainable: bool,
    hub: HubOptions,
}

impl AdapterOptions {
    /// The defaults: an adapter called `default`, from the top folder of the main branch.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What the adapter is called in the model.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Folder inside the repository or the folder.
    #[must_use]
    pub fn subfolder(mut self, subfolder: impl Into<String>) -> Self {
        self.subfolder = Some(subfolder.into());
        self
    }

    /// Whether training changes the adapter; by default it is loaded for inference, and training leaves it as it is until
    /// [`crate::SentenceTransformer::set_adapter`] makes it the active one.
    #[must_use]
    pub fn trainable(mut self, trainable: bool) -> Self {
        self.trainable = trainable;
        self
    }

    /// Branch, tag or commit on the Hub.
    #[must_use]
    pub fn revision(mut self, revision: impl Into<String>) -> Self {
        self.hub = self.hub.revision(revision);
        self
    }

    /// Token for private repositories.
    #[must_use]
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.hub = self.hub.token(token);
        self
    }

    /// All options of the Hub client at once.
    #[must_use]
    pub fn hub(mut self, hub: HubOptions) -> Self {
        self.hub = hub;
        self
    }
}

/// Brings an adapter's files and returns their folder.
pub(super) fn fetch(folder_or_id: &str, options: &AdapterOptions) -> Result<PathBuf> {
    let source = Source::resolve(folder_or_id, &options.hub)?;
    let inside = |file: &str| match options.subfolder.as_deref().map(|folder| folder.trim_end_matches('/')) {
        Some(folder) if !folder.is_empty() => format!("{folder}/{file}"),
        _ => file.to_owned(),
    };
    let config = source.file(&inside(ADAPTER_CONFIG))?;
    let missing = || match source.failure() {
        Some(failure) => Error::from(failure),
        None => Error::new(
            ErrorKind::NotFound,
            format!(
                "adapter model file not found in {folder_or_id}. Make sure you are passing the correct path to the \
                 adapter model."
            ),
        )
        .with_hint("an adapter's folder holds adapter_config.json"),
    };
    config.ok_or_else(missing)?;
    let wanted = [inside(ADAPTER_CONFIG), inside(ADAPTER_WEIGHTS[0]), inside(ADAPTER_WEIGHTS[1])];
    let root = source.snapshot(&Selection::matching(move |name| wanted.iter().any(|wanted| wanted == name)))?;
    Ok(match &options.subfolder {
        Some(folder) => root.join(folder),
        None => root,
    })
}
