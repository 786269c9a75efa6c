//! `download`: the files of a model, or of a data set, from the Hub into its cache.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use sentence_transformers::hub::{HubDataset, Selection, Source};
use serde_json::json;

use super::model::HubArguments;
use super::{Surroundings, View};
use crate::failure::{Exit, Failure, Result};
use crate::render::{Downloads, print};

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  sentence-transformers download sentence-transformers/all-mpnet-base-v2
  sentence-transformers download intfloat/e5-small-v2 --include '*.json' --include 'onnx/*'
  sentence-transformers download sentence-transformers/NanoBEIR-en --dataset")]
pub(crate) struct Arguments {
    /// Name of the model on the Hugging Face Hub
    #[arg(value_name = "NAME")]
    name: String,
    /// Fetch only files whose names match, where * stands for anything and ? for one character [default: what loading
    /// a model needs]
    #[arg(long, value_name = "PATTERN", conflicts_with = "everything")]
    include: Vec<String>,
    /// Leave out files whose names match
    #[arg(long, value_name = "PATTERN")]
    exclude: Vec<String>,
    /// Fetch every file, also the weights for other engines
    #[arg(long)]
    everything: bool,
    /// The name is that of a data set
    #[arg(long)]
    dataset: bool,
    /// How the result is shown
    #[arg(long, value_enum, default_value_t = View::Table, value_name = "VIEW")]
    format: View,
    #[command(flatten)]
    hub: HubArguments,
}

pub(super) fn run(arguments: &Arguments, surroundings: Surroundings) -> Result<Exit> {
    let downloads = Arc::new(Downloads::new(surroundings.quiet));
    let hub = arguments.hub.options().progress(downloads.clone());
    let selection = arguments.selection();
    let (id, folder, commit) = if arguments.dataset {
        let dataset = HubDataset::new(&arguments.name, &hub)?;
        let folder = dataset.snapshot(&selection);
        downloads.clear();
        (dataset.id().to_owned(), folder?, dataset.commit())
    } else {
        let source = Source::resolve(&arguments.name, &hub)?;
        let Some(id) = source.id().map(str::to_owned) else {
            return Err(Failure::usage(format!("{} is a folder here", arguments.name))
                .with_hint("there is nothing to download; give the folder to --model as it is"));
        };
        let folder = source.snapshot(&selection);
        downloads.clear();
        (id, folder?, source.commit())
    };
    match arguments.format {
        View::Table => print(&format!("{}\n", folder.display()))?,
        View::Json => {
            let files: Vec<String> = files(&folder)?.iter().map(|path| path.display().to_string()).collect();
            let value = json!({ "id": id, "commit": commit, "folder": folder.display().to_string(), "files": files });
            print(&format!("{value:#}\n"))?;
        }
    }
    Ok(Exit::Done)
}

impl Arguments {
    fn selection(&self) -> Selection {
        if self.include.is_empty() && self.exclude.is_empty() {
            return if self.everything || self.dataset { Selection::everything() } else { Selection::model() };
        }
        let (include, exclude) = (self.include.clone(), self.exclude.clone());
        let usual = (!self.everything && !self.dataset && include.is_empty()).then(Selection::model);
        Selection::matching(move |name| {
            let wanted = match &usual {
                Some(usual) => !usual.choose(&[name]).is_empty(),
                None => include.is_empty() || include.iter().any(|pattern| matches(pattern, name)),
            };
            wanted && !exclude.iter().any(|pattern| matches(pattern, name))
        })
    }
}

/// Whether a name matches a pattern in which `*` stands for any characters and `?` for one.
fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    let (mut at, mut place) = (0, 0);
    // The last star, and where in the name its stretch ends.
    let mut star: Option<(usize, usize)> = None;
    while place < name.len() {
        match pattern.get(at) {
            Some('*') => {
                star = Some((at, place));
                at += 1;
            }
            Some(&letter) if letter == '?' || letter == name[place] => (at, place) = (at + 1, place + 1),
            _ => {
                let Some((after, end)) = star else { return false };
                star = Some((after, end + 1));
                (at, place) = (after + 1, end + 1);
            }
        }
    }
    pattern[at..].iter().all(|letter| *letter == '*')
}

/// The names of all files under a folder, in order.
pub(super) fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_path_buf()];
    while let Some(next) = open.pop() {
        let entries = next.read_dir().map_err(|error| Failure::path("read", &next, &error))?;
        for entry in entries {
            let path = entry.map_err(|error| Failure::path("read", &next, &error))?.path();
            if path.is_dir() {
                open.push(path);
            } else if let Ok(name) = path.strip_prefix(folder) {
                found.push(name.to_path_buf());
            }
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_whole_names() {
        for (pattern, name, expected) in [
            ("*.json", "1_Pooling/config.json", true),
            ("onnx/*", "onnx/model.onnx", true),
            ("onnx/*", "openvino/onnx/model.onnx", false),
            ("*a*b?", "xxabab1", true),
            ("model.safetensors", "model.safetensors", true),
            ("model.safetensors", "2_Dense/model.safetensors", false),
            ("?", "", false),
            ("*", "", true),
            ("", "a", false),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }
}
