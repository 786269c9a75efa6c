//! Word vectors in text files, as word2vec, GloVe and fastText write them.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use crate::input::is_python_space;
use crate::tokenizer::WordTokenizer;
use crate::{Error, ErrorKind, Result};

use super::WordEmbeddings;

/// The word with index 0.
const PADDING: &str = "PADDING_TOKEN";
/// No line of word vectors is longer than this.
const LONGEST_LINE: u64 = 16 << 20;

/// How [`WordEmbeddings::from_text_file`] reads.
///
/// ```
/// use sentence_transformers::modules::TextFileOptions;
/// use sentence_transformers::tokenizer::WhitespaceTokenizer;
///
/// let options = TextFileOptions::new()
///     .tokenizer(WhitespaceTokenizer::new([""; 0]).lower_case(true))
///     .item_separator("\t")
///     .max_vocab_size(100_000);
/// assert_eq!(options, options.clone());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextFileOptions {
    update_embeddings: bool,
    item_separator: String,
    tokenizer: WordTokenizer,
    max_vocab_size: Option<usize>,
}

impl Default for TextFileOptions {
    fn default() -> Self {
        Self {
            update_embeddings: false,
            item_separator: " ".to_owned(),
            tokenizer: WordTokenizer::default(),
            max_vocab_size: None,
        }
    }
}

impl TextFileOptions {
    /// The defaults: items separated by a space, all words, a whitespace tokenizer with English stop words.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether training shall change the vectors.
    #[must_use]
    pub fn update_embeddings(mut self, update: bool) -> Self {
        self.update_embeddings = update;
        self
    }

    /// What stands between the items of a line.
    #[must_use]
    pub fn item_separator(mut self, separator: impl Into<String>) -> Self {
        self.item_separator = separator.into();
        self
    }

    /// The tokenizer, whose vocabulary becomes the file's.
    #[must_use]
    pub fn tokenizer(mut self, tokenizer: impl Into<WordTokenizer>) -> Self {
        self.tokenizer = tokenizer.into();
        self
    }

    /// Reads this many words at most; 0 reads all.
    #[must_use]
    pub fn max_vocab_size(mut self, words: usize) -> Self {
        self.max_vocab_size = Some(words);
        self
    }
}

pub(super) fn read(path: &Path, options: TextFileOptions) -> Result<WordEmbeddings> {
    log::info!("Read in embeddings file {}", path.display());
    let file = File::open(path).map_err(|source| {
        let missing = source.kind() == std::io::ErrorKind::NotFound;
        let kind = if missing { ErrorKind::NotFound } else { ErrorKind::Io };
        Error::new(kind, format!("Embeddings file not found: {}", path.display())).with_path(path).with_source(source)
    })?;
    if options.item_separator.is_empty() {
        return Err(Error::new(ErrorKind::Argument, "item_separator should not be empty"));
    }
    let compressed = path.extension().is_some_and(|extension| extension == "gz");
    let text: Box<dyn Read> =
        if compressed { Box::new(flate2::read::MultiGzDecoder::new(file)) } else { Box::new(file) };
    let vectors = Vectors::read(&mut BufReader::new(text), path, &options)?;
    let tokenizer = options.tokenizer.with_vocabulary(vectors.words);
    Ok(WordEmbeddings::new(tokenizer, vectors.table, vectors.width)?.update_embeddings(options.update_embeddings))
}

/// What was read so far.
#[derive(Default)]
struct Vectors {
    words: Vec<String>,
    table: Vec<f32>,
    width: usize,
}

impl Vectors {
    fn read(text: &mut dyn BufRead, path: &Path, options: &TextFileOptions) -> Result<Self> {
        let most = options.max_vocab_size.filter(|&most| most > 0);
        let mut vectors = Self::default();
        let mut line = String::new();
        for number in 1.. {
            line.clear();
            let read = text.take(LONGEST_LINE).read_line(&mut line).map_err(|source| {
                Error::new(ErrorKind::Io, format!("{}, line {number}: cannot be read", path.display()))
                    .with_path(path)
                    .with_hint("the file should be UTF-8 text, or such text compressed by gzip under a name in .gz")
                    .with_source(source)
            })?;
            if read == 0 {
                break;
            }
            if read as u64 == LONGEST_LINE {
                return Err(Error::config(path, format_args!("line {number} is longer than {LONGEST_LINE} bytes")));
            }
            vectors.add(line.trim_end_matches(is_python_space), number, path, options)?;
            if most.is_some_and(|most| vectors.words.len() > most) {
                break;
            }
        }
        if vectors.words.is_empty() {
            return Err(Error::config(path, "there are no word vectors"));
        }
        Ok(vectors)
    }

