//! What can go wrong between a model's name and its files.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The kind of a [`HubError`]: what a program may want to react to.
///
/// ```
/// use st_hub::{HubErrorKind, HubOptions, Source};
///
/// let error = Source::resolve("no/such/folder", &HubOptions::new()).unwrap_err();
/// assert_eq!(error.kind(), HubErrorKind::PathNotFound);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HubErrorKind {
    /// The name can only be a path, and no such path exists.
    PathNotFound,
    /// The name is neither a path nor a possible Hub id, or the revision is not a possible revision.
    InvalidName,
    /// A file name in a listing or a header would leave the cache folder or is not portable.
    UnsafeFileName,
    /// The Hub has no such repository, or hides it from this token.
    RepositoryNotFound,
    /// The repository has no such branch, tag or commit.
    RevisionNotFound,
    /// The repository has no such file at that revision.
    FileNotFound,
    /// The token is missing or refused (401).
    Unauthorized,
    /// The token may not do this, or the repository is gated (403).
    Forbidden,
    /// The Hub asked for fewer requests (429), longer than is waited.
    RateLimited,
    /// The Hub failed (5xx) on every attempt.
    Server,
    /// What should be created exists already (409).
    Conflict,
    /// Any other refusal of the Hub (4xx).
    Refused,
    /// No connection, or it broke on every attempt.
    Network,
    /// A time-out passed.
    Timeout,
    /// Offline was asked for and the file is not in the cache.
    NotCached,
    /// Offline was asked for and this needs a request.
    Offline,
    /// The answer does not follow the Hub's protocol.
    Protocol,
    /// What arrived is not what was announced (length or SHA-256).
    Integrity,
    /// An answer or file is larger than the limit.
    TooLarge,
    /// The disk is full.
    DiskFull,
    /// Another process held the lock of a file for too long.
    Locked,
    /// Reading or writing a local file failed.
    Io,
}

impl HubErrorKind {
    /// Whether the Hub could not be asked, so that what the cache holds may be used instead.
    pub(crate) fn falls_back_to_cache(self) -> bool {
        use HubErrorKind::*;
        matches!(
            self,
            RepositoryNotFound
                | Unauthorized
                | Forbidden
                | RateLimited
                | Server
                | Network
                | Timeout
                | NotCached
                | Protocol
        )
    }

    /// Whether the host itself did not answer, so that asking it again for the next file is a waste of a time-out.
    pub(crate) fn host_is_unreachable(self) -> bool {
        matches!(self, Self::Network | Self::Timeout)
    }
}

#[derive(Debug)]
struct Inner {
    kind: HubErrorKind,
    message: String,
    url: Option<String>,
    path: Option<PathBuf>,
    hint: Option<String>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// Why a model's files could not be had: kind, message, the address or file concerned, and a way out.
///
/// Cheap to clone, so that a [`Source`](crate::Source) can keep it as the reason of a file that was reported absent.
///
/// ```
/// use st_hub::{HubOptions, Source};
///
/// let error = Source::resolve(r"models\mine", &HubOptions::new()).unwrap_err();
/// assert_eq!(error.to_string(), r"Path models\mine not found");
/// ```
#[derive(Debug, Clone)]
pub struct HubError(Arc<Inner>);

impl HubError {
    pub(crate) fn new(kind: HubErrorKind, message: impl Into<String>) -> Self {
        Self(Arc::new(Inner { kind, message: message.into(), url: None, path: None, hint: None, source: None }))
    }

    pub(crate) fn io(action: &str, path: &Path, source: io::Error) -> Self {
        let (kind, hint) = match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                (HubErrorKind::DiskFull, Some("free some space, or choose another cache folder"))
            }
            io::ErrorKind::PermissionDenied => (HubErrorKind::Io, Some("choose a cache folder that may be written")),
            _ => (HubErrorKind::Io, None),
        };
        let error = Self::new(kind, format!("could not {action} {}", path.display())).at_path(path).caused_by(source);
        match hint {
            Some(hint) => error.with_hint(hint),
            None => error,
        }
    }

    fn change(mut self, change: impl FnOnce(&mut Inner)) -> Self {
        // The value was just made and is not shared yet; a shared one is left as it is.
        if let Some(inner) = Arc::get_mut(&mut self.0) {
            change(inner);
        }
        self
    }

    pub(crate) fn at_url(self, url: impl Into<String>) -> Self {
        self.change(|inner| inner.url = Some(without_query(&url.into())))
    }

    pub(crate) fn at_path(self, path: impl Into<PathBuf>) -> Self {
        self.change(|inner| inner.path = Some(path.into()))
    }

    pub(crate) fn with_hint(self, hint: impl Into<String>) -> Self {
        self.change(|inner| inner.hint = Some(hint.into()))
    }

    pub(crate) fn caused_by(self, source: impl StdError + Send + Sync + 'static) -> Self {
        self.change(|inner| inner.source = Some(Box::new(source)))
    }

    /// What a program may react to.
    #[must_use]
    pub fn kind(&self) -> HubErrorKind {
        self.0.kind
    }

    /// The address that was asked, without its query (which may hold a signature).
    #[must_use]
    pub fn url(&self) -> Option<&str> {
        self.0.url.as_deref()
    }

    /// The local file or folder concerned.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.0.path.as_deref()
    }

    /// A way out, where one is known.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }
}

impl fmt::Display for HubError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0.message)?;
        if let Some(url) = &self.0.url {
            write!(formatter, " ({url})")?;
        }
        Ok(())
    }
}

impl StdError for HubError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}

fn without_query(url: &str) -> String {
    url.split(['?', '#']).next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_has_its_own_kind_and_keeps_its_source() {
        let error = HubError::io("write", Path::new("cache/blob"), io::Error::from(io::ErrorKind::StorageFull));
        assert_eq!(error.kind(), HubErrorKind::DiskFull);
        assert_eq!(error.path(), Some(Path::new("cache/blob")));
        assert!(error.hint().is_some());
        assert!(error.source().is_some());
        assert_eq!(error.to_string(), "could not write cache/blob");
    }

    #[test]
    fn signatures_do_not_reach_messages() {
        let error = HubError::new(HubErrorKind::Server, "failed").at_url("https://host/file?X-Amz-Signature=secret");
        assert_eq!(error.to_string(), "failed (https://host/file)");
    }
}
