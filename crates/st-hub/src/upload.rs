//! A local folder to a repository of the Hub: create, branch, large files, commit, pull request.

use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::client::{Client, JSON, Patience, check_status, read_json};
use crate::error::{HubError, HubErrorKind};
use crate::large_files;
use crate::local_file::{FILES_PER_REQUEST, LocalFile, local_files};
use crate::names::{check_repository, check_revision, percent_encode};
use crate::options::HubOptions;

/// The most that small files may have together: they travel inside the commit.
const LARGEST_COMMIT: u64 = 1 << 30;
const NEWLINE_JSON: &str = "application/x-ndjson";

/// What a commit says and where it goes.
///
/// ```
/// use st_hub::Upload;
///
/// let upload = Upload::new("Add new SentenceTransformer model").revision("v2").create_pull_request(true);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upload {
    message: String,
    description: String,
    revision: Option<String>,
    create_pull_request: bool,
}

impl Upload {
    /// A commit to `main` with this first line.
    #[must_use]
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), description: String::new(), revision: None, create_pull_request: false }
    }

    /// The text below the first line.
    #[must_use]
    pub fn description(mut self, description: impl Into<String>) -> Self {
        self.description = description.into();
        self
    }

    /// The branch that the commit goes to, or that the pull request starts from.
    #[must_use]
    pub fn revision(mut self, revision: impl Into<String>) -> Self {
        self.revision = Some(revision.into());
        self
    }

    /// Opens a pull request instead of changing the branch.
    #[must_use]
    pub fn create_pull_request(mut self, create: bool) -> Self {
        self.create_pull_request = create;
        self
    }
}

/// What an upload made.
///
/// ```no_run
/// # fn show(published: st_hub::Published) {
/// println!("{}", published.pull_request_url.as_deref().unwrap_or(&published.commit_url));
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Published {
    /// The commit's id.
    pub commit: String,
    /// The commit's page.
    pub commit_url: String,
    /// The pull request's page, where one was asked for.
    pub pull_request_url: Option<String>,
}

/// A repository of the Hub to write to. Needs a token with the right to write.
///
/// ```no_run
/// use st_hub::{HubOptions, Repository, Upload};
///
/// let repository = Repository::create("organisation/name", Some(true), false, &HubOptions::new())?;
/// let published = repository.upload_folder("my-model".as_ref(), &Upload::new("Add new SentenceTransformer model"))?;
/// println!("{}", published.commit_url);
/// # Ok::<(), st_hub::HubError>(())
/// ```
#[derive(Debug)]
pub struct Repository {
    id: String,
    client: Client,
    options: HubOptions,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Small,
    Large,
    Ignored,
}

impl Repository {
    /// A repository that exists; makes no request.
    ///
    /// # Errors
    /// An impossible id; [`HubErrorKind::Offline`]; [`HubErrorKind::Unauthorized`] where there is no token.
    pub fn open(id: &str, options: &HubOptions) -> Result<Self, HubError> {
        check_repository(id)?;
        if options.is_offline() {
            return Err(HubError::new(HubErrorKind::Offline, format!("{id} cannot be written to offline"))
                .with_hint("unset HF_HUB_OFFLINE and TRANSFORMERS_OFFLINE, and leave out local_files_only"));
        }
        let client = Client::new(options)?;
        if !client.has_token() {
            return Err(HubError::new(HubErrorKind::Unauthorized, format!("writing to {id} needs an access token"))
                .with_hint("give a token with the right to write: HF_TOKEN, or `hf auth login`"));
        }
        Ok(Self { id: id.to_owned(), client, options: options.clone() })
    }

