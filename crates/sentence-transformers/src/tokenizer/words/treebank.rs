//! Cutting English text into words by the rules of the Penn Treebank, as NLTK's `word_tokenize` has extended them.
//!
//! The rules are those of `NLTKWordTokenizer` in NLTK 3.9 (Bird, Loper, Klein 2009), which go back to Robert MacIntyre's
//! script for the treebank. They put spaces around what shall stand alone, one rule after the other; then the text is cut
//! at white space. Texts are not cut into sentences before, so that only the last full stop stands alone.

use std::sync::LazyLock;

use regex::Regex;

use crate::input::is_python_space;

/// Patterns and replacements, in order, up to the point where the text gets a space at both ends.
const INSIDE: [(&str, &str); 18] = [
    // Opening quotation marks.
    ("([«“‘„]|`+)", " $1 "),
    ("^\"", "``"),
    ("(``)", " $1 "),
    ("([ (\\[{<])(\"|'{2})", "$1 `` "),
    // An apostrophe before a single letter, unless it is one of the usual endings 'm, 't, 's, 'd and 'n.
    (r"'([\w--[mtsdnMTSDN]])\b", "' $1"),
    // Punctuation.
    ("([^.])([.])([\\])}>\"'»”’ ]*)\\s*$", "$1 $2 $3 "),
    (r"([:,])(\D)", " $1 $2"),
    ("([:,])$", " $1 "),
    (r"([.]{2,})", " $1 "),
    ("([;@#$%&])", " $1 "),
    ("([^.])([.])([\\])}>\"']*)\\s*$", "$1 $2$3 "),
    ("([?!])", " $1 "),
    ("([^'])' ", "$1 ' "),
    (r"([*])", " $1 "),
    (r"([\]\[(){}<>])", " $1 "),
    ("(--)", " $1 "),
    // A space at both ends, for the rules that follow.
    ("^", " "),
    ("$", " "),
];

/// The rules after that.
const ENDINGS: [(&str, &str); 16] = [
    // Closing quotation marks, and endings after an apostrophe.
    ("([»”’])", " $1 "),
    ("('')", " $1 "),
    ("\"", " '' "),
    (r"\s+", " "),
    ("([^' ])('[sSmMdD]|') ", "$1 $2 "),
    ("([^' ])('ll|'LL|'re|'RE|'ve|'VE|n't|N'T) ", "$1 $2 "),
    // Two words in one.
    (r"(?i)\b(can)(not)\b", " $1 $2 "),
    (r"(?i)\b(d)('ye)\b", " $1 $2 "),
    (r"(?i)\b(gim)(me)\b", " $1 $2 "),
    (r"(?i)\b(gon)(na)\b", " $1 $2 "),
    (r"(?i)\b(got)(ta)\b", " $1 $2 "),
    (r"(?i)\b(lem)(me)\b", " $1 $2 "),
    (r"(?i)\b(more)('n)\b", " $1 $2 "),
    (r"(?i)\b(wan)(na)\s", " $1 $2 "),
    (r"(?i) ('t)(is)\b", " $1 $2 "),
    (r"(?i) ('t)(was)\b", " $1 $2 "),
];

/// The rules, compiled. The patterns are constants that the tests compile.
static RULES: LazyLock<Vec<(Regex, &'static str)>> = LazyLock::new(|| {
    let rules = INSIDE.iter().chain(&ENDINGS);
    rules.filter_map(|(pattern, replacement)| Some((Regex::new(pattern).ok()?, *replacement))).collect()
});

/// The words of a text.
pub(super) fn words(text: &str) -> Vec<String> {
    let mut text = text.to_owned();
    for (pattern, replacement) in RULES.iter() {
        if let std::borrow::Cow::Owned(changed) = pattern.replace_all(&text, *replacement) {
            text = changed;
        }
    }
    text.split(is_python_space).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pattern_compiles() {
        assert_eq!(RULES.len(), INSIDE.len() + ENDINGS.len());
    }

    #[test]
    fn words_are_those_of_nltk() {
        let golden: serde_json::Value = st_testing::golden::read("models-modules/golden.json");
        let cases = golden["nltk_words"].as_array().unwrap();
        assert!(cases.len() > 10);
        for case in cases {
            let text = case[0].as_str().unwrap();
            let expected: Vec<&str> = case[1].as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect();
            assert_eq!(words(text), expected, "{text}");
        }
    }
}
