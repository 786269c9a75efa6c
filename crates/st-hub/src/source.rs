//! Where a model's files are: a folder, or a repository of the Hub behind the cache.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;

use serde_json::Value;

use crate::cache::RepositoryCache;
use crate::client::Client;
use crate::download::{Fetcher, Lookup};
use crate::error::{HubError, HubErrorKind};
use crate::names::{
    DEFAULT_ORGANISATION, NAMES_WITHOUT_ORGANISATION, check_repository, check_revision, is_commit, percent_encode,
    relative_path,
};
use crate::options::HubOptions;
use crate::selection::Selection;

const MOST_FILES: usize = 100_000;

/// Where a model's files are.
///
/// ```
/// use st_hub::{Environment, HubOptions, Source};
///
/// let options = HubOptions::with_environment(Environment::isolated("/tmp/st-hub-doc")).local_files_only(true);
/// let source = Source::resolve("all-MiniLM-L6-v2", &options)?;
/// assert_eq!(source.id(), Some("sentence-transformers/all-MiniLM-L6-v2"));
///
/// // Nothing is cached there and no request is allowed: the file counts as absent, and the reason is kept.
/// assert_eq!(source.file("modules.json")?, None);
/// assert!(source.failure().is_some());
/// # Ok::<(), st_hub::HubError>(())
/// ```
#[derive(Debug, Clone)]
pub enum Source {
    /// An existing path, used as it is.
    Folder(PathBuf),
    /// A repository of the Hub.
    Hub(HubModel),
}

impl Source {
    /// Finds out what a name means; makes no request.
    ///
    /// 1. An existing path is used as it is.
    /// 2. A name with a backslash or more than one slash can only be a path that does not exist.
    /// 3. A name without a slash belongs to the organisation `sentence-transformers`, unless it is one of the 68 old
    ///    names that have no organisation (`bert-base-uncased`, `gpt2`, …).
    ///
    /// # Errors
    /// [`HubErrorKind::PathNotFound`] with the text `Path … not found`; [`HubErrorKind::InvalidName`] for what can be
    /// neither a path nor a Hub id, and for an impossible revision or endpoint.
    pub fn resolve(name: &str, options: &HubOptions) -> Result<Self, HubError> {
        if !name.is_empty() && Path::new(name).exists() {
            return Ok(Self::Folder(PathBuf::from(name)));
        }
        let looks_like_a_path = name.starts_with(['/', '~']) || name.starts_with("./") || name.starts_with("../");
        if name.contains('\\') || name.matches('/').count() > 1 || looks_like_a_path {
            return Err(HubError::new(HubErrorKind::PathNotFound, format!("Path {name} not found"))
                .at_path(name)
                .with_hint("give the path of an existing model folder, or a Hub id 'organisation/name'"));
        }
        let has_no_organisation = NAMES_WITHOUT_ORGANISATION.contains(&name.to_lowercase().as_str());
        let id = if name.is_empty() || name.contains('/') || has_no_organisation {
            name.to_owned()
        } else {
            format!("{DEFAULT_ORGANISATION}/{name}")
        };
        HubModel::new(&id, options).map(Self::Hub)
    }

    /// One file of the model, or `None` where the model has no such file.
    ///
    /// From the Hub this is one request at most, and none where the cache knows the answer for the commit in use. When
    /// the Hub cannot be asked (no network, offline, no such repository, no right to see it), the cache is used; what
    /// is not there either counts as absent, and [`failure`](Self::failure) says why.
    ///
    /// # Errors
    /// An unsafe name; a file that exists but could not be fetched completely, or not written.
    pub fn file(&self, relative: &str) -> Result<Option<PathBuf>, HubError> {
        match self {
            Self::Folder(folder) => Ok(Some(folder.join(relative_path(relative)?)).filter(|path| path.exists())),
            Self::Hub(model) => model.file(relative),
        }
    }

    /// Brings the selected files and returns the local folder that holds them. A folder is returned as it is.
    ///
    /// All files come from one commit. When the Hub cannot be asked, what the cache holds of the revision is used.
    ///
    /// # Errors
    /// Why the files could not be had; nothing half-written is left visible.
    pub fn snapshot(&self, selection: &Selection) -> Result<PathBuf, HubError> {
        match self {
            Self::Folder(folder) => Ok(folder.clone()),
            Self::Hub(model) => model.snapshot(selection),
        }
    }

    /// Why a file was reported absent although the Hub did not say so: the first such reason.
    #[must_use]
    pub fn failure(&self) -> Option<HubError> {
        match self {
            Self::Folder(_) => None,
            Self::Hub(model) => model.state().failure.clone(),
        }
    }

    /// The Hub id with its organisation; none for a folder.
    #[must_use]
    pub fn id(&self) -> Option<&str> {
        match self {
            Self::Folder(_) => None,
            Self::Hub(model) => Some(model.id()),
        }
    }