    fn add(&mut self, line: &str, number: usize, path: &Path, options: &TextFileOptions) -> Result<()> {
        let mut items = line.split(options.item_separator.as_str());
        let word = items.next().unwrap_or_default();
        let numbers: Vec<&str> = items.collect();
        if self.words.is_empty() {
            if numbers.len() == 1 {
                return Ok(()); // word2vec's header
            }
            if numbers.is_empty() {
                return Err(Error::config(path, format_args!("line {number} holds a word and no numbers"))
                    .with_hint("is the separator right? TextFileOptions::item_separator sets another"));
            }
            self.width = numbers.len();
            self.words.push(PADDING.to_owned());
            self.table.resize(self.width, 0.0);
        }
        if numbers.len() != self.width {
            log::error!("ERROR: A line in the embeddings file had more or less  dimensions than expected. Skip token.");
            return Ok(());
        }
        for text in numbers {
            let value: f64 = text.trim_matches(is_python_space).parse().map_err(|source| {
                Error::config(path, format_args!("line {number}: '{text}' is not a number")).with_source(source)
            })?;
            if !(value as f32).is_finite() {
                return Err(Error::config(path, format_args!("line {number}: '{text}' is not a finite number")));
            }
            self.table.push(value as f32);
        }
        self.words.push(word.to_owned());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn read_text(text: &str, options: &TextFileOptions) -> Result<Vectors> {
        Vectors::read(&mut text.as_bytes(), Path::new("words.txt"), options)
    }

    #[test]
    fn headers_and_lines_of_another_length_are_left_out() {
        let vectors = read_text("3 2\na 1 2\r\nbad 1\nb -3e1 .5 \n", &TextFileOptions::new()).unwrap();
        assert_eq!(vectors.words, ["PADDING_TOKEN", "a", "b"]);
        assert_eq!(vectors.table, [0.0, 0.0, 1.0, 2.0, -30.0, 0.5]);
    }

    #[test]
    fn no_more_words_than_asked_for() {
        let read = |most| read_text("a 1 2\nb 3 4\nc 5 6\n", &TextFileOptions::new().max_vocab_size(most)).unwrap();
        assert_eq!(read(2).words, ["PADDING_TOKEN", "a", "b"]);
        assert_eq!(read(0).words.len(), 4);
    }

    #[test]
    fn separators_can_be_chosen() {
        let vectors = read_text("a b\t1\t2\n", &TextFileOptions::new().item_separator("\t")).unwrap();
        assert_eq!(vectors.words[1], "a b");
    }

    #[test]
    fn what_is_no_number_is_named() {
        let error = read_text("a 1 2\nb 1 x\n", &TextFileOptions::new()).map(|_| ()).unwrap_err();
        assert_eq!(error.to_string(), "words.txt: line 2: 'x' is not a number");
        assert!(read_text("a 1 inf\n", &TextFileOptions::new()).is_err());
        assert!(read_text("", &TextFileOptions::new()).is_err());
        assert!(read_text("word\n", &TextFileOptions::new()).is_err());
    }

    #[test]
    fn compressed_files_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("words.txt.gz");
        let mut out = flate2::write::GzEncoder::new(File::create(&path).unwrap(), flate2::Compression::default());
        out.write_all(b"a 1 2\n").unwrap();
        out.finish().unwrap();
        let words = WordEmbeddings::from_text_file(&path, TextFileOptions::new()).unwrap();
        assert_eq!(words.words().vocabulary(), ["PADDING_TOKEN", "a"]);
        std::fs::write(&path, "a 1 2\n").unwrap();
        assert!(WordEmbeddings::from_text_file(&path, TextFileOptions::new()).is_err());
        let missing = folder.path().join("missing.txt");
        let error = WordEmbeddings::from_text_file(&missing, TextFileOptions::new()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
    }
}
