//! What model2vec does differently in its own folders, those without `modules.json`.

use std::path::{Path, PathBuf};

use serde_json::Value;
use st_encoder::Weights;

use super::table::TABLE_NAMES;
use crate::files::read_json;
use crate::modules::ModuleFolder;
use crate::{Error, Result};

/// Where model2vec looks, first to last: the configuration, and the folder of the other files.
const LAYOUTS: [(&str, &str); 3] = [
    ("config.json", ""),
    ("config_sentence_transformers.json", ""),
    ("config_sentence_transformers.json", "0_StaticEmbedding"),
];

/// Most tokens of a text unless `config.json` says otherwise.
const MAX_LENGTH: usize = 512;

/// Rules of model2vec.
#[derive(Debug)]
pub(super) struct Model2Vec {
    /// The token that is left out.
    pub(super) unknown: Option<u32>,
    /// Characters of the vocabulary's median token: texts are cut to this many per token before they are tokenised.
    characters: usize,
}

/// What `config.json` says.
pub(super) struct Config {
    pub(super) max_length: Option<usize>,
    pub(super) normalize: bool,
}

/// Finds a static model in a folder without `modules.json`: its own folder, and its configuration file.
pub(super) fn find(root: &Path) -> Result<Option<(ModuleFolder, PathBuf)>> {
    let config = read_json(&root.join("config.json"))?.unwrap_or_default();
    match config.get("model_type") {
        Some(name) if name.as_str() != Some("model2vec") => return Ok(None),
        Some(_) => {}
        // Models that were not distilled have no type; their table is the sign.
        None if has_table(root) || has_table(&root.join(LAYOUTS[2].1)) => {}
        None => return Ok(None),
    }
    for (config, path) in LAYOUTS {
        let (config, folder) = (root.join(config), ModuleFolder::new(root, path)?);
        if [&config, &folder.file("tokenizer.json"), &folder.file("model.safetensors")]
            .iter()
            .all(|file| file.is_file())
        {
            return Ok(Some((folder, config)));
        }
    }
    Ok(None)
}

fn has_table(folder: &Path) -> bool {
    Weights::open(folder).is_ok_and(|weights| TABLE_NAMES.iter().any(|name| weights.contains(name)))
}

impl Model2Vec {
    /// The start of a text from which its first `limit` tokens are taken.
    pub(super) fn shorten<'a>(&self, text: &'a str, limit: usize) -> &'a str {
        let most = limit.saturating_mul(self.characters);
        if text.len() <= most {
            return text;
        }
        text.char_indices().nth(most).map_or(text, |(end, _)| &text[..end])
    }
}

/// Reads the rules from a folder and the configuration from its file.
pub(super) fn read(folder: &ModuleFolder, path: &Path) -> Result<(Model2Vec, Config)> {
    let tokenizer = read_json(&folder.file("tokenizer.json"))?.unwrap_or_default();
    let model = &tokenizer["model"];
    let id = |token: &str| match &model["vocab"] {
        Value::Object(vocabulary) => vocabulary.get(token).and_then(Value::as_u64),
        _ => None,
    };
    let added: Vec<&Value> = tokenizer["added_tokens"].as_array().into_iter().flatten().collect();
    let unknown = match (model["unk_token"].as_str(), model["unk_id"].as_u64()) {
        (Some(token), _) => id(token).or_else(|| {
            added.iter().find(|added| added["content"].as_str() == Some(token)).and_then(|added| added["id"].as_u64())
        }),
        (None, unknown) => unknown,
    };
    let mut lengths: Vec<usize> = match &model["vocab"] {
        Value::Object(vocabulary) => vocabulary.keys().map(|token| token.chars().count()).collect(),
        Value::Array(pieces) => pieces.iter().filter_map(|piece| Some(piece[0].as_str()?.chars().count())).collect(),
        _ => Vec::new(),
    };
    let in_vocabulary = |token: &str| match &model["vocab"] {
        Value::Array(pieces) => pieces.iter().any(|piece| piece[0].as_str() == Some(token)),
        _ => id(token).is_some(),
    };
    let contents = added.iter().filter_map(|added| added["content"].as_str());
    lengths.extend(contents.filter(|token| !in_vocabulary(token)).map(|token| token.chars().count()));
    let rules = Model2Vec { unknown: unknown.and_then(|id| u32::try_from(id).ok()), characters: median(&mut lengths) };

    let config = read_json(path)?.unwrap_or_default();
    let normalize = match &config["normalize"] {
        Value::Null => false,
        Value::Bool(normalize) => *normalize,
        _ => return Err(Error::config(path, "'normalize' should be true or false")),
    };
    let max_length = match config.get("max_length") {
        None => Some(MAX_LENGTH),
        Some(Value::Null) => None,
        Some(value) => match value.as_u64().and_then(|length| usize::try_from(length).ok()) {
            Some(length @ 1..) => Some(length),
            _ => return Err(Error::config(path, "'max_length' should be a whole number from 1 on, or null")),
        },
    };
    Ok((rules, Config { max_length, normalize }))
}

/// The middle of some lengths, or half-way between the two in the middle, rounded down; at least 1.
fn median(lengths: &mut [usize]) -> usize {
    lengths.sort_unstable();
    let upper = lengths.get(lengths.len() / 2).copied().unwrap_or(1);
    let lower = lengths.get(lengths.len().saturating_sub(1) / 2).copied().unwrap_or(1);
    usize::midpoint(lower, upper).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_numpys() {
        assert_eq!(median(&mut [5, 1, 3]), 3);
        assert_eq!(median(&mut [1, 8, 5, 2]), 3);
        assert_eq!(median(&mut []), 1);
    }

    #[test]
    fn texts_are_cut_by_characters() {
        let rules = Model2Vec { unknown: None, characters: 2 };
        assert_eq!(rules.shorten("äöüß€", 2), "äöüß");
        assert_eq!(rules.shorten("äöüß", 2), "äöüß");
        assert_eq!(rules.shorten("abc", usize::MAX), "abc");
    }
}
