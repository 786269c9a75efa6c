//! [`Pieces`]: the short pieces of a WordPiece vocabulary, for cutting short words.

use tokenizers::models::wordpiece::PipelineWordPiece;
use tokenizers::pipeline::PipelineToken;

use super::short_words::{LONGEST, first, padded, place};

/// The pieces of at most [`LONGEST`] bytes: longer ones are in no word that short.
#[derive(Debug)]
pub(super) struct Pieces {
    starts: Table,
    continuations: Table,
    unknown: PipelineToken,
}

/// Pieces, padded with zeros, and their tokens. An empty place has the word 0, which is no piece.
#[derive(Debug)]
struct Table {
    places: Box<[(u128, u32)]>,
}

impl Pieces {
    /// The pieces of a model; `None` when it has no unknown token, so that some words are errors.
    pub(super) fn new(model: &PipelineWordPiece) -> Option<Self> {
        let vocabulary = model.vocab();
        let unknown = model.unk_token()?;
        let unknown = vocabulary.iter().find(|(piece, _)| piece == unknown)?.1;
        let prefix = model.continuing_subword_prefix();
        let starts = vocabulary.iter().map(|(piece, id)| (piece.as_str(), *id));
        let continuations = vocabulary.iter().filter_map(|(piece, id)| Some((piece.strip_prefix(prefix)?, *id)));
        let (starts, continuations) = (Table::new(starts.collect()), Table::new(continuations.collect()));
        Some(Self { starts, continuations, unknown: unknown.into() })
    }

    /// Appends the tokens of a word of `length` bytes: the longest piece it starts with, then the longest that continues
    /// it, and so on; the unknown token when some part of it is no piece.
    pub(super) fn append(&self, word: u128, length: usize, out: &mut Vec<PipelineToken>) {
        let start = out.len();
        let (mut rest, mut left) = (word, length);
        while left > 0 {
            let table = if left == length { &self.starts } else { &self.continuations };
            let longest = (1..=left).rev().find_map(|length| Some((length, table.get(first(rest, length))?)));
            let Some((taken, token)) = longest else {
                out.truncate(start);
                out.push(self.unknown);
                return;
            };
            out.push(token.into());
            left -= taken;
            rest = if left == 0 { 0 } else { rest >> (8 * taken) };
        }
    }
}

impl Table {
    fn new(pieces: Vec<(&str, u32)>) -> Self {
        let count = (2 * pieces.len()).next_power_of_two().max(2);
        let mut places = vec![(0u128, 0u32); count].into_boxed_slice();
        for (piece, token) in pieces {
            let bytes = piece.as_bytes();
            if bytes.is_empty() || bytes.len() > LONGEST || bytes.contains(&0) {
                continue;
            }
            let word = padded(bytes);
            let mut at = place(word, count);
            while places[at].0 != 0 && places[at].0 != word {
                at = (at + 1) % count;
            }
            places[at] = (word, token);
        }
        Self { places }
    }

    fn get(&self, word: u128) -> Option<u32> {
        let mut at = place(word, self.places.len());
        loop {
            match self.places[at] {
                (0, _) => return None,
                (found, token) if found == word => return Some(token),
                _ => at = (at + 1) % self.places.len(),
            }
        }
    }
}
