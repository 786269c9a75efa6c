//! A Rust source file as a list of words: no comments, no string contents, no test code.

use std::path::PathBuf;

/// A word of the source: an identifier, a number, or one punctuation character. String literals become `""`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Word {
    pub(crate) text: String,
    pub(crate) line: usize,
}

/// One file.
pub(crate) struct Source {
    /// Its path from the repository's root, for messages.
    pub(crate) shown: String,
    /// Its path below `src`.
    pub(crate) path: PathBuf,
    /// How many lines it has.
    pub(crate) lines: usize,
    /// Its words outside test code.
    pub(crate) words: Vec<Word>,
}

impl Source {
    pub(crate) fn new(shown: PathBuf, path: PathBuf, text: String) -> Self {
        let words = if is_test_file(&path) { Vec::new() } else { without_tests(split(&text)) };
        Self { shown: shown.to_string_lossy().replace('\\', "/"), path, lines: text.lines().count(), words }
    }

    /// The modules that lead here: `layers/linear.rs` → `["layers", "linear"]`, `lib.rs` → `[]`.
    pub(crate) fn module(&self) -> Vec<String> {
        let mut names: Vec<String> =
            self.path.with_extension("").iter().map(|name| name.to_string_lossy().into_owned()).collect();
        match names.last().map(String::as_str) {
            Some("mod") => {
                names.pop();
            }
            Some("lib" | "main") if names.len() == 1 => {
                names.pop();
            }
            _ => {}
        }
        names
    }

    /// The lines where these words follow each other.
    pub(crate) fn find(&self, wanted: &[&str]) -> Vec<usize> {
        let same = |window: &&[Word]| window.iter().zip(wanted).all(|(word, wanted)| word.text == *wanted);
        self.words.windows(wanted.len()).filter(same).map(|window| window[0].line).collect()
    }
}

fn is_test_file(path: &std::path::Path) -> bool {
    path.with_extension("").iter().any(|part| part == "tests")
}

/// Splits a source into words.
pub(crate) fn split(text: &str) -> Vec<Word> {
    let letters: Vec<char> = text.chars().collect();
    let (mut words, mut at, mut line) = (Vec::new(), 0, 1);
    let is_name = |letter: char| letter.is_alphanumeric() || letter == '_';
    while at < letters.len() {
        let start = at;
        let letter = letters[at];
        let next = letters.get(at + 1).copied().unwrap_or('\0');
        let mut word = None;
        if letter.is_whitespace() {
            at += 1;
        } else if letter == '/' && next == '/' {
            at = end_of_line(&letters, at);
        } else if letter == '/' && next == '*' {
            at = end_of_comment(&letters, at);
        } else if let Some(end) = end_of_string(&letters, at) {
            at = end;
            word = Some("\"\"".to_owned());
        } else if letter == '\'' {
            at = end_of_character(&letters, at);
            word = Some(if letters[at - 1] == '\'' { "''" } else { "'lifetime" }.to_owned());
        } else if is_name(letter) {
            while at < letters.len() && is_name(letters[at]) {
                at += 1;
            }
            word = Some(letters[start..at].iter().collect());
        } else {
            at += 1;
            word = Some(letter.to_string());
        }
        words.extend(word.map(|text| Word { text, line }));
        line += letters[start..at.min(letters.len())].iter().filter(|letter| **letter == '\n').count();
    }
    words
}

fn end_of_line(letters: &[char], at: usize) -> usize {
    letters[at..].iter().position(|letter| *letter == '\n').map_or(letters.len(), |length| at + length)
}

