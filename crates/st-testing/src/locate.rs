//! Where fixtures and real models lie.

use std::env;
use std::path::{Path, PathBuf};

/// The environment variable that names the folder of real models.
pub const MODELS_VARIABLE: &str = "ST_MODELS";
/// With this variable (or `CI`) set, a missing real model is a failure.
pub const REQUIRE_VARIABLE: &str = "ST_REQUIRE_MODELS";

/// The repository's root.
pub fn repository() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_path_buf()
}

/// A file or folder under `fixtures`, such as `golden/tiny-bert.json`.
///
/// ```
/// assert!(st_testing::fixture_path("models/tiny-bert/config.json").is_file());
/// ```
pub fn fixture_path(name: &str) -> PathBuf {
    repository().join("fixtures").join(name)
}

/// The folder of a tiny model, such as `tiny-bert`.
///
/// # Panics
/// When there is no such model.
pub fn tiny_model(name: &str) -> PathBuf {
    let path = fixture_path("models").join(name);
    assert!(path.is_dir(), "no tiny model is called {name}: {} is missing", path.display());
    path
}

/// The folder that `cargo xtask models` fills: `ST_MODELS`, else `sentence-transformers-rs/models` in the user's cache
/// folder (`XDG_CACHE_HOME`, else `~/.cache`).
pub fn models_folder() -> PathBuf {
    models_folder_from(|name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from))
}

fn models_folder_from(variable: impl Fn(&str) -> Option<PathBuf>) -> PathBuf {
    if let Some(folder) = variable(MODELS_VARIABLE) {
        return folder;
    }
    let cache = variable("XDG_CACHE_HOME")
        .or_else(|| variable("HOME").or_else(|| variable("USERPROFILE")).map(|home| home.join(".cache")))
        .unwrap_or_else(env::temp_dir);
    cache.join("sentence-transformers-rs").join("models")
}

/// The folder of a real model, such as `all-MiniLM-L6-v2`, or `None` when it is not there and not required. A test that
/// gets `None` returns.
///
/// ```no_run
/// let Some(folder) = st_testing::real_model("all-MiniLM-L6-v2") else { return };
/// assert!(folder.join("modules.json").is_file());
/// ```
///
/// # Panics
/// When the model is absent while `CI` or `ST_REQUIRE_MODELS` is set: then its tests must not be passed over.
#[track_caller]
pub fn real_model(name: &str) -> Option<PathBuf> {
    let required = [REQUIRE_VARIABLE, "CI"].iter().any(|name| env::var_os(name).is_some_and(|value| !value.is_empty()));
    real_model_in(&models_folder(), name, required)
}

#[track_caller]
fn real_model_in(folder: &Path, name: &str, required: bool) -> Option<PathBuf> {
    let path = folder.join(name);
    if path.join("modules.json").is_file() {
        return Some(path);
    }
    assert!(!required, "the real model {name} is required but not in {}: run `cargo xtask models`", folder.display());
    eprintln!("passed over: {name} is not in {} (`cargo xtask models` puts it there)", folder.display());
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_wins_over_the_cache_folder() {
        let of = |pairs: &'static [(&str, &str)]| {
            models_folder_from(move |name| pairs.iter().find(|pair| pair.0 == name).map(|pair| PathBuf::from(pair.1)))
        };
        assert_eq!(of(&[("ST_MODELS", "/a"), ("HOME", "/h")]), Path::new("/a"));
        assert_eq!(of(&[("HOME", "/h")]), Path::new("/h/.cache/sentence-transformers-rs/models"));
        assert_eq!(of(&[("XDG_CACHE_HOME", "/x"), ("HOME", "/h")]), Path::new("/x/sentence-transformers-rs/models"));
    }

    #[test]
    fn an_absent_model_is_none_when_it_is_not_required() {
        assert_eq!(real_model_in(Path::new("/does/not/exist"), "all-MiniLM-L6-v2", false), None);
        assert_eq!(real_model_in(&fixture_path("models"), "tiny-bert", true), Some(tiny_model("tiny-bert")));
    }

    #[test]
    #[should_panic(expected = "cargo xtask models")]
    fn an_absent_model_fails_when_it_is_required() {
        real_model_in(Path::new("/does/not/exist"), "all-MiniLM-L6-v2", true);
    }
}
