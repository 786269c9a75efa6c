//! Where a model's files are: a folder, or a repository of the Hub behind the cache.

use std::path::{Path, PathBuf};

use crate::error::{HubError, HubErrorKind};
use crate::model::HubModel;
use crate::names::{DEFAULT_ORGANISATION, NAMES_WITHOUT_ORGANISATION, relative_path};
use crate::options::HubOptions;
use crate::selection::Selection;

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
            Self::Folder(folder) => Ok(Some(folder.join(relative_path(relative)?)).filter(|path| path.is_file())),
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
            Self::Hub(model) => model.failure(),
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
            Self::Hub(model) => model.commit(),
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

#[cfg(test)]
mod tests {
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
        std::fs::create_dir(folder.path().join("1_Pooling")).unwrap();
        assert_eq!(source.file("1_Pooling").unwrap(), None, "a folder is no file");
        assert_eq!(source.file("../x").unwrap_err().kind(), HubErrorKind::UnsafeFileName);
        assert_eq!(source.snapshot(&Selection::model()).unwrap(), folder.path());
        assert!(source.failure().is_none());
    }
}
