//! The short cut against the tokenizer itself.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

#[test]
fn letters_and_digits_are_found_in_every_place() {
    for byte in 0..=255u8 {
        for place in 0..8 {
            let mut bytes = [b' '; 8];
            bytes[place] = byte;
            let expected = if byte.is_ascii_alphanumeric() { 0x80 << (8 * place) } else { 0 };
            assert_eq!(alphanumeric(u64::from_le_bytes(bytes)) & TOPS, expected, "{byte:#x} at {place}");
        }
    }
}

#[test]
fn windows_end_in_zeros() {
    let text: Vec<u8> = (1..=40).collect();
    for length in 0..=40 {
        let windows = Windows::new(&text[..length]);
        for at in 0..length {
            let end = length.min(at + LONGEST);
            assert_eq!(windows.at(at), padded(&text[at..end]), "{length} {at}");
        }
    }
}

/// A tokenizer of BERT's kind with pieces that make words of every sort: whole, cut, unknown, long.
fn definition(normalizer: Value, added: &[&str]) -> String {
    let mut tokens: Vec<String> = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "##", "#"].map(str::to_owned).to_vec();
    tokens.extend(('a'..='t').chain('A'..='F').chain('0'..='7').map(String::from));
    tokens.extend(('a'..='p').chain('0'..='5').map(|c| format!("##{c}")));
    let words = [
        "the",
        "cat",
        "sat",
        "on",
        "mats",
        "mat",
        "é",
        "über",
        "ß",
        "中",
        "文",
        "'",
        "’",
        ".",
        ",",
        "!",
        "-",
        "…",
        "café",
        "cafe",
        "##ing",
        "##s",
        "##é",
        "abcdefghijklmnop",
        "abcdefghijklmnopq",
        "##abcdefghijklmnopq",
        "##the",
        "Я",
        "я",
        "мир",
        "##р",
    ];
    tokens.extend(words.map(str::to_owned));
    let vocabulary: serde_json::Map<String, Value> =
        tokens.iter().zip(0..).map(|(token, id)| (token.clone(), json!(id))).collect();
    let added: Vec<Value> = added
        .iter()
        .map(|content| {
            json!({"id": vocabulary[*content], "content": content, "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": true})
        })
        .collect();
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added, "normalizer": normalizer,
        "pre_tokenizer": {"type": "BertPreTokenizer"}, "post_processor": null, "decoder": null,
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 20, "vocab": vocabulary},
    })
    .to_string()
}

fn bert(clean: bool, chinese: bool, accents: Option<bool>, lower: bool) -> Value {
    json!({"type": "BertNormalizer", "clean_text": clean, "handle_chinese_chars": chinese, "strip_accents": accents,
        "lowercase": lower})
}

struct Both {
    pipeline: PipelineTokenizer,
    words: BertWords,
    memory: WordMemory,
}

impl Both {
    fn new(definition: &str) -> Option<Self> {
        let mut definition: Value = serde_json::from_str(definition).unwrap();
        tokenizers::canonicalize_value(&mut definition).unwrap();
        let pipeline = tokenizers::from_json(&definition.to_string()).unwrap();
        let words = BertWords::new(&pipeline, |text, out| encode(&pipeline, text, out))?;
        Some(Self { pipeline, words, memory: WordMemory::new() })
    }

    fn check(&mut self, text: &str) {
        let mut expected = Vec::new();
        encode(&self.pipeline, text, &mut expected).unwrap();
        // Twice: the second time from the memory.
        for _ in 0..2 {
            let mut found = vec![PipelineToken::from(7)];
            self.words
                .append(text, &mut self.memory, &mut found, |text, out| encode(&self.pipeline, text, out))
                .unwrap();
            assert_eq!(&found[1..], &expected[..], "{text:?}");
        }
    }
}

fn encode(pipeline: &PipelineTokenizer, text: &str, out: &mut Vec<PipelineToken>) -> Result<()> {
    let options = tokenizers::pipeline::EncodeOptions { add_special_tokens: false, ..Default::default() };
    pipeline
        .encode_into(text, &options, out)
        .map_err(|error| crate::Error::new(crate::ErrorKind::Tokenizer, error.to_string()))
}