    /// The revision that was asked for (`main` where none was); none for a folder.
    #[must_use]
    pub fn revision(&self) -> Option<&str> {
        match self {
            Self::Folder(_) => None,
            Self::Hub(model) => Some(model.revision()),
        }
    }

    /// The commit in use, once a file was asked for; none for a folder.
    #[must_use]
    pub fn commit(&self) -> Option<String> {
        match self {
            Self::Folder(_) => None,
            Self::Hub(model) => model.state().commit.clone(),
        }
    }

    /// A sentence part that says where the files are: for `info` and error messages.
    ///
    /// ```
    /// # let options = st_hub::HubOptions::with_environment(st_hub::Environment::isolated("/h")).revision("v1");
    /// let source = st_hub::Source::resolve("org/name", &options)?;
    /// assert_eq!(source.origin(), "org/name, revision v1, of https://huggingface.co (cache: /h/hub)");
    /// # Ok::<(), st_hub::HubError>(())
    /// ```
    #[must_use]
    pub fn origin(&self) -> String {
        match self {
            Self::Folder(folder) => format!("folder {}", folder.display()),
            Self::Hub(model) => model.origin(),
        }
    }
}

#[derive(Debug, Default)]
struct State {
    commit: Option<String>,
    failure: Option<HubError>,
    unreachable: bool,
}

struct Inner {
    id: String,
    options: HubOptions,
    cache: RepositoryCache,
    client: Client,
    state: Mutex<State>,
}

/// A model repository of the Hub at one revision; see [`Source`].
#[derive(Clone)]
pub struct HubModel(Arc<Inner>);

impl fmt::Debug for HubModel {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("HubModel").field(&self.origin()).finish()
    }
}

impl HubModel {
    /// The repository with exactly this id, without the rules of [`Source::resolve`]; makes no request.
    ///
    /// ```
    /// let options = st_hub::HubOptions::with_environment(st_hub::Environment::isolated("/h"));
    /// assert_eq!(st_hub::HubModel::new("gpt2", &options)?.revision(), "main");
    /// # Ok::<(), st_hub::HubError>(())
    /// ```
    ///
    /// # Errors
    /// An impossible id, revision or endpoint.
    pub fn new(id: &str, options: &HubOptions) -> Result<Self, HubError> {
        check_repository(id)?;
        check_revision(options.revision_or_main())?;
        Ok(Self(Arc::new(Inner {
            id: id.to_owned(),
            cache: RepositoryCache::new(options.cache_location(), id),
            client: Client::new(options)?,
            options: options.clone(),
            state: Mutex::new(State::default()),
        })))
    }

