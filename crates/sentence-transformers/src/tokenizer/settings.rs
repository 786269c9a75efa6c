//! What `tokenizer_config.json` and `special_tokens_map.json` say.

use std::path::Path;

use serde_json::{Map, Value};

use super::{Side, TokenizerOptions};
use crate::files::read_json;
use crate::{Error, Result};

/// Hugging Face writes 10³⁰ for "no limit"; nothing above this is a limit.
const NO_LIMIT: f64 = 1e9;

/// Fields of the configuration that name one special token each.
const SPECIAL_TOKENS: [&str; 7] =
    ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

/// Tokenizer classes whose constructor sets the normaliser's `lowercase`, `strip_accents` and, the second value says
/// whether, `handle_chinese_chars`, whatever `tokenizer.json` holds; with the `model_type` that stands for the class
/// where the configuration names none.
const BERT_CLASSES: [(&str, &str, bool); 4] = [
    ("BertTokenizer", "bert", true),
    ("DistilBertTokenizer", "distilbert", true),
    ("ElectraTokenizer", "electra", true),
    ("MPNetTokenizer", "mpnet", false),
];

#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) model_max_length: Option<usize>,
    pub(super) truncation_side: Side,
    pub(super) special_tokens: Vec<String>,
    pub(super) padding_token: Option<String>,
    pub(super) bert: Option<BertSettings>,
}

/// What a BERT-type tokenizer class is constructed with.
#[derive(Debug, Clone)]
pub(super) struct BertSettings {
    pub(super) lower_case: bool,
    pub(super) strip_accents: Option<bool>,
    pub(super) chinese_characters: Option<bool>,
}

impl Settings {
    /// Of a tokenizer that is used as its file describes it.
    pub(super) fn as_is() -> Self {
        Self {
            model_max_length: None,
            truncation_side: Side::Right,
            special_tokens: Vec::new(),
            padding_token: None,
            bert: None,
        }
    }

    pub(super) fn read(folder: &Path, options: &TokenizerOptions) -> Result<Self> {
        let path = folder.join("tokenizer_config.json");
        let config = object(&path)?;
        let map = object(&folder.join("special_tokens_map.json"))?;
        let limit = config.get("model_max_length").and_then(Value::as_f64).filter(|limit| *limit < NO_LIMIT);
        if limit.is_some_and(|limit| limit < 1.0) {
            return Err(Error::config(&path, "'model_max_length' should be at least 1"));
        }
        let side = match config.get("truncation_side").and_then(Value::as_str) {
            Some("left") => Side::Left,
            _ => Side::Right,
        };
        let token = |name: &str| config.get(name).and_then(content).or_else(|| map.get(name).and_then(content));
        let bert = bert_settings(folder, &config, options)?;
        let mut special_tokens: Vec<String> = SPECIAL_TOKENS.iter().filter_map(|name| token(name)).collect();
        if special_tokens.is_empty() && bert.is_some() {
            special_tokens = ["[UNK]", "[SEP]", "[PAD]", "[CLS]", "[MASK]"].map(str::to_owned).to_vec();
        }
        let additional = config.get("additional_special_tokens").or_else(|| map.get("additional_special_tokens"));
        special_tokens.extend(additional.and_then(Value::as_array).into_iter().flatten().filter_map(content));
        Ok(Self {
            model_max_length: options.model_max_length.or(limit.map(|limit| limit as usize)),
            truncation_side: options.truncation_side.unwrap_or(side),
            padding_token: token("pad_token").or_else(|| bert.as_ref().map(|_| "[PAD]".to_owned())),
            special_tokens,
            bert,
        })
    }
}

fn bert_settings(
    folder: &Path,
    config: &Map<String, Value>,
    options: &TokenizerOptions,
) -> Result<Option<BertSettings>> {
    let class = config.get("tokenizer_class").and_then(Value::as_str).map(|name| name.trim_end_matches("Fast"));
    let row = match class {
        Some(class) => BERT_CLASSES.iter().find(|(known, ..)| *known == class),
        None => {
            let model = object(&folder.join("config.json"))?;
            let model_type = model.get("model_type").and_then(Value::as_str).unwrap_or_default();
            BERT_CLASSES.iter().find(|(_, known, _)| *known == model_type)
        }
    };
    let flag = |name: &str| config.get(name).and_then(Value::as_bool);
    Ok(row.map(|(_, _, chinese)| BertSettings {
        lower_case: options.do_lower_case.or(flag("do_lower_case")).unwrap_or(true),
        strip_accents: flag("strip_accents"),
        chinese_characters: chinese.then(|| flag("tokenize_chinese_chars").unwrap_or(true)),
    }))
}

/// A token is written as a text or as an object with its `content`.
fn content(value: &Value) -> Option<String> {
    value.as_str().or_else(|| value.get("content").and_then(Value::as_str)).map(str::to_owned)
}

fn object(path: &Path) -> Result<Map<String, Value>> {
    match read_json(path)? {
        None => Ok(Map::new()),
        Some(Value::Object(map)) => Ok(map),
        Some(_) => Err(Error::config(path, "a JSON object is expected")),
    }
}
