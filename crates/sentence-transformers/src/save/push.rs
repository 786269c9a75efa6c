//! Uploading a model to the Hub.

use std::path::PathBuf;

use st_hub::{HubOptions, Published, Repository, Upload};

use super::SaveOptions;
use crate::{Result, SentenceTransformer};

/// How a model is uploaded: the arguments of the original's `push_to_hub`.
///
/// ```no_run
/// use sentence_transformers::{SentenceTransformer, save::PushOptions};
///
/// let model = SentenceTransformer::load("all-MiniLM-L6-v2")?;
/// let published = model.push_to_hub("me/my-model", &PushOptions::new().private(true).create_pull_request(true))?;
/// println!("{published:?}");
/// # Ok::<(), sentence_transformers::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct PushOptions {
    hub: HubOptions,
    private: Option<bool>,
    exist_ok: bool,
    commit_message: String,
    local_model_path: Option<PathBuf>,
    revision: Option<String>,
    create_pull_request: bool,
    replace_model_card: bool,
    save: SaveOptions,
}

impl Default for PushOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl PushOptions {
    /// The defaults: a new repository, to `main`, with the token of the environment.
    #[must_use]
    pub fn new() -> Self {
        Self {
            hub: HubOptions::new(),
            private: None,
            exist_ok: false,
            commit_message: "Add new SentenceTransformer model".to_owned(),
            local_model_path: None,
            revision: None,
            create_pull_request: false,
            replace_model_card: true,
            save: SaveOptions::new(),
        }
    }

    /// All options of the Hub client: token, endpoint, progress.
    #[must_use]
    pub fn hub(mut self, hub: HubOptions) -> Self {
        self.hub = hub;
        self
    }

    /// Whether a new repository is private; by default the organisation's settings decide.
    #[must_use]
    pub fn private(mut self, private: bool) -> Self {
        self.private = Some(private);
        self
    }

    /// Whether the repository may exist already.
    #[must_use]
    pub fn exist_ok(mut self, exist_ok: bool) -> Self {
        self.exist_ok = exist_ok;
        self
    }

    /// First line of the commit.
    #[must_use]
    pub fn commit_message(mut self, message: impl Into<String>) -> Self {
        self.commit_message = message.into();
        self
    }

    /// Uploads this folder as it is, instead of saving the model into a temporary one.
    #[must_use]
    pub fn local_model_path(mut self, path: impl Into<PathBuf>) -> Self {
        self.local_model_path = Some(path.into());
        self
    }

    /// Branch that is committed to; it is made when it does not exist.
    #[must_use]
    pub fn revision(mut self, revision: impl Into<String>) -> Self {
        self.revision = Some(revision.into());
        self
    }

    /// Whether a card that the repository has already is replaced by this model's. (The original's argument of this name
    /// is false by default and changes nothing: the card is always replaced.)
    #[must_use]
    pub fn replace_model_card(mut self, replace: bool) -> Self {
        self.replace_model_card = replace;
        self
    }

    /// How the model is saved before it is uploaded: format of the weights, datasets of the card.
    #[must_use]
    pub fn save(mut self, options: SaveOptions) -> Self {
        self.save = options;
        self
    }

    /// Opens a pull request instead of committing to the branch.
    #[must_use]
    pub fn create_pull_request(mut self, create: bool) -> Self {
        self.create_pull_request = create;
        self
    }
}

impl SentenceTransformer {
    /// Uploads the model to a repository of the Hub and says where the commit (or the pull request) is.
    ///
    /// The model card's placeholder for the model's name becomes the repository's name.
    ///
    /// # Errors
    /// Without a token that may write, when the repository exists and may not, when the Hub refuses, and as
    /// [`SentenceTransformer::save_pretrained`].
    pub fn push_to_hub(&self, repository: &str, options: &PushOptions) -> Result<Published> {
        let exist_ok = options.exist_ok || options.create_pull_request;
        let repository = Repository::create(repository, options.private, exist_ok, &options.hub)?;
        if let Some(revision) = &options.revision {
            repository.create_branch(revision)?;
        }
        let mut upload = Upload::new(&options.commit_message).create_pull_request(options.create_pull_request);
        if let Some(revision) = &options.revision {
            upload = upload.revision(revision);
        }
        if options.create_pull_request {
            upload = upload.description(self.pull_request_description());
        }
        if let Some(path) = &options.local_model_path {
            return Ok(repository.upload_folder(path, &upload)?);
        }
        let folder = tempfile::tempdir().map_err(|source| {
            crate::Error::new(crate::ErrorKind::Io, "cannot make a temporary folder").with_source(source)
        })?;
        let path = folder.path().join("model");
        let mut save = options.save.clone();
        save.model_name.get_or_insert_with(|| repository.id().to_owned());
        if save.model_card && !options.replace_model_card {
            save.model_card = !repository.has_file("README.md", options.revision.as_deref())?;
        }
        self.save_pretrained_with(&path, &save)?;
        Ok(repository.upload_folder(&path, &upload)?)
    }

    fn pull_request_description(&self) -> String {
        format!(
            "This pull request adds a Sentence Transformers model. Its modules:\n\n```\n{self:?}\n```\n\nIt loads with \
             `SentenceTransformer(\"REPOSITORY\", revision=\"refs/pr/NUMBER\")` before it is merged.\n"
        )
    }
}