fn end_of_comment(letters: &[char], mut at: usize) -> usize {
    let mut depth = 0;
    while at < letters.len() {
        match (letters[at], letters.get(at + 1)) {
            ('/', Some('*')) => (depth, at) = (depth + 1, at + 2),
            ('*', Some('/')) => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

/// Where the string that starts here ends: `"…"`, `b"…"`, `c"…"`, `r"…"`, `r#"…"#` and so on; `None` when none starts here.
fn end_of_string(letters: &[char], start: usize) -> Option<usize> {
    let mut at = start;
    while at < start + 2 && matches!(letters.get(at), Some('b' | 'c' | 'r')) {
        at += 1;
    }
    let raw = letters[start..at].contains(&'r');
    let marks = letters[at..].iter().take_while(|letter| **letter == '#').count();
    if letters.get(at + marks) != Some(&'"') || (marks > 0 && !raw) {
        return None;
    }
    at += marks + 1;
    while at < letters.len() {
        if letters[at] == '\\' && !raw {
            at += 2;
        } else if letters[at] == '"' && letters[at + 1..].iter().take(marks).filter(|l| **l == '#').count() == marks {
            return Some(at + 1 + marks);
        } else {
            at += 1;
        }
    }
    Some(letters.len())
}

/// Where a character literal or a lifetime ends.
fn end_of_character(letters: &[char], at: usize) -> usize {
    if letters.get(at + 1) == Some(&'\\') {
        let from = at + 3;
        return letters
            .get(from..)
            .and_then(|rest| rest.iter().position(|l| *l == '\''))
            .map_or(letters.len(), |n| from + n + 1);
    }
    if letters.get(at + 2) == Some(&'\'') {
        return at + 3;
    }
    let name = letters[at + 1..].iter().take_while(|letter| letter.is_alphanumeric() || **letter == '_').count();
    at + 1 + name
}

/// Leaves out every item under `#[cfg(test)]` or `#[test]`.
fn without_tests(words: Vec<Word>) -> Vec<Word> {
    const MARKS: [&[&str]; 2] = [&["#", "[", "cfg", "(", "test", ")", "]"], &["#", "[", "test", "]"]];
    let mut kept = Vec::with_capacity(words.len());
    let mut at = 0;
    while at < words.len() {
        let here = |mark: &[&str]| {
            words.len() - at >= mark.len() && mark.iter().zip(&words[at..]).all(|(mark, word)| *mark == word.text)
        };
        match MARKS.iter().find(|mark| here(mark)) {
            Some(mark) => at = end_of_item(&words, at + mark.len()),
            None => {
                kept.push(words[at].clone());
                at += 1;
            }
        }
    }
    kept
}

/// The place after the item that starts here: after its body, or after its semicolon.
pub(crate) fn end_of_item(words: &[Word], start: usize) -> usize {
    let mut depth = 0_usize;
    for (at, word) in words.iter().enumerate().skip(start) {
        match word.text.as_str() {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" => depth = depth.saturating_sub(1),
            "}" => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return at + 1;
                }
            }
            ";" if depth == 0 => return at + 1,
            _ => {}
        }
    }
    words.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(source: &str) -> Vec<String> {
        split(source).into_iter().map(|word| word.text).collect()
    }

    #[test]
    fn comments_and_string_contents_are_left_out() {
        assert_eq!(texts("a /* b /* c */ d */ e // f\ng"), ["a", "e", "g"]);
        assert_eq!(texts(r##"x("a \" b", r#"c " d"#, b"e", '"', '\'', 'l')"##).join(""), r#"x("","","",'','','')"#);
        assert_eq!(texts("fn f<'a>(x: &'a str)").join(" "), "fn f < 'lifetime > ( x : & 'lifetime str )");
    }

    #[test]
    fn lines_are_counted_through_strings() {
        let words = split("a\n\"b\nc\"\nd");
        assert_eq!(words.iter().map(|word| word.line).collect::<Vec<_>>(), [1, 2, 4]);
    }

    #[test]
    fn test_code_is_left_out() {
        let text = "use a;\n#[cfg(test)]\nmod tests {\n fn x() { y(); }\n}\nfn z() {}\n#[cfg(test)]\nuse q;\nfn w() {}";
        let source = Source::new("src/lib.rs".into(), "lib.rs".into(), text.to_owned());
        let words: Vec<_> = source.words.iter().map(|word| word.text.as_str()).collect();
        assert_eq!(words.join(" "), "use a ; fn z ( ) { } fn w ( ) { }");
    }

    #[test]
    fn modules_are_named_by_path() {
        let module = |path: &str| Source::new(path.into(), path.into(), String::new()).module();
        assert_eq!(module("layers/linear.rs"), ["layers", "linear"]);
        assert_eq!(module("layers/mod.rs"), ["layers"]);
        assert!(module("lib.rs").is_empty());
    }

    #[test]
    fn an_unfinished_file_does_not_stop_the_check() {
        for text in ["\"open", "'", "'\\", "/* open", "r#\"open", "b", "#[cfg(test)]", "fn f() {"] {
            let _ = Source::new("x.rs".into(), "x.rs".into(), text.to_owned());
        }
    }
}
