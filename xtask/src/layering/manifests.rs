//! Rules over the dependencies in the manifests.

use super::{Finding, Package};

const WITHOUT_MODELS: &[&str] = &["st-vectors", "st-card"];
const MODEL_CRATES: &[&str] = &[
    "st-encoder",
    "st-native",
    "st-candle",
    "st-onnx",
    "st-openvino",
    "sentence-transformers",
    "st-train",
    "tokenizers",
    "safetensors",
    "candle-core",
    "candle-nn",
    "ort",
];
const NETWORK_CRATES: &[&str] = &[
    "ureq",
    "reqwest",
    "hyper",
    "curl",
    "hf-hub",
    "attohttpc",
    "minreq",
    "isahc",
    "surf",
    "rustls",
    "native-tls",
    "socket2",
    "tokio",
    "mio",
    "async-std",
    "tungstenite",
];

/// `st-vectors` and `st-card` depend on no model code.
pub(crate) fn no_model(package: &Package) -> Vec<Finding> {
    if !WITHOUT_MODELS.contains(&package.name.as_str()) {
        return Vec::new();
    }
    forbidden(package, MODEL_CRATES, "is model code, which this crate must not know")
}

/// Only `st-hub` depends on a network crate.
pub(crate) fn no_network(package: &Package) -> Vec<Finding> {
    if package.name == "st-hub" {
        return Vec::new();
    }
    forbidden(package, NETWORK_CRATES, "reaches the network, which only st-hub does")
}

fn forbidden(package: &Package, names: &[&str], why: &str) -> Vec<Finding> {
    let place = if package.name == "xtask" { "xtask".to_owned() } else { format!("crates/{}", package.name) };
    dependencies(&package.manifest)
        .into_iter()
        .filter(|name| names.contains(&name.as_str()))
        .map(|name| Finding::new(format!("{place}/Cargo.toml"), format!("{name} {why}")))
        .collect()
}

/// The names of the dependencies that are built for users: not those of tests.
fn dependencies(manifest: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut inside = false;
    for line in manifest.lines().map(str::trim) {
        if let Some(section) = line.strip_prefix('[').and_then(|line| line.split(']').next()) {
            let section = section.trim();
            inside = is_table(section);
            let single = section.rsplit_once('.').filter(|(table, _)| is_table(table));
            names.extend(single.map(|(_, name)| clean(name)));
        } else if inside
            && !line.starts_with('#')
            && let Some((key, value)) = line.split_once('=')
        {
            names.push(clean(key.split('.').next().unwrap_or(key)));
            let renamed = value.split_once("package").and_then(|(_, rest)| rest.split('"').nth(1));
            names.extend(renamed.map(str::to_owned));
        }
    }
    names
}

fn is_table(section: &str) -> bool {
    let last = section.rsplit('.').next().unwrap_or(section);
    matches!(last, "dependencies" | "build-dependencies")
}

fn clean(name: &str) -> String {
    name.trim().trim_matches('"').to_owned()
}

#[cfg(test)]
mod tests {
    use super::super::package;
    use super::*;

    #[test]
    fn every_way_to_write_a_dependency_is_read() {
        let manifest = "[package]\nname = \"x\"\n[dependencies]\na.workspace = true\nb = \"1\" # c\n# d = \"1\"\n\
            e = { package = \"real\", version = \"1\" }\n[target.'cfg(unix)'.dependencies]\nf = \"1\"\n\
            [dependencies.g]\nversion = \"1\"\n[dev-dependencies]\nh = \"1\"\n[build-dependencies]\ni = \"1\"\n";
        assert_eq!(dependencies(manifest), ["a", "b", "e", "real", "f", "g", "i"]);
    }

    #[test]
    fn model_code_in_vectors_is_found_and_elsewhere_fine() {
        let manifest = "[dependencies]\nst-encoder.workspace = true\n";
        let found = no_model(&package("st-vectors", manifest, &[]));
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].place, "crates/st-vectors/Cargo.toml");
        assert!(no_model(&package("sentence-transformers", manifest, &[])).is_empty());
        assert!(no_model(&package("st-card", "[dev-dependencies]\nst-encoder = \"1\"\n", &[])).is_empty());
    }

    #[test]
    fn a_network_crate_outside_the_hub_is_found() {
        let manifest = "[dependencies]\nureq = \"3\"\n";
        assert_eq!(no_network(&package("st-cli", manifest, &[])).len(), 1);
        assert!(no_network(&package("st-hub", manifest, &[])).is_empty());
    }
}
