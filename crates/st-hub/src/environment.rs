//! The environment variables that decide where the cache lies and how the Hub is asked.
//!
//! This is the only file of the workspace's library crates that reads process variables for the Hub. Everything else
//! takes an [`Environment`], which a test makes by hand.

use std::env;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The address that is used where nothing else is said.
pub const DEFAULT_ENDPOINT: &str = "https://huggingface.co";

const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

/// Everything that is taken from process variables, as one value.
///
/// | field | variable |
/// | --- | --- |
/// | `sentence_transformers_home` | `SENTENCE_TRANSFORMERS_HOME` |
/// | `home` | `HF_HOME`, else `$XDG_CACHE_HOME/huggingface`, else `~/.cache/huggingface` |
/// | `hub_cache` | `HF_HUB_CACHE`, else `HUGGINGFACE_HUB_CACHE`, else `home/hub` |
/// | `endpoint` | `HF_ENDPOINT`, else <https://huggingface.co> |
/// | `offline` | `HF_HUB_OFFLINE`, else `TRANSFORMERS_OFFLINE` (`1`, `ON`, `YES`, `TRUE`) |
/// | `token` | `HF_TOKEN`, else `HUGGING_FACE_HUB_TOKEN` |
/// | `token_path` | `HF_TOKEN_PATH`, else `home/token` |
/// | `disable_implicit_token` | `HF_HUB_DISABLE_IMPLICIT_TOKEN` |
/// | `etag_timeout` | `HF_HUB_ETAG_TIMEOUT` in seconds, else 10 |
/// | `download_timeout` | `HF_HUB_DOWNLOAD_TIMEOUT` in seconds, else 10: the longest silence in a transfer |
/// | `use_system_proxy` | true for a process: `ALL_PROXY`, `HTTPS_PROXY`, `HTTP_PROXY`, `NO_PROXY` |
///
/// ```
/// use st_hub::Environment;
///
/// let environment = Environment::isolated("/tmp/cache-of-a-test");
/// assert_eq!(environment.hub_cache, std::path::Path::new("/tmp/cache-of-a-test/hub"));
/// assert!(environment.stored_token().is_none());
/// ```
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Environment {
    /// The cache folder of this library; before `hub_cache` where set.
    pub sentence_transformers_home: Option<PathBuf>,
    /// The Hugging Face folder.
    pub home: PathBuf,
    /// The cache folder that all Hugging Face libraries share.
    pub hub_cache: PathBuf,
    /// The Hub's address, without a slash at the end.
    pub endpoint: String,
    /// Make no request at all.
    pub offline: bool,
    /// The token of the variable.
    pub token: Option<String>,
    /// The file that `hf auth login` writes.
    pub token_path: PathBuf,
    /// Send a token only where one is given as an option.
    pub disable_implicit_token: bool,
    /// How long to wait for the head of an answer.
    pub etag_timeout: Duration,
    /// The longest silence in a transfer.
    pub download_timeout: Duration,
    /// Take proxies from the process variables.
    pub use_system_proxy: bool,
}

impl fmt::Debug for Environment {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Environment")
            .field("sentence_transformers_home", &self.sentence_transformers_home)
            .field("hub_cache", &self.hub_cache)
            .field("endpoint", &self.endpoint)
            .field("offline", &self.offline)
            .field("token", &self.token.as_ref().map(|_| "…"))
            .field("token_path", &self.token_path)
            .finish_non_exhaustive()
    }
}

impl Environment {
    /// What the variables of this process say.
    #[must_use]
    pub fn from_process() -> Self {
        let mut environment = Self::from_lookup(|name| env::var(name).ok());
        environment.use_system_proxy = true;
        environment
    }

