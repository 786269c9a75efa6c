//! The mechanical invariants of the architecture, checked on the sources without compiling them.

mod imports;
mod manifests;
mod rules;
mod source;

use anyhow::{Context, Result};
use source::Source;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

/// One crate of the workspace: its manifest's text and its sources.
pub(crate) struct Package {
    name: String,
    manifest: String,
    sources: Vec<Source>,
}

/// What a rule found.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Finding {
    place: String,
    message: String,
}

impl Finding {
    fn new(place: impl Into<String>, message: impl Into<String>) -> Self {
        Self { place: place.into(), message: message.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.place, self.message)
    }
}

/// Whether a finding fails the check.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Severity {
    Error,
    Warning,
}

/// One invariant.
pub(crate) struct Rule {
    pub(crate) name: &'static str,
    pub(crate) severity: Severity,
    check: fn(&Package) -> Vec<Finding>,
}

/// Every invariant that is checked.
pub(crate) const RULES: &[Rule] = &[
    Rule { name: "vectors and cards know no model", severity: Severity::Error, check: manifests::no_model },
    Rule { name: "only st-hub reaches the network", severity: Severity::Error, check: manifests::no_network },
    Rule { name: "only st-hub opens sockets", severity: Severity::Error, check: rules::no_sockets },
    Rule { name: "environment variables are read in one file", severity: Severity::Error, check: rules::environment },
    Rule {
        name: "no cfg(feature) inside function bodies",
        severity: Severity::Error,
        check: rules::features_in_bodies,
    },
    Rule { name: "no module of odds and ends", severity: Severity::Error, check: rules::odds_and_ends },
    Rule { name: "no import circles inside a crate", severity: Severity::Error, check: imports::circles },
    Rule { name: "files stay below 500 lines", severity: Severity::Warning, check: rules::long_files },
];

/// Applies every rule to every crate under `root/crates` and to `root/xtask`.
pub(crate) fn check(root: &Path) -> Result<Vec<(&'static Rule, Finding)>> {
    let mut folders = vec![root.join("xtask")];
    let crates = root.join("crates");
    for entry in fs::read_dir(&crates).with_context(|| format!("cannot list {}", crates.display()))? {
        folders.push(entry?.path());
    }
    folders.retain(|folder| folder.join("Cargo.toml").is_file());
    folders.sort();
    let mut found = Vec::new();
    for folder in folders {
        let package = read_package(root, &folder)?;
        for rule in RULES {
            found.extend((rule.check)(&package).into_iter().map(|finding| (rule, finding)));
        }
    }
    Ok(found)
}

fn read_package(root: &Path, folder: &Path) -> Result<Package> {
    let manifest_path = folder.join("Cargo.toml");
    let manifest =
        fs::read_to_string(&manifest_path).with_context(|| format!("cannot read {}", manifest_path.display()))?;
    let name = folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let mut sources = Vec::new();
    let mut open = vec![folder.join("src")];
    while let Some(next) = open.pop() {
        if !next.is_dir() {
            continue;
        }
        for entry in fs::read_dir(&next).with_context(|| format!("cannot list {}", next.display()))? {
            let path = entry?.path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
                let within = |base: &Path| path.strip_prefix(base).map_or_else(|_| path.clone(), PathBuf::from);
                sources.push(Source::new(within(root), within(&folder.join("src")), text));
            }
        }
    }
    sources.sort_by(|a, b| a.shown.cmp(&b.shown));
    Ok(Package { name, manifest, sources })
}

#[cfg(test)]
pub(crate) fn package(name: &str, manifest: &str, files: &[(&str, &str)]) -> Package {
    let sources = files
        .iter()
        .map(|(path, text)| {
            let shown = Path::new("crates").join(name).join("src").join(path);
            Source::new(shown, PathBuf::from(path), (*text).to_owned())
        })
        .collect();
    Package { name: name.to_owned(), manifest: manifest.to_owned(), sources }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn a_made_up_tree_is_searched_whole() {
        let root = tempfile::tempdir().unwrap();
        write(root.path(), "xtask/Cargo.toml", "[dependencies]\nanyhow = \"1\"\n");
        write(root.path(), "xtask/src/main.rs", "fn main() { std::env::var(\"X\"); }\n");
        write(root.path(), "crates/st-vectors/Cargo.toml", "[dependencies]\nst-encoder.workspace = true\n");
        write(root.path(), "crates/st-vectors/src/lib.rs", "mod deep;\n");
        write(root.path(), "crates/st-vectors/src/deep/er.rs", "fn f() { std::env::var(\"X\"); }\n");
        let found = check(root.path()).unwrap();
        let names: Vec<_> = found.iter().map(|(rule, finding)| (rule.name, finding.place.as_str())).collect();
        assert_eq!(
            names,
            [
                ("vectors and cards know no model", "crates/st-vectors/Cargo.toml"),
                ("environment variables are read in one file", "crates/st-vectors/src/deep/er.rs:1"),
            ]
        );
    }
}
