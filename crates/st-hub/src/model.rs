//! One repository of the Hub at one revision: the cache, the network, and what was found out so far.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;

use serde_json::Value;

use crate::cache::RepositoryCache;
use crate::client::{Client, Patience};
use crate::download::{Fetcher, Lookup};
use crate::error::{HubError, HubErrorKind};
use crate::names::{RepositoryKind, check_repository, check_revision, is_commit, percent_encode, relative_path};
use crate::options::HubOptions;
use crate::selection::Selection;

const MOST_FILES: usize = 100_000;

#[derive(Debug, Default)]
struct State {
    commit: Option<String>,
    failure: Option<HubError>,
    unreachable: bool,
}

struct Inner {
    kind: RepositoryKind,
    id: String,
    options: HubOptions,
    cache: RepositoryCache,
    client: Client,
    state: Mutex<State>,
}

/// A model repository of the Hub at one revision; see [`Source`](crate::Source).
#[derive(Clone)]
pub struct HubModel(Arc<Inner>);

impl fmt::Debug for HubModel {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("HubModel").field(&self.origin()).finish()
    }
}

impl HubModel {
    /// The repository with exactly this id, without the rules of [`Source::resolve`](crate::Source::resolve); makes no request.
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
        Self::of_kind(RepositoryKind::Model, id, options)
    }

    pub(crate) fn of_kind(kind: RepositoryKind, id: &str, options: &HubOptions) -> Result<Self, HubError> {
        check_repository(id)?;
        check_revision(options.revision_or_main())?;
        Ok(Self(Arc::new(Inner {
            kind,
            id: id.to_owned(),
            cache: RepositoryCache::new(options.cache_location(), kind, id),
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

    /// The commit in use, once it is known.
    pub(crate) fn commit(&self) -> Option<String> {
        self.state().commit.clone()
    }

    /// The first reason why the Hub could not be asked.
    pub(crate) fn failure(&self) -> Option<HubError> {
        self.state().failure.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fetcher(&self) -> Fetcher<'_> {
        let Inner { kind, id, options, cache, client, .. } = &*self.0;
        Fetcher { client, cache, options, kind: *kind, id }
    }

    pub(crate) fn origin(&self) -> String {
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

    pub(crate) fn file(&self, relative: &str) -> Result<Option<PathBuf>, HubError> {
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
        match fetcher.look_up(settled.as_deref().unwrap_or(self.revision()), relative, Patience::Answers) {
            Ok(Lookup::Absent { commit: Some(commit), .. }) => {
                self.0.cache.mark_absent(&commit, &path);
                self.settle(&commit);
                Ok(None)
            }
            Ok(Lookup::Absent { commit: None, error }) => {
                // A bare "not found" may come from any web server.
                self.remember(&error);
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

    pub(crate) fn snapshot(&self, selection: &Selection) -> Result<PathBuf, HubError> {
        if !self.may_ask() {
            return self
                .cached_snapshot()
                .ok_or_else(|| self.state().failure.clone().unwrap_or_else(|| self.not_cached("what is needed")));
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
            let (what, hint) = match self.0.kind {
                RepositoryKind::Model => {
                    ("the files that a model needs", "is it a model, and is the revision the right one?")
                }
                RepositoryKind::Dataset => ("the files that were asked for", "is the revision the right one?"),
            };
            let message = format!("{} has none of {what}", self.id());
            return Err(HubError::new(HubErrorKind::FileNotFound, message).with_hint(hint));
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
        let kind = self.0.kind.plural();
        let path = format!("/api/{kind}/{}/revision/{}", self.id(), percent_encode(&revision, false));
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
        match self.fetcher().look_up(commit, name, Patience::Everything)? {
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
