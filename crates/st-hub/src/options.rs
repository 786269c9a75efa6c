//! How the Hub is asked and where files go.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::environment::Environment;

/// Told about downloads and uploads as they happen; called from several threads.
///
/// ```
/// use std::sync::atomic::{AtomicU64, Ordering};
///
/// #[derive(Debug, Default)]
/// struct Counter(AtomicU64);
///
/// impl st_hub::Progress for Counter {
///     fn started(&self, _file: &str, _total: u64, already: u64) {
///         self.0.fetch_add(already, Ordering::Relaxed);
///     }
///     fn advanced(&self, _file: &str, bytes: u64) {
///         self.0.fetch_add(bytes, Ordering::Relaxed);
///     }
///     fn finished(&self, _file: &str) {}
/// }
/// let options = st_hub::HubOptions::new().progress(std::sync::Arc::new(Counter::default()));
/// ```
pub trait Progress: fmt::Debug + Send + Sync {
    /// A transfer of `total` bytes begins, of which `already` are there from an earlier attempt.
    ///
    /// Comes again for the same file when an attempt had to start over.
    fn started(&self, file: &str, total: u64, already: u64);
    /// Another `bytes` bytes were transferred.
    fn advanced(&self, file: &str, bytes: u64);
    /// The file is complete, checked and in its place.
    fn finished(&self, file: &str);
}

#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Token {
    Implicit,
    Anonymous,
    Stored,
    Given(String),
}

impl fmt::Debug for Token {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Implicit => "Implicit",
            Self::Anonymous => "Anonymous",
            Self::Stored => "Stored",
            Self::Given(_) => "Given(…)",
        })
    }
}

/// How the Hub is asked and where files go: revision, cache folder, token, offline, endpoint, limits.
///
/// ```
/// use st_hub::HubOptions;
///
/// let options = HubOptions::new().revision("refs/pr/3").cache_folder("models").local_files_only(true);
/// assert_eq!(options.cache_location(), std::path::Path::new("models"));
/// ```
#[derive(Debug, Clone)]
pub struct HubOptions {
    pub(crate) revision: Option<String>,
    pub(crate) cache_folder: Option<PathBuf>,
    pub(crate) token: Token,
    pub(crate) local_files_only: bool,
    pub(crate) endpoint: Option<String>,
    pub(crate) environment: Environment,
    pub(crate) progress: Option<Arc<dyn Progress>>,
    pub(crate) retries: u32,
    pub(crate) retry_delay: Duration,
    pub(crate) longest_wait: Duration,
    pub(crate) lock_timeout: Duration,
    pub(crate) max_file_size: u64,
    pub(crate) parallel_downloads: usize,
}

impl Default for HubOptions {
    fn default() -> Self {
        Self::with_environment(Environment::from_process())
    }
}

impl HubOptions {
    /// The options of this process's environment.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The options of an environment made by hand.
    ///
    /// ```
    /// use st_hub::{Environment, HubOptions};
    ///
    /// let options = HubOptions::with_environment(Environment::isolated("/tmp/home"));
    /// assert_eq!(options.cache_location(), std::path::Path::new("/tmp/home/hub"));
    /// ```
    #[must_use]
    pub fn with_environment(environment: Environment) -> Self {
        Self {
            revision: None,
            cache_folder: None,
            token: Token::Implicit,
            local_files_only: false,
            endpoint: None,
            environment,
            progress: None,
            retries: 4,
            retry_delay: Duration::from_millis(500),
            longest_wait: Duration::from_secs(60),
            lock_timeout: Duration::from_secs(30 * 60),
            max_file_size: 200 << 30,
            parallel_downloads: 4,
        }
    }

    /// A branch, tag, commit id or `refs/pr/N`; `main` where none is given.
    #[must_use]
    pub fn revision(mut self, revision: impl Into<String>) -> Self {
        self.revision = Some(revision.into());
        self
    }

    /// The folder that holds `models--…`, in place of the environment's.
    #[must_use]
    pub fn cache_folder(mut self, folder: impl Into<PathBuf>) -> Self {
        self.cache_folder = Some(folder.into());
        self
    }

    /// An access token, in place of the environment's. Sent to the endpoint only, never to a host it redirects to.
    #[must_use]
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.token = Token::Given(token.into());
        self
    }

    /// Sends no token (`token=False` of the original).
    #[must_use]
    pub fn without_token(mut self) -> Self {
        self.token = Token::Anonymous;
        self
    }

    /// Sends the stored token even where implicit tokens are disabled (`token=True` of the original).
    #[must_use]
    pub fn stored_token(mut self) -> Self {
        self.token = Token::Stored;
        self
    }

    /// Uses what the cache holds and makes no request.
    #[must_use]
    pub fn local_files_only(mut self, local_files_only: bool) -> Self {
        self.local_files_only = local_files_only;
        self
    }

    /// The Hub's address, in place of the environment's.
    #[must_use]
    pub fn endpoint(mut self, endpoint: impl Into<String>) -> Self {
        self.endpoint = Some(endpoint.into().trim_end_matches('/').to_owned());
        self
    }

    /// Who is told about transfers.
    #[must_use]
    pub fn progress(mut self, progress: Arc<dyn Progress>) -> Self {
        self.progress = Some(progress);
        self
    }

    /// How often a failed request is repeated (4), and the first pause before that (0.5 s; doubles each time).
    #[must_use]
    pub fn retries(mut self, retries: u32, first_delay: Duration) -> Self {
        self.retries = retries;
        self.retry_delay = first_delay;
        self
    }

    /// The longest pause that the Hub's `Retry-After` may ask for (60 s); beyond it the request fails.
    #[must_use]
    pub fn longest_wait(mut self, wait: Duration) -> Self {
        self.longest_wait = wait;
        self
    }

    /// How long to wait for another process that downloads the same file (30 minutes).
    #[must_use]
    pub fn lock_timeout(mut self, timeout: Duration) -> Self {
        self.lock_timeout = timeout;
        self
    }

    /// The largest file that is downloaded, in bytes (200 GiB).
    #[must_use]
    pub fn max_file_size(mut self, bytes: u64) -> Self {
        self.max_file_size = bytes;
        self
    }

    /// How many files are downloaded at once (4; at least 1).
    #[must_use]
    pub fn parallel_downloads(mut self, count: usize) -> Self {
        self.parallel_downloads = count.max(1);
        self
    }

    /// The folder that holds `models--…` under these options.
    #[must_use]
    pub fn cache_location(&self) -> &Path {
        self.cache_folder.as_deref().unwrap_or_else(|| self.environment.cache_folder())
    }

    /// Whether these options forbid every request.
    #[must_use]
    pub fn is_offline(&self) -> bool {
        self.local_files_only || self.environment.offline
    }

    pub(crate) fn hub_endpoint(&self) -> &str {
        self.endpoint.as_deref().unwrap_or(&self.environment.endpoint)
    }

    pub(crate) fn revision_or_main(&self) -> &str {
        self.revision.as_deref().unwrap_or("main")
    }

    pub(crate) fn access_token(&self) -> Option<String> {
        match &self.token {
            Token::Given(token) => Some(token.trim().to_owned()).filter(|token| !token.is_empty()),
            Token::Implicit => self.environment.implicit_token(),
            Token::Stored => self.environment.stored_token(),
            Token::Anonymous => None,
        }
    }
}