fn all_kinds() -> Vec<Both> {
    let mut all = Vec::new();
    for clean in [true, false] {
        for chinese in [true, false] {
            for accents in [None, Some(true), Some(false)] {
                for lower in [true, false] {
                    for added in [&[][..], &["[CLS]", "[MASK]"], &["…", "##"]] {
                        all.push(Both::new(&definition(bert(clean, chinese, accents, lower), added)).unwrap());
                    }
                }
            }
        }
    }
    all
}

#[test]
fn chosen_texts_give_the_same_tokens() {
    let mut all = all_kinds();
    let texts = [
        "",
        " ",
        "The cat sat on the mats.",
        "the [MASK] cat[CLS]the",
        "[MAS K]",
        "don’t",
        "it's café",
        "CAFÉ cafe\u{301}s",
        "a\u{7}b \u{0}",
        "é\u{0} é",
        "中文the中",
        "abcdefghijklmnop",
        "abcdefghijklmnopq",
        "abcdefghijklmnopqabcd",
        "aabcdefghijklmnopq",
        "abcdefghijklmnopqrstuvwxyz0123456789",
        "ИЯ мир МИР",
        "x\u{b}y\u{c}z\u{1c}w",
        "a\u{a0}b\u{3000}c",
        "İstanbul ẞ Σς",
        "##the",
        "the##ing",
        "…the…",
        "zzz the",
        "\t\r\n the",
        "e\u{301}\u{301} \u{301}e",
        "ﬁ ① 😀a😀",
        "\u{fffd}a\u{fffd}",
        "ab\u{ad}cd",
        "thethethethethet",
        "theingtheingtheing",
        "[",
        "[ CLS]",
        "[[CLS]]",
        "a-b--c",
        "\u{200b}the\u{200d}",
    ];
    for both in &mut all {
        for text in texts {
            both.check(text);
        }
    }
}

#[test]
fn every_character_alone_and_inside_a_word_gives_the_same_tokens() {
    let mut both = Both::new(&definition(bert(true, true, None, true), &["[CLS]"])).unwrap();
    for character in (0..=0x3_3000).filter_map(char::from_u32) {
        both.check(&format!("a{character}b {character} {character}the"));
    }
}

#[test]
fn other_tokenizers_have_no_short_cut() {
    let plain = bert(true, true, None, true);
    assert!(Both::new(&definition(plain.clone(), &["a"])).is_none(), "an added token that starts like a word");
    assert!(Both::new(&definition(json!({"type": "Lowercase"}), &[])).is_none());
    let mut changed: Value = serde_json::from_str(&definition(plain.clone(), &["[CLS]"])).unwrap();
    changed["added_tokens"][0]["normalized"] = true.into();
    assert!(Both::new(&changed.to_string()).is_none());
    let mut changed: Value = serde_json::from_str(&definition(plain.clone(), &[])).unwrap();
    changed["pre_tokenizer"] = json!({"type": "Whitespace"});
    assert!(Both::new(&changed.to_string()).is_none());
    let mut changed: Value = serde_json::from_str(&definition(plain, &[])).unwrap();
    changed["model"]["max_input_chars_per_word"] = 10.into();
    assert!(Both::new(&changed.to_string()).is_none());
}

fn texts() -> impl Strategy<Value = String> {
    let words = prop::sample::select(vec![
        "the",
        "The",
        "cat",
        "mats",
        "[MASK]",
        "[CLS]",
        "’",
        "'",
        ".",
        "…",
        "##",
        "é",
        "e\u{301}",
        "中",
        "abcdefghijklmnopq",
        "мир",
        "\u{0}",
        "\u{7}",
        "\t",
        "\u{a0}",
        " ",
        "  ",
        "zz",
        "ing",
        "0123",
        "😀",
    ]);
    let piece = prop_oneof![4 => words.prop_map(str::to_owned), 2 => "[a-tA-F0-9]{1,18}", 2 => " ", 1 => ".{0,6}"];
    prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn any_text_gives_the_same_tokens(texts in prop::collection::vec(texts(), 1..8), clean: bool, chinese: bool, lower: bool,
        accents in prop::option::of(any::<bool>()), added in prop::sample::select(vec![0usize, 1, 2])) {
        let added = [&[][..], &["[CLS]", "[MASK]"], &["…", "##"]][added];
        let mut both = Both::new(&definition(bert(clean, chinese, accents, lower), added)).unwrap();
        for text in texts {
            both.check(&text);
        }
    }
}