    /// What the variables that `lookup` knows say; proxies are not used.
    ///
    /// ```
    /// use st_hub::Environment;
    ///
    /// let environment = Environment::from_lookup(|name| match name {
    ///     "HF_HOME" => Some("/models".to_owned()),
    ///     "HF_HUB_OFFLINE" => Some("1".to_owned()),
    ///     _ => None,
    /// });
    /// assert_eq!(environment.hub_cache, std::path::Path::new("/models/hub"));
    /// assert!(environment.offline);
    /// ```
    #[must_use]
    pub fn from_lookup(lookup: impl Fn(&str) -> Option<String>) -> Self {
        let value = |name: &str| lookup(name).filter(|value| !value.trim().is_empty());
        let user_home = value("HOME").or_else(|| value("USERPROFILE"));
        let path = |text: String| expand(&text, user_home.as_deref(), &lookup);
        let caches = value("XDG_CACHE_HOME")
            .map(path)
            .unwrap_or_else(|| user_home.as_deref().map_or_else(env::temp_dir, PathBuf::from).join(".cache"));
        let home = value("HF_HOME").map(path).unwrap_or_else(|| caches.join("huggingface"));
        let hub_cache = value("HF_HUB_CACHE")
            .or_else(|| value("HUGGINGFACE_HUB_CACHE"))
            .map(path)
            .unwrap_or_else(|| home.join("hub"));
        let seconds = |name: &str| {
            value(name)
                .and_then(|text| text.trim().parse::<u32>().ok())
                .filter(|&seconds| seconds > 0)
                .map_or(DEFAULT_TIMEOUT, |seconds| Duration::from_secs(u64::from(seconds)))
        };
        Self {
            sentence_transformers_home: value("SENTENCE_TRANSFORMERS_HOME").map(path),
            endpoint: value("HF_ENDPOINT")
                .map_or_else(|| DEFAULT_ENDPOINT.to_owned(), |text| text.trim().trim_end_matches('/').to_owned()),
            offline: value("HF_HUB_OFFLINE").or_else(|| value("TRANSFORMERS_OFFLINE")).is_some_and(|v| is_true(&v)),
            token: value("HF_TOKEN").or_else(|| value("HUGGING_FACE_HUB_TOKEN")).and_then(|text| clean_token(&text)),
            token_path: value("HF_TOKEN_PATH").map(path).unwrap_or_else(|| home.join("token")),
            disable_implicit_token: value("HF_HUB_DISABLE_IMPLICIT_TOKEN").is_some_and(|v| is_true(&v)),
            etag_timeout: seconds("HF_HUB_ETAG_TIMEOUT"),
            download_timeout: seconds("HF_HUB_DOWNLOAD_TIMEOUT"),
            use_system_proxy: false,
            home,
            hub_cache,
        }
    }

    /// An environment that takes nothing from the process: cache and token file lie under `home`.
    #[must_use]
    pub fn isolated(home: impl AsRef<Path>) -> Self {
        let home = home.as_ref().to_string_lossy().into_owned();
        Self::from_lookup(|name| (name == "HF_HOME").then(|| home.clone()))
    }

    /// The folder that holds `models--…`, where no cache folder is given as an option.
    #[must_use]
    pub fn cache_folder(&self) -> &Path {
        self.sentence_transformers_home.as_deref().unwrap_or(&self.hub_cache)
    }

    /// The token that is sent where none is given: of the variable, else of the token file; none where disabled.
    #[must_use]
    pub fn implicit_token(&self) -> Option<String> {
        if self.disable_implicit_token { None } else { self.stored_token() }
    }

    /// The token of the variable, else of the token file, whether or not it may be sent unasked.
    #[must_use]
    pub fn stored_token(&self) -> Option<String> {
        self.token.clone().or_else(|| fs::read_to_string(&self.token_path).ok().and_then(|text| clean_token(&text)))
    }
}

fn clean_token(text: &str) -> Option<String> {
    let token: String = text.chars().filter(|&c| c != '\r' && c != '\n').collect();
    let token = token.trim();
    (!token.is_empty()).then(|| token.to_owned())
}

fn is_true(text: &str) -> bool {
    matches!(text.trim().to_ascii_uppercase().as_str(), "1" | "ON" | "YES" | "TRUE")
}

