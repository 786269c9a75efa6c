//! [`ClipWords`]: CLIP's byte-pair encoding, whose words end in a mark of their own.
//!
//! The tokenizers crate (1.0.0-rc.3) has no engine for the pattern of these tokenizers, and gives words of one character, and
//! those that end in a character of several bytes, the tokens of the middle of a word.

use std::collections::HashMap;

use regex::Regex;
use serde_json::Value;
use tokenizers::pipeline::PipelineToken;
use unicode_normalization::UnicodeNormalization;

/// The pattern that cuts a text into words.
const PATTERN: &str = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+";
/// What the last character of a word carries.
const END: &str = "</w>";

/// Vocabulary and merges of a CLIP tokenizer.
pub(super) struct ClipWords {
    words: Regex,
    special: HashMap<String, u32>,
    /// Token of each byte inside a word, and at its end.
    bytes: [[u32; 256]; 2],
    /// Rank of each pair, and what it becomes.
    merges: HashMap<(u32, u32), (usize, u32)>,
}

impl ClipWords {
    /// Of the content of a `tokenizer.json`; `None` when it is another kind of tokenizer.
    pub(super) fn of(definition: &Value) -> Option<Self> {
        let split = definition.pointer("/pre_tokenizer/pretokenizers/0")?;
        let pattern = split.pointer("/pattern/Regex").and_then(Value::as_str)?;
        let model = definition.get("model")?;
        let suffix = model.get("end_of_word_suffix").and_then(Value::as_str);
        if !pattern.ends_with(PATTERN) || suffix != Some(END) {
            return None;
        }
        let vocabulary = model.get("vocab")?.as_object()?;
        let id = |token: &str| vocabulary.get(token).and_then(Value::as_u64).and_then(|id| u32::try_from(id).ok());
        let unknown = model.get("unk_token").and_then(Value::as_str).and_then(id).unwrap_or(0);
        let mut bytes = [[unknown; 256]; 2];
        for (byte, character) in byte_characters().into_iter().enumerate() {
            bytes[0][byte] = id(&character.to_string()).unwrap_or(unknown);
            bytes[1][byte] = id(&format!("{character}{END}")).unwrap_or(unknown);
        }
        let mut merges = HashMap::new();
        for (rank, merge) in model.get("merges")?.as_array()?.iter().enumerate() {
            let (left, right) = match merge {
                Value::String(pair) => pair.split_once(' ')?,
                pair => (pair.get(0)?.as_str()?, pair.get(1)?.as_str()?),
            };
            merges.entry((id(left)?, id(right)?)).or_insert((rank, id(&format!("{left}{right}"))?));
        }
        let added = definition.get("added_tokens").and_then(Value::as_array).into_iter().flatten();
        let special: HashMap<String, u32> = added
            .filter_map(|token| Some((token["content"].as_str()?.to_owned(), token["id"].as_u64()? as u32)))
            .collect();
        let mut alternatives: Vec<String> = special.keys().map(|token| regex::escape(token)).collect();
        alternatives.push(PATTERN.to_owned());
        Some(Self { words: Regex::new(&alternatives.join("|")).ok()?, special, bytes, merges })
    }

    /// Appends the tokens of a text.
    pub(super) fn append(&self, text: &str, out: &mut Vec<PipelineToken>) {
        let lower: String = text.nfc().flat_map(char::to_lowercase).collect();
        let mut symbols = Vec::new();
        for word in self.words.find_iter(&lower) {
            if let Some(&id) = self.special.get(word.as_str()) {
                out.push(PipelineToken::from(id));
                continue;
            }
            let bytes = word.as_str().as_bytes();
            symbols.clear();
            let last = bytes.len() - 1;
            symbols
                .extend(bytes.iter().enumerate().map(|(at, &byte)| self.bytes[usize::from(at == last)][byte as usize]));
            self.merge(&mut symbols);
            out.extend(symbols.iter().map(|&id| PipelineToken::from(id)));
        }
    }

    /// Merges the pair of the lowest rank, wherever it stands, until no pair is one.
    fn merge(&self, symbols: &mut Vec<u32>) {
        while let Some((_, pair, merged)) = symbols
            .windows(2)
            .filter_map(|pair| {
                let &(rank, merged) = self.merges.get(&(pair[0], pair[1]))?;
                Some((rank, (pair[0], pair[1]), merged))
            })
            .min()
        {
            let mut place = 0;
            let mut kept = 0;
            while place < symbols.len() {
                let is_pair = place + 1 < symbols.len() && (symbols[place], symbols[place + 1]) == pair;
                symbols[kept] = if is_pair { merged } else { symbols[place] };
                place += 1 + usize::from(is_pair);
                kept += 1;
            }
            symbols.truncate(kept);
        }
    }
}

/// The characters that stand for bytes in byte-level vocabularies (Radford et al. 2019): printable ones for themselves, the
/// others, in their order, from 256 on.
fn byte_characters() -> [char; 256] {
    let mut next = 256;
    std::array::from_fn(|byte| {
        let code = match byte as u32 {
            printable @ (33..=126 | 161..=172 | 174..=255) => printable,
            _ => {
                next += 1;
                next - 1
            }
        };
        char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER)
    })
}
