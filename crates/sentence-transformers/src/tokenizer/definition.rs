//! The text of a `tokenizer.json` as the tokenizers crate reads it.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::clip_words::ClipWords;
use super::settings::{BertSettings, Settings};
use crate::files::read_json;
use crate::{Error, ErrorKind, Result};

/// Reads `tokenizer.json`, or makes one from `vocab.txt`, adapts it to the settings and rewrites older forms into the
/// one that the tokenizers crate reads. Returns it with the path of the file it came from.
pub(super) fn read(folder: &Path, settings: &Settings) -> Result<(String, PathBuf, Option<ClipWords>)> {
    let path = folder.join("tokenizer.json");
    let (mut definition, path) = match read_json(&path)? {
        Some(definition) => (definition, path),
        None => word_piece(folder, settings)?,
    };
    if let Some(bert) = &settings.bert {
        adapt_normalizer(&mut definition, bert);
    }
    let clip = ClipWords::of(&definition);
    let failed = |error: &dyn std::fmt::Display| {
        Error::new(ErrorKind::Tokenizer, format!("{}: {error}", path.display())).with_path(&path)
    };
    tokenizers::canonicalize_value(&mut definition).map_err(|error| failed(&error))?;
    let text = serde_json::to_string(&definition).map_err(|error| failed(&error))?;
    Ok((text, path, clip))
}

/// BERT-type tokenizer classes overrule the file's normaliser with what they are constructed with.
fn adapt_normalizer(definition: &mut Value, bert: &BertSettings) {
    let Some(normalizer) = definition.get_mut("normalizer").and_then(Value::as_object_mut) else { return };
    if normalizer.get("type").and_then(Value::as_str) != Some("BertNormalizer") {
        return;
    }
    normalizer.insert("lowercase".into(), bert.lower_case.into());
    normalizer.insert("strip_accents".into(), bert.strip_accents.into());
    if let Some(split) = bert.chinese_characters {
        normalizer.insert("handle_chinese_chars".into(), split.into());
    }
}

/// The definition that Hugging Face's converter makes of a BERT vocabulary file.
fn word_piece(folder: &Path, settings: &Settings) -> Result<(Value, PathBuf)> {
    let path = folder.join("vocab.txt");
    let missing = |hint: &str| {
        Error::new(ErrorKind::NotFound, format!("there is no tokenizer.json in {}", folder.display()))
            .with_path(folder)
            .with_hint(hint)
    };
    let bert = match &settings.bert {
        Some(bert) if path.is_file() => bert,
        _ => {
            return Err(missing(
                "save the tokenizer once with Python's transformers: AutoTokenizer.from_pretrained(folder).save_pretrained(folder)",
            ));
        }
    };
    let bytes = std::fs::read(&path).map_err(|source| {
        Error::new(ErrorKind::Io, format!("cannot read {}", path.display())).with_path(&path).with_source(source)
    })?;
    let text = String::from_utf8(bytes).map_err(|error| {
        Error::new(ErrorKind::Tokenizer, format!("{} is not UTF-8", path.display())).with_path(&path).with_source(error)
    })?;
    let vocabulary: serde_json::Map<String, Value> =
        text.lines().enumerate().map(|(id, token)| (token.trim_end_matches('\r').to_owned(), id.into())).collect();
    let id = |token: &str| vocabulary.get(token).cloned();
    let (Some(start), Some(end)) = (id("[CLS]"), id("[SEP]")) else {
        return Err(
            Error::new(ErrorKind::Tokenizer, format!("{} has no [CLS] and [SEP]", path.display())).with_path(&path)
        );
    };
    let mut added: Vec<Value> = settings
        .special_tokens
        .iter()
        .filter_map(|token| {
            Some(json!({
                "id": id(token)?, "content": token, "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": true,
            }))
        })
        .collect();
    added.sort_by_key(|token| token["id"].as_u64());
    let special = |token: &str, id: &Value| json!({"id": token, "ids": [id], "tokens": [token]});
    let of = |token: &str, kind: u8| json!({"SpecialToken": {"id": token, "type_id": kind}});
    let sequence = |name: &str, kind: u8| json!({"Sequence": {"id": name, "type_id": kind}});
    let definition = json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added,
        "normalizer": {
            "type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": bert.chinese_characters.unwrap_or(true),
            "strip_accents": bert.strip_accents, "lowercase": bert.lower_case,
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [of("[CLS]", 0), sequence("A", 0), of("[SEP]", 0)],
            "pair": [of("[CLS]", 0), sequence("A", 0), of("[SEP]", 0), sequence("B", 1), of("[SEP]", 1)],
            "special_tokens": {"[CLS]": special("[CLS]", &start), "[SEP]": special("[SEP]", &end)},
        },
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": true},
        "model": {
            "type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100, "vocab": vocabulary,
        },
    });
    Ok((definition, path))
}