/// `~` and `$NAME` / `${NAME}`, as the shell and Python's `expandvars` do; unknown names stay.
fn expand(text: &str, home: Option<&str>, lookup: &impl Fn(&str) -> Option<String>) -> PathBuf {
    let mut rest = match (text.strip_prefix('~'), home) {
        (Some(rest), Some(home)) if rest.is_empty() || rest.starts_with('/') => format!("{home}{rest}"),
        _ => text.to_owned(),
    };
    let mut expanded = String::new();
    while let Some(at) = rest.find('$') {
        expanded.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        let (name, length) = match after.strip_prefix('{').and_then(|inner| inner.split_once('}')) {
            Some((name, _)) => (name, name.len() + 2),
            None => {
                let end = after.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(after.len());
                (&after[..end], end)
            }
        };
        match lookup(name).filter(|_| !name.is_empty()) {
            Some(value) => expanded.push_str(&value),
            None => expanded.push_str(&rest[at..at + 1 + length]),
        }
        rest = after[length..].to_owned();
    }
    expanded.push_str(&rest);
    PathBuf::from(expanded)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> Environment {
        Environment::from_lookup(|name| {
            pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn cache_folder_follows_the_documented_order() {
        let cases: &[(&[(&str, &str)], &str)] = &[
            (&[("HOME", "/u")], "/u/.cache/huggingface/hub"),
            (&[("HOME", "/u"), ("XDG_CACHE_HOME", "/x")], "/x/huggingface/hub"),
            (&[("XDG_CACHE_HOME", "/x"), ("HF_HOME", "/h")], "/h/hub"),
            (&[("HF_HOME", "/h"), ("HUGGINGFACE_HUB_CACHE", "/old")], "/old"),
            (&[("HUGGINGFACE_HUB_CACHE", "/old"), ("HF_HUB_CACHE", "/c")], "/c"),
            (&[("HF_HUB_CACHE", "/c"), ("SENTENCE_TRANSFORMERS_HOME", "/st")], "/st"),
            (&[("HOME", "/u"), ("HF_HOME", "~/hf")], "/u/hf/hub"),
            (&[("SCRATCH", "/s"), ("HF_HUB_CACHE", "${SCRATCH}/a$SCRATCH$NONE")], "/s/a/s$NONE"),
        ];
        for (pairs, expected) in cases {
            assert_eq!(environment(pairs).cache_folder(), Path::new(expected), "{pairs:?}");
        }
    }

    #[test]
    fn switches_tokens_and_timeouts() {
        assert!(environment(&[("TRANSFORMERS_OFFLINE", "yes")]).offline);
        assert!(!environment(&[("HF_HUB_OFFLINE", "0"), ("TRANSFORMERS_OFFLINE", "1")]).offline);
        assert_eq!(environment(&[("HF_TOKEN", " hf_x\n")]).implicit_token().as_deref(), Some("hf_x"));
        let disabled = environment(&[("HF_TOKEN", "hf_x"), ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")]);
        assert_eq!(disabled.implicit_token(), None);
        assert_eq!(disabled.stored_token().as_deref(), Some("hf_x"));
        assert_eq!(environment(&[("HF_HUB_ETAG_TIMEOUT", "3")]).etag_timeout, Duration::from_secs(3));
        assert_eq!(environment(&[("HF_HUB_ETAG_TIMEOUT", "soon")]).etag_timeout, DEFAULT_TIMEOUT);
        assert_eq!(environment(&[("HF_ENDPOINT", "https://mirror.example/")]).endpoint, "https://mirror.example");
    }

    #[test]
    fn the_token_file_is_read_and_the_token_never_printed() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("token"), "hf_secret\n").unwrap();
        let mut environment = Environment::isolated(folder.path());
        assert_eq!(environment.implicit_token().as_deref(), Some("hf_secret"));
        environment.token = Some("hf_other".to_owned());
        assert_eq!(environment.implicit_token().as_deref(), Some("hf_other"));
        assert!(!format!("{environment:?}").contains("hf_other"));
    }
}