    /// `organisation/name`.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.0.id
    }

    /// The revision that was asked for.
    #[must_use]
    pub fn revision(&self) -> &str {
        self.0.options.revision_or_main()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fetcher(&self) -> Fetcher<'_> {
        Fetcher { client: &self.0.client, cache: &self.0.cache, options: &self.0.options, id: &self.0.id }
    }

    fn origin(&self) -> String {
        let commit = self.state().commit.clone().map(|commit| format!(" (commit {commit})")).unwrap_or_default();
        format!(
            "{}, revision {}{commit}, of {} (cache: {})",
            self.id(),
            self.revision(),
            self.0.client.endpoint(),
            self.0.options.cache_location().display(),
        )
    }

    /// The commit that this value has settled on, so that all its files belong together.
    fn settled(&self) -> Option<String> {
        self.state().commit.clone().or_else(|| Some(self.revision().to_owned()).filter(|text| is_commit(text)))
    }

    fn settle(&self, commit: &str) {
        self.0.cache.record_reference(self.revision(), commit);
        self.state().commit.get_or_insert_with(|| commit.to_owned());
    }

    fn may_ask(&self) -> bool {
        !self.0.options.is_offline() && !self.state().unreachable
    }

    fn remember(&self, error: &HubError) {
        let mut state = self.state();
        state.unreachable |= error.kind().host_is_unreachable();
        state.failure.get_or_insert_with(|| error.clone());
    }

    fn not_cached(&self, what: &str) -> HubError {
        let message = format!("{what} of {} (revision {}) is not in the cache", self.id(), self.revision());
        HubError::new(HubErrorKind::NotCached, message).at_path(self.0.options.cache_location()).with_hint(
            "offline was asked for: allow requests once (local_files_only, HF_HUB_OFFLINE, TRANSFORMERS_OFFLINE), \
             or give the path of a model folder",
        )
    }

    fn file(&self, relative: &str) -> Result<Option<PathBuf>, HubError> {
        let path = relative_path(relative)?;
        let settled = self.settled();
        if let Some(commit) = &settled {
            if let Some(found) = self.0.cache.existing(commit, &path) {
                return Ok(Some(found));
            }
            if self.0.cache.is_known_absent(commit, &path) {
                return Ok(None);
            }
        }
        if !self.may_ask() {
            let found = self.cached(&path);
            if found.is_none() {
                self.remember(&self.not_cached(relative));
            }
            return Ok(found);
        }
        let fetcher = self.fetcher();
        match fetcher.look_up(settled.as_deref().unwrap_or(self.revision()), relative) {
            Ok(Lookup::Absent { commit }) => {
                if let Some(commit) = commit {
                    self.0.cache.mark_absent(&commit, &path);
                    self.settle(&commit);
                }
                Ok(None)
            }
            Ok(Lookup::Found(metadata)) => {
                self.settle(&metadata.commit);
                fetcher.fetch(relative, &path, &metadata).map(Some)
            }
            Err(error) if error.kind().falls_back_to_cache() => {
                log::debug!("{relative}: {error}");
                self.remember(&error);
                Ok(self.cached(&path))
            }
            Err(error) if error.kind() == HubErrorKind::RevisionNotFound => {
                self.remember(&error);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// What the cache holds for the revision, whether or not it is still the newest.
    fn cached(&self, path: &Path) -> Option<PathBuf> {
        let commit = self.settled().or_else(|| self.0.cache.commit_of(self.revision()))?;
        let found = self.0.cache.existing(&commit, path)?;
        self.state().commit.get_or_insert(commit);
        Some(found)
    }

    fn snapshot(&self, selection: &Selection) -> Result<PathBuf, HubError> {
        if !self.may_ask() {
            return self
                .cached_snapshot()
                .ok_or_else(|| self.state().failure.clone().unwrap_or_else(|| self.not_cached("the model")));
        }
        let listing = match self.listing() {
            Ok(listing) => listing,
            Err(error) if error.kind().falls_back_to_cache() => {
                self.remember(&error);
                let folder = self.cached_snapshot().ok_or_else(|| error.clone())?;
                log::warn!("{error}; using the cached files in {}", folder.display());
                return Ok(folder);
            }
            Err(error) => return Err(error),
        };
        let chosen = selection.choose(&listing.names);
        // All names are checked before the first byte is written.
        let chosen: Vec<(&str, PathBuf)> =
            chosen.into_iter().map(|name| Ok((name, relative_path(name)?))).collect::<Result<_, HubError>>()?;
        if chosen.is_empty() {
            let message = format!("{} has none of the files that a model needs", self.id());
            return Err(HubError::new(HubErrorKind::FileNotFound, message)
                .with_hint("is it a model, and is the revision the right one?"));
        }
        self.fetch_all(&listing.commit, &chosen)?;
        self.settle(&listing.commit);
        Ok(self.0.cache.snapshot(&listing.commit))
    }

    fn cached_snapshot(&self) -> Option<PathBuf> {
        let commit = self.settled().or_else(|| self.0.cache.commit_of(self.revision()))?;
        let folder = self.0.cache.snapshot(&commit);
        let holds_files = folder.read_dir().is_ok_and(|mut entries| entries.next().is_some());
        if holds_files {
            self.state().commit.get_or_insert(commit);
        }
        holds_files.then_some(folder)
    }

    fn listing(&self) -> Result<Listing, HubError> {
        let revision = self.settled().unwrap_or_else(|| self.revision().to_owned());
        let path = format!("/api/models/{}/revision/{}", self.id(), percent_encode(&revision, false));
        let answer = self.0.client.get_json(&path).map_err(|error| match error.kind() {
            HubErrorKind::FileNotFound => {
                let message = format!("{} has no revision {revision}, or does not exist", self.id());
                HubError::new(HubErrorKind::RepositoryNotFound, message).caused_by(error)
            }
            _ => error,
        })?;
        Listing::parse(&answer, &revision).map_err(|problem| {
            let url = format!("{}{path}", self.0.client.endpoint());
            HubError::new(HubErrorKind::Protocol, format!("the listing of {} is not usable: {problem}", self.id()))
                .at_url(url)
        })
    }

    /// Fetches several files at once; the first failure ends the work.
    fn fetch_all(&self, commit: &str, files: &[(&str, PathBuf)]) -> Result<(), HubError> {
        let next = AtomicUsize::new(0);
        let failed: OnceLock<HubError> = OnceLock::new();
        let work = || {
            while failed.get().is_none() {
                let Some((name, path)) = files.get(next.fetch_add(1, Ordering::Relaxed)) else { return };
                if let Err(error) = self.fetch_one(commit, name, path) {
                    // Only the first one is reported.
                    drop(failed.set(error));
                }
            }
        };
        thread::scope(|scope| {
            for _ in 1..self.0.options.parallel_downloads.min(files.len()) {
                scope.spawn(work);
            }
            work();
        });
        failed.into_inner().map_or(Ok(()), Err)
    }

    fn fetch_one(&self, commit: &str, name: &str, path: &Path) -> Result<(), HubError> {
        if self.0.cache.existing(commit, path).is_some() {
            return Ok(());
        }
        match self.fetcher().look_up(commit, name)? {
            Lookup::Found(metadata) => self.fetcher().fetch(name, path, &metadata).map(drop),
            Lookup::Absent { .. } => {
                let message = format!("{name} is listed in {} but not there", self.id());
                Err(HubError::new(HubErrorKind::FileNotFound, message))
            }
        }
    }
}

/// The files of a commit.
#[derive(Debug, PartialEq, Eq)]
struct Listing {
    commit: String,
    names: Vec<String>,
}

impl Listing {
    fn parse(answer: &Value, revision: &str) -> Result<Self, &'static str> {
        let commit = answer.get("sha").and_then(Value::as_str).filter(|sha| is_commit(sha)).ok_or("no commit id")?;
        if is_commit(revision) && commit != revision {
            return Err("another commit than was asked for");
        }
        let siblings = answer.get("siblings").and_then(Value::as_array).ok_or("no files")?;
        if siblings.len() > MOST_FILES {
            return Err("too many files");
        }
        let names = siblings
            .iter()
            .map(|sibling| sibling.get("rfilename").and_then(Value::as_str).map(str::to_owned))
            .collect::<Option<_>>()
            .ok_or("a file without a name")?;
        Ok(Self { commit: commit.to_owned(), names })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::environment::Environment;

    fn options(folder: &Path) -> HubOptions {
        HubOptions::with_environment(Environment::isolated(folder)).local_files_only(true)
    }

    #[test]
    fn names_are_resolved_by_the_documented_rules() {
        let folder = tempfile::tempdir().unwrap();
        let options = options(folder.path());
        let ids = [
            ("all-MiniLM-L6-v2", "sentence-transformers/all-MiniLM-L6-v2"),
            ("bert-base-uncased", "bert-base-uncased"),
            ("BERT-base-Uncased", "BERT-base-Uncased"),
            ("xlnet-large-cased", "xlnet-large-cased"),
            ("bert-base", "sentence-transformers/bert-base"),
            ("BAAI/bge-m3", "BAAI/bge-m3"),
        ];
        for (name, id) in ids {
            assert_eq!(Source::resolve(name, &options).unwrap().id(), Some(id), "{name}");
        }
        for name in [r"a\b", "a/b/c", "./missing", "/missing", "~/missing", r"C:\models\x", "org/name/"] {
            let error = Source::resolve(name, &options).unwrap_err();
            assert_eq!(error.kind(), HubErrorKind::PathNotFound);
            assert_eq!(error.to_string(), format!("Path {name} not found"));
        }
        for name in ["", "a b", "a--b/c", "org/", "ünicode"] {
            assert_eq!(Source::resolve(name, &options).unwrap_err().kind(), HubErrorKind::InvalidName, "{name}");
        }
        let path = folder.path().to_str().unwrap();
        assert!(matches!(Source::resolve(path, &options).unwrap(), Source::Folder(found) if found == folder.path()));
        let error = Source::resolve("a/b", &options.clone().revision("../main")).unwrap_err();
        assert_eq!(error.kind(), HubErrorKind::InvalidName);
        let error = Source::resolve("a/b", &options.endpoint("ftp://x")).unwrap_err();
        assert_eq!(error.kind(), HubErrorKind::InvalidName);
    }

    #[test]
    fn files_of_a_folder() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("modules.json"), "[]").unwrap();
        let source = Source::Folder(folder.path().to_owned());
        assert_eq!(source.file("modules.json").unwrap(), Some(folder.path().join("modules.json")));
        assert_eq!(source.file("config.json").unwrap(), None);
        assert_eq!(source.file("../x").unwrap_err().kind(), HubErrorKind::UnsafeFileName);
        assert_eq!(source.snapshot(&Selection::model()).unwrap(), folder.path());
        assert!(source.failure().is_none());
    }

    #[test]
    fn listings_are_checked() {
        let sha = "0123456789abcdef0123456789abcdef01234567";
        let good = json!({"sha": sha, "siblings": [{"rfilename": "config.json"}]});
        assert_eq!(Listing::parse(&good, "main").unwrap().names, ["config.json"]);
        for bad in [
            json!(null),
            json!({"siblings": []}),
            json!({"sha": "../..", "siblings": []}),
            json!({"sha": sha}),
            json!({"sha": sha, "siblings": [{"name": "x"}]}),
        ] {
            assert!(Listing::parse(&bad, "main").is_err(), "{bad}");
        }
        assert!(Listing::parse(&good, "1123456789abcdef0123456789abcdef01234567").is_err());
    }
}
