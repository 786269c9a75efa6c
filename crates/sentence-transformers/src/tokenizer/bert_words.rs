//! [`BertWords`]: a short cut through BERT-type tokenizers for plain English-like text, with exactly the same token ids.
//!
//! A BERT tokenizer cleans a text, strips accents and lower-cases it character by character, splits it at white space and
//! around punctuation, and cuts each word into pieces; two times the same word gives two times the same pieces. Most words
//! of most texts are ASCII letters and digits, for which cleaning and accents do nothing and lower-casing is one bit. Those
//! are found here eight bytes at a time, looked up in a bounded memory of words seen before, and cut into the longest pieces
//! of the vocabulary where they are new. Everything else goes through the tokenizer itself: words of more than sixteen
//! letters, and, as a whole, each stretch between white space that holds anything but plain ASCII or could be an added
//! token. White space ends a stretch for certain, because no step of the tokenizer looks across a space.

use tokenizers::pipeline::{PipelineModel, PipelineNormalizer, PipelinePreTokenizer, PipelineToken, PipelineTokenizer};

use crate::Result;

use super::pieces::Pieces;
use super::short_words::{LONGEST, first, padded, place};

/// Words that the memory holds per set.
const WAYS: usize = 2;
/// Sets of the memory, a power of two: a quarter of a mebibyte in all, which stays in a core's own cache.
const SETS: usize = 1 << 12;
/// Most tokens of a word that the memory holds.
const MOST_TOKENS: usize = 3;

/// What a byte is to the short cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    /// An ASCII letter or digit.
    Word,
    /// A space, tab, line feed or carriage return.
    Space,
    /// ASCII punctuation that is one token of its own.
    Punctuation,
    /// Anything else: the tokenizer itself must look at it.
    Other,
}

/// The short cut for one tokenizer.
#[derive(Debug)]
pub(super) struct BertWords {
    classes: [Class; 256],
    /// Token of each byte of class [`Class::Punctuation`].
    punctuation: [PipelineToken; 128],
    /// The bits that lower-casing sets in each byte of a word.
    lower: u64,
    pieces: Pieces,
}

/// Words of one tokenizer with their tokens. Each thread has its own; it never grows.
#[derive(Debug)]
pub(crate) struct WordMemory {
    sets: Box<[Set]>,
}

/// One cache line.
#[derive(Debug, Clone, Copy)]
#[repr(align(64))]
struct Set([Slot; WAYS]);

/// A word of at most [`LONGEST`] bytes, padded with zeros, and its tokens.
#[derive(Debug, Clone, Copy)]
struct Slot {
    word: u128,
    tokens: [u32; MOST_TOKENS],
    count: u32,
}

impl WordMemory {
    /// A memory that holds nothing yet.
    pub(super) fn new() -> Self {
        let empty = Slot { word: 0, tokens: [0; MOST_TOKENS], count: 0 };
        Self { sets: vec![Set([empty; WAYS]); SETS].into_boxed_slice() }
    }

    /// A memory for tokenizers that have no use for it.
    pub(super) fn none() -> Self {
        Self { sets: Box::default() }
    }

    /// Appends the tokens of a word, from the memory or from `compute`, which appends them too.
    #[inline(always)]
    fn append(
        &mut self,
        word: u128,
        out: &mut Vec<PipelineToken>,
        compute: impl FnOnce(&mut Vec<PipelineToken>) -> Result<()>,
    ) -> Result<()> {
        let Set(slots) = &mut self.sets[place(word, SETS)];
        for slot in slots.iter() {
            if slot.word == word {
                out.extend_from_slice(&slot.tokens.map(PipelineToken::from)[..(slot.count as usize).min(MOST_TOKENS)]);
                return Ok(());
            }
        }
        Self::learn(slots, word, out, compute)
    }

    #[inline(never)]
    fn learn(
        slots: &mut [Slot; WAYS],
        word: u128,
        out: &mut Vec<PipelineToken>,
        compute: impl FnOnce(&mut Vec<PipelineToken>) -> Result<()>,
    ) -> Result<()> {
        let start = out.len();
        compute(out)?;
        let found = &out[start..];
        if found.len() <= MOST_TOKENS {
            let mut tokens = [0; MOST_TOKENS];
            for (place, token) in tokens.iter_mut().zip(found) {
                *place = token.id();
            }
            slots.rotate_right(1);
            slots[0] = Slot { word, tokens, count: found.len() as u32 };
        }
        Ok(())
    }
}