    /// Creates a model repository. A name without an organisation belongs to the token's user; see [`id`](Self::id).
    ///
    /// `private` of `None` leaves the choice to the organisation's settings. With `exist_ok` a repository that is there
    /// already is used, also one that only others may write to (a pull request may still be opened).
    ///
    /// # Errors
    /// [`HubErrorKind::Conflict`] where it exists and `exist_ok` is false; those of [`open`](Self::open) and requests.
    pub fn create(id: &str, private: Option<bool>, exist_ok: bool, options: &HubOptions) -> Result<Self, HubError> {
        let mut repository = Self::open(id, options)?;
        let (organisation, name) = id.split_once('/').map_or((None, id), |(before, after)| (Some(before), after));
        let mut wish = json!({ "name": name, "organization": organisation, "type": "model" });
        if let Some(private) = private {
            wish["private"] = json!(private);
        }
        let url = format!("{}/api/repos/create", repository.client.endpoint());
        let body = wish.to_string();
        let outcome = repository.client.repeat(Patience::Limits, || {
            let (url, response) = repository.client.post_once(&url, JSON, body.as_bytes())?;
            let exists = response.status() == 409;
            let response = if exists && exist_ok { response } else { check_status(&url, response)? };
            read_json(&url, response)
        });
        let answer = match outcome {
            Ok(answer) => answer,
            Err(error) if exist_ok && error.kind() == HubErrorKind::Forbidden && repository.exists() => Value::Null,
            Err(error) if error.kind() == HubErrorKind::Conflict => {
                let message = format!("the repository {id} exists already");
                return Err(HubError::new(HubErrorKind::Conflict, message)
                    .caused_by(error)
                    .with_hint("allow it with exist_ok, or choose another name"));
            }
            Err(error) => return Err(error),
        };
        if let Some(full) = answer.get("url").and_then(Value::as_str).and_then(id_of_page) {
            check_repository(&full)?;
            repository.id = full;
        }
        if !repository.id.contains('/') {
            return Err(HubError::new(HubErrorKind::Protocol, "the Hub did not say what the new repository is called")
                .with_hint("give the name with its organisation or user: 'organisation/name'"));
        }
        Ok(repository)
    }

    /// `organisation/name`.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The repository's page.
    #[must_use]
    pub fn url(&self) -> String {
        format!("{}/{}", self.client.endpoint(), self.id)
    }

    fn exists(&self) -> bool {
        self.client.get_json(&format!("/api/models/{}", self.id)).is_ok()
    }

    fn api_url(&self, verb: &str, revision: &str) -> String {
        format!("{}/api/models/{}/{verb}/{}", self.client.endpoint(), self.id, percent_encode(revision, false))
    }

