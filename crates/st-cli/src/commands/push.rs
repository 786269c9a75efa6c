//! `push`: a model to a repository of the Hub.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use sentence_transformers::SentenceTransformer;
use sentence_transformers::save::{PushOptions, SaveOptions};
use serde_json::{Value, json};

use super::download::files;
use super::model::ModelArguments;
use super::{Surroundings, View};
use crate::failure::{Exit, Failure, Result};
use crate::render::{Align, Downloads, Table, print};

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  sentence-transformers push me/my-model --model my-folder --private
  sentence-transformers push them/their-model --model my-folder --create-pr --commit-message 'Add safetensors'
  sentence-transformers push me/my-model --model my-folder --dry-run

The token needs the right to write; HF_TOKEN is the place for it.")]
pub(crate) struct Arguments {
    /// Repository on the Hub: organisation/name, or a name of your own
    #[arg(value_name = "REPOSITORY")]
    repository: String,
    /// Make a new repository private [default: what the organisation's settings say]
    #[arg(long, conflicts_with = "public")]
    private: bool,
    /// Make a new repository public
    #[arg(long)]
    public: bool,
    /// The repository may exist already
    #[arg(long)]
    exist_ok: bool,
    /// First line of the commit [default: Add new SentenceTransformer model]
    #[arg(long, value_name = "TEXT")]
    commit_message: Option<String>,
    /// Upload this folder as it is, instead of saving the model into a new one
    #[arg(long, value_name = "FOLDER", conflicts_with_all = ["new_card", "keep_model_card", "train_dataset", "pytorch"])]
    local_model_path: Option<PathBuf>,
    /// Branch to commit to; it is made when there is none of that name [default: main]
    #[arg(long, value_name = "NAME")]
    branch: Option<String>,
    /// Open a pull request instead of committing
    #[arg(long)]
    create_pr: bool,
    /// Leave a card that the repository has already as it is
    #[arg(long, conflicts_with = "new_card")]
    keep_model_card: bool,
    /// Make a new card instead of the one that the model came with
    #[arg(long)]
    new_card: bool,
    /// Data set that the new card names as training data, by its name on the Hub; may be repeated
    #[arg(long, value_name = "NAME", requires = "new_card")]
    train_dataset: Vec<String>,
    /// Store weights as pytorch_model.bin instead of model.safetensors
    #[arg(long)]
    pytorch: bool,
    /// Say what would be uploaded, and upload nothing
    #[arg(long)]
    dry_run: bool,
    /// How the result is shown
    #[arg(long, value_enum, default_value_t = View::Table, value_name = "VIEW")]
    format: View,
    #[command(flatten)]
    model: ModelArguments,
}

pub(super) fn run(arguments: &Arguments, surroundings: Surroundings) -> Result<Exit> {
    let mut model = arguments.model.load(surroundings)?;
    if arguments.new_card {
        model.set_card(None);
    }
    if arguments.dry_run {
        return rehearse(arguments, &model);
    }
    let uploads = Arc::new(Downloads::new(surroundings.quiet));
    let published = model.push_to_hub(&arguments.repository, &arguments.options(Some(uploads.clone())));
    uploads.clear();
    let published = published?;
    let page = published.pull_request_url.as_deref().unwrap_or(&published.commit_url);
    match arguments.format {
        View::Table => print(&format!("{page}\n"))?,
        View::Json => {
            let value = json!({
                "repository": arguments.repository,
                "commit": published.commit,
                "commit_url": published.commit_url,
                "pull_request_url": published.pull_request_url,
            });
            print(&format!("{value:#}\n"))?;
        }
    }
    Ok(Exit::Done)
}

impl Arguments {
    fn save_options(&self) -> SaveOptions {
        SaveOptions::new().safe_serialization(!self.pytorch).train_datasets(&self.train_dataset)
    }

    fn options(&self, progress: Option<Arc<Downloads>>) -> PushOptions {
        let mut hub = self.model.hub.options();
        if let Some(progress) = progress {
            hub = hub.progress(progress);
        }
        let mut options = PushOptions::new()
            .hub(hub)
            .exist_ok(self.exist_ok)
            .create_pull_request(self.create_pr)
            .replace_model_card(!self.keep_model_card)
            .save(self.save_options());
        if self.private || self.public {
            options = options.private(self.private);
        }
        if let Some(message) = &self.commit_message {
            options = options.commit_message(message);
        }
        if let Some(folder) = &self.local_model_path {
            options = options.local_model_path(folder);
        }
        if let Some(branch) = &self.branch {
            options = options.revision(branch);
        }
        options
    }
}

/// Saves as for an upload and lists the files.
fn rehearse(arguments: &Arguments, model: &SentenceTransformer) -> Result<Exit> {
    let temporary = tempfile::tempdir().map_err(|error| Failure::io("make", "a temporary folder", &error))?;
    let saved = temporary.path().join("model");
    let folder: &Path = match &arguments.local_model_path {
        Some(folder) => folder,
        None => {
            model.save_pretrained_with(&saved, &arguments.save_options())?;
            &saved
        }
    };
    let mut found = Vec::new();
    for name in files(folder)? {
        let path = folder.join(&name);
        let bytes = path.metadata().map_err(|error| Failure::path("read", &path, &error))?.len();
        found.push((name.display().to_string(), bytes));
    }
    let total: u64 = found.iter().map(|(_, bytes)| bytes).sum();
    let branch = arguments.branch.as_deref().unwrap_or("main");
    match arguments.format {
        View::Table => {
            let mut table = Table::new(vec![Align::Left, Align::Right]);
            let count = found.len();
            found.into_iter().for_each(|(name, bytes)| table.row(vec![name, bytes.to_string()]));
            let what = if arguments.create_pr { "a pull request to" } else { "a commit to" };
            let repository = &arguments.repository;
            print(&format!("{}{count} files, {total} bytes, for {what} {branch} of {repository}\n", table.lines()))?;
        }
        View::Json => {
            let files: Vec<Value> = found.iter().map(|(name, bytes)| json!({ "name": name, "bytes": bytes })).collect();
            let value = json!({
                "repository": arguments.repository,
                "branch": branch,
                "create_pr": arguments.create_pr,
                "bytes": total,
                "files": files,
            });
            print(&format!("{value:#}\n"))?;
        }
    }
    Ok(Exit::Done)
}