impl BertWords {
    /// The short cut for a tokenizer, when it is of BERT's kind. `encode` is the tokenizer itself.
    pub(super) fn new(
        pipeline: &PipelineTokenizer,
        encode: impl Fn(&str, &mut Vec<PipelineToken>) -> Result<()>,
    ) -> Option<Self> {
        let [PipelineNormalizer::Bert(normalizer)] = pipeline.get_normalizers() else { return None };
        let PipelineModel::WordPiece(model) = pipeline.get_model() else { return None };
        let bert = matches!(pipeline.get_pre_tokenizer(), PipelinePreTokenizer::Bert(_));
        if !bert || model.max_input_chars_per_word() < LONGEST {
            return None;
        }
        let mut classes = [Class::Other; 256];
        for byte in 0..128u8 {
            classes[usize::from(byte)] = match byte {
                b' ' | b'\t' | b'\n' | b'\r' => Class::Space,
                _ if byte.is_ascii_alphanumeric() => Class::Word,
                _ => Class::Other,
            };
        }
        let mut punctuation = [PipelineToken::from(0); 128];
        for byte in (0..128u8).filter(u8::is_ascii_punctuation) {
            let mut tokens = Vec::new();
            encode(char::from(byte).encode_utf8(&mut [0; 4]), &mut tokens).ok()?;
            if let [token] = tokens[..] {
                punctuation[usize::from(byte)] = token;
                classes[usize::from(byte)] = Class::Punctuation;
            }
        }
        for token in pipeline.get_added_vocabulary().get_added_tokens_decoder().into_values() {
            let first = *token.content.as_bytes().first()?;
            let simple = !(token.normalized || token.single_word || token.lstrip || token.rstrip);
            if !simple || first.is_ascii_alphanumeric() || token.content.contains([' ', '\t', '\n', '\r']) {
                return None;
            }
            classes[usize::from(first)] = Class::Other;
        }
        let lower = if normalizer.lowercase { 0x2020_2020_2020_2020 } else { 0 };
        Some(Self { classes, punctuation, lower, pieces: Pieces::new(model)? })
    }

    /// Appends the tokens of a text. `encode` is the tokenizer itself.
    pub(super) fn append(
        &self,
        text: &str,
        memory: &mut WordMemory,
        out: &mut Vec<PipelineToken>,
        encode: impl Fn(&str, &mut Vec<PipelineToken>) -> Result<()>,
    ) -> Result<()> {
        let bytes = text.as_bytes();
        let windows = Windows::new(bytes);
        // Where the stretch between white space starts, in the text and in the tokens.
        let (mut stretch, mut mark) = (0, out.len());
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            match self.classes[usize::from(byte)] {
                Class::Word => {
                    let (word, length) = windows.word(at, self.lower);
                    let more = length == LONGEST && bytes.get(at + length).is_some_and(u8::is_ascii_alphanumeric);
                    if !more {
                        memory.append(word, out, |out| {
                            self.pieces.append(word, length, out);
                            Ok(())
                        })?;
                        at += length;
                    } else {
                        let rest = bytes[at..].iter().position(|byte| !byte.is_ascii_alphanumeric());
                        let end = rest.map_or(bytes.len(), |length| at + length);
                        encode(&text[at..end], out)?;
                        at = end;
                    }
                }
                Class::Punctuation => {
                    out.push(self.punctuation[usize::from(byte & 127)]);
                    at += 1;
                }
                Class::Space => {
                    at += 1;
                    (stretch, mark) = (at, out.len());
                }
                Class::Other => {
                    out.truncate(mark);
                    let space = |byte: &u8| self.classes[usize::from(*byte)] == Class::Space;
                    let end = bytes[at..].iter().position(space).map_or(bytes.len(), |length| at + length);
                    let whole = &bytes[stretch..end];
                    let compute = |out: &mut Vec<PipelineToken>| encode(&text[stretch..end], out);
                    if whole.len() <= LONGEST && !whole.contains(&0) {
                        // It holds a byte that no word holds, so that the two cannot be taken for each other.
                        memory.append(padded(whole), out, compute)?;
                    } else {
                        compute(out)?;
                    }
                    at = end;
                }
            }
        }
        Ok(())
    }
}

/// Sixteen bytes of a text from any place on, zeros after its end.
struct Windows<'a> {
    bytes: &'a [u8],
    /// The last sixteen bytes, and where they start.
    last: u128,
    last_start: usize,
}

impl<'a> Windows<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        let last_start = bytes.len().saturating_sub(LONGEST);
        Self { bytes, last: padded(&bytes[last_start..]), last_start }
    }

    fn at(&self, at: usize) -> u128 {
        match self.bytes.get(at..).and_then(|rest| rest.first_chunk()) {
            Some(chunk) => u128::from_le_bytes(*chunk),
            None => self.last >> (8 * (at - self.last_start)),
        }
    }

    /// The letters and digits from `at` on, at most sixteen, lower-cased with the bits of `lower`; and how many they are.
    #[inline(always)]
    fn word(&self, at: usize, lower: u64) -> (u128, usize) {
        let window = self.at(at);
        let (low, high) = (window as u64, (window >> 64) as u64);
        let others = u128::from(!alphanumeric(low) & TOPS) | u128::from(!alphanumeric(high) & TOPS) << 64;
        let length = (others.trailing_zeros() / 8) as usize;
        let lowered = window | u128::from(lower) << 64 | u128::from(lower);
        (first(lowered, length), length)
    }
}

/// The top bit of each byte.
const TOPS: u64 = 0x8080_8080_8080_8080;

/// Sets the top bit of each byte that is an ASCII letter or digit; the other bits are of no meaning.
#[inline(always)]
fn alphanumeric(bytes: u64) -> u64 {
    const fn each(byte: u8) -> u64 {
        u64::from_le_bytes([byte; 8])
    }
    // A byte without its top bit, plus 128 - n, has its top bit set when it is at least n.
    let plain = bytes & !TOPS;
    let letters = plain | each(0x20);
    let letter = (letters + each(128 - b'a')) & !(letters + each(127 - b'z'));
    let digit = (plain + each(128 - b'0')) & !(plain + each(127 - b'9'));
    (letter | digit) & !bytes
}

#[cfg(test)]
mod tests;