    /// Makes a branch from `main`; one that is there already is fine.
    ///
    /// # Errors
    /// An impossible name, and those of requests.
    pub fn create_branch(&self, branch: &str) -> Result<(), HubError> {
        check_revision(branch)?;
        match self.client.post(&self.api_url("branch", branch), JSON, b"{}", Patience::Limits) {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == HubErrorKind::Conflict => Ok(()),
            Err(error) if error.kind() == HubErrorKind::Forbidden && self.has_revision(branch) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn has_revision(&self, revision: &str) -> bool {
        let path = format!("/api/models/{}/revision/{}", self.id, percent_encode(revision, false));
        self.client.get_json(&path).is_ok()
    }

    /// Whether a revision (`None`: `main`) has a file of this name.
    ///
    /// # Errors
    /// An impossible revision, and those of requests.
    pub fn has_file(&self, name: &str, revision: Option<&str>) -> Result<bool, HubError> {
        let revision = revision.unwrap_or("main");
        check_revision(revision)?;
        let path = format!("/api/models/{}/revision/{}", self.id, percent_encode(revision, false));
        let answer = self.client.get_json(&path)?;
        let files = answer.get("siblings").and_then(Value::as_array).into_iter().flatten();
        Ok(files.filter_map(|file| file.get("rfilename").and_then(Value::as_str)).any(|file| file == name))
    }

    /// Uploads every file of a folder in one commit. Files that are only in the repository stay there.
    ///
    /// Large contents are sent first, and only those that the Hub does not have; the commit at the end makes all files
    /// visible at once. A failure before it changes nothing.
    ///
    /// # Errors
    /// An unreadable folder, names that the Hub cannot take, and those of requests.
    pub fn upload_folder(&self, folder: &Path, upload: &Upload) -> Result<Published, HubError> {
        let revision = upload.revision.as_deref().unwrap_or("main");
        check_revision(revision)?;
        if upload.message.trim().is_empty() {
            return Err(HubError::new(HubErrorKind::InvalidName, "a commit needs a message"));
        }
        let files = local_files(folder)?;
        if files.is_empty() {
            return Err(HubError::new(HubErrorKind::FileNotFound, "the folder has no files to upload").at_path(folder));
        }
        let request = if upload.create_pull_request { "?create_pr=1" } else { "" };
        let files = self.choose_modes(files, &format!("{}{request}", self.api_url("preupload", revision)))?;
        let large: Vec<&LocalFile> =
            files.iter().filter(|(_, mode)| *mode == Mode::Large).map(|(file, _)| file).collect();
        large_files::upload(&self.client, &self.id, revision, &large, self.options.progress.as_deref())?;
        let body = commit_body(upload, &files)?;
        let url = format!("{}{request}", self.api_url("commit", revision));
        let answer = self.client.post(&url, NEWLINE_JSON, &body, Patience::Limits)?;
        let text = |key: &str| answer.get(key).and_then(Value::as_str).map(str::to_owned);
        let lacking = || HubError::new(HubErrorKind::Protocol, "the answer to the commit is incomplete").at_url(&url);
        let pull_request_url = text("pullRequestUrl");
        if upload.create_pull_request && pull_request_url.is_none() {
            return Err(lacking());
        }
        Ok(Published {
            commit: text("commitOid").ok_or_else(lacking)?,
            commit_url: text("commitUrl").ok_or_else(lacking)?,
            pull_request_url: pull_request_url.filter(|_| upload.create_pull_request),
        })
    }

    /// Asks the Hub which files it wants as large files and which it ignores.
    fn choose_modes(&self, files: Vec<LocalFile>, url: &str) -> Result<Vec<(LocalFile, Mode)>, HubError> {
        let mut modes = serde_json::Map::new();
        for chunk in files.chunks(FILES_PER_REQUEST) {
            let described: Vec<Value> = chunk
                .iter()
                .map(|file| json!({ "path": file.name, "sample": STANDARD.encode(&file.sample), "size": file.size }))
                .collect();
            let body = json!({ "files": described }).to_string();
            let answer = self.client.post(url, JSON, body.as_bytes(), Patience::Answers)?;
            for file in answer.get("files").and_then(Value::as_array).into_iter().flatten() {
                if let Some(path) = file.get("path").and_then(Value::as_str) {
                    modes.insert(path.to_owned(), file.clone());
                }
            }
        }
        files
            .into_iter()
            .map(|file| {
                let answer = modes.get(&file.name);
                let ignored = answer.and_then(|a| a.get("shouldIgnore")).and_then(Value::as_bool).unwrap_or(false);
                let mode = match answer.and_then(|a| a.get("uploadMode")).and_then(Value::as_str) {
                    _ if ignored => Mode::Ignored,
                    // The storage takes no empty contents.
                    Some("lfs") if file.size > 0 => Mode::Large,
                    Some("lfs" | "regular") => Mode::Small,
                    _ => {
                        let message = format!("the Hub did not say how it stores {}", file.name);
                        return Err(HubError::new(HubErrorKind::Protocol, message).at_url(url));
                    }
                };
                Ok((file, mode))
            })
            .collect()
    }
}

/// The repository of a page such as `https://huggingface.co/organisation/name`.
fn id_of_page(url: &str) -> Option<String> {
    let mut parts = url.trim_end_matches('/').rsplit('/');
    let (name, organisation) = (parts.next()?, parts.next()?);
    Some(format!("{organisation}/{name}"))
}

/// One JSON object per line: the message, then every file.
fn commit_body(upload: &Upload, files: &[(LocalFile, Mode)]) -> Result<Vec<u8>, HubError> {
    let small: u64 = files.iter().filter(|(_, mode)| *mode == Mode::Small).map(|(file, _)| file.size).sum();
    if small > LARGEST_COMMIT {
        let message = format!("the small files have {small} bytes together; a commit takes {LARGEST_COMMIT}");
        return Err(HubError::new(HubErrorKind::TooLarge, message));
    }
    let header = json!({ "summary": upload.message, "description": upload.description });
    let mut lines = vec![json!({ "key": "header", "value": header })];
    for (file, mode) in files {
        lines.push(match mode {
            Mode::Ignored => {
                log::info!("{} is ignored by the repository", file.name);
                continue;
            }
            Mode::Small => {
                let contents = fs::read(&file.path).map_err(|error| HubError::io("read", &file.path, error))?;
                let content = STANDARD.encode(contents);
                json!({ "key": "file", "value": { "content": content, "path": file.name, "encoding": "base64" } })
            }
            Mode::Large => {
                let value = json!({ "path": file.name, "algo": "sha256", "oid": file.sha256, "size": file.size });
                json!({ "key": "lfsFile", "value": value })
            }
        });
    }
    Ok(lines.iter().flat_map(|line| format!("{line}\n").into_bytes()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_names_the_repository() {
        assert_eq!(id_of_page("https://hub.example/user/name").as_deref(), Some("user/name"));
        assert_eq!(id_of_page("name"), None);
    }
}
