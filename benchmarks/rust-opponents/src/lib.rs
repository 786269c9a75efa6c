//! What the transformer opponents share: texts as padded batches, and mean pooling.

use bench_protocol::{Failure, Ready, Vectors, serve};
use std::io::{stdin, stdout};
use std::path::Path;
use std::time::Instant;
use tokenizers::{Tokenizer, TruncationParams};

/// Texts of similar length, padded to the longest of them.
pub struct Batch {
    /// Where each row belongs in the caller's order.
    pub places: Vec<usize>,
    /// Tokens of each row.
    pub lengths: Vec<usize>,
    /// Tokens per row, padding included.
    pub width: usize,
    /// Token numbers, row by row.
    pub ids: Vec<i64>,
    /// 1 where a token is, 0 where padding is.
    pub mask: Vec<i64>,
}

/// A tokenizer that cuts at the length that the model's folder asks for.
pub struct Batches {
    tokenizer: Tokenizer,
    padding: i64,
}

impl Batches {
    /// Reads `tokenizer.json` and `sentence_bert_config.json`.
    pub fn load(folder: &Path) -> Result<Self, Failure> {
        let config = json(&folder.join("sentence_bert_config.json"))?;
        let longest = config["max_seq_length"].as_u64().ok_or("no max_seq_length")? as usize;
        let mut tokenizer = Tokenizer::from_file(folder.join("tokenizer.json"))?;
        tokenizer.with_truncation(Some(TruncationParams { max_length: longest, ..TruncationParams::default() }))?;
        tokenizer.with_padding(None);
        let padding = ["[PAD]", "<pad>"].iter().find_map(|token| tokenizer.token_to_id(token)).unwrap_or(0);
        Ok(Self { tokenizer, padding: i64::from(padding) })
    }

    /// Tokenises in parallel, sorts by length as the original does, and pads.
    pub fn make(&self, texts: &[String], size: usize) -> Result<Vec<Batch>, Failure> {
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let encodings = self.tokenizer.encode_batch_fast(texts, true)?;
        let mut order: Vec<usize> = (0..encodings.len()).collect();
        order.sort_by_key(|&place| std::cmp::Reverse(encodings[place].len()));
        let batches = order.chunks(size.max(1)).map(|places| {
            let width = encodings[places[0]].len();
            let mut batch = Batch {
                places: places.to_vec(),
                lengths: places.iter().map(|&place| encodings[place].len()).collect(),
                width,
                ids: Vec::with_capacity(width * places.len()),
                mask: Vec::with_capacity(width * places.len()),
            };
            for &place in places {
                let ids = encodings[place].get_ids();
                let padding = width - ids.len();
                batch.ids.extend(ids.iter().map(|&id| i64::from(id)).chain(std::iter::repeat_n(self.padding, padding)));
                batch.mask.extend(std::iter::repeat_n(1, ids.len()).chain(std::iter::repeat_n(0, padding)));
            }
            batch
        });
        Ok(batches.collect())
    }
}

impl Batch {
    /// Writes the unit-length mean of each row's token vectors to its place; `tokens` is rows × width × dimension.
    pub fn pool(&self, tokens: &[f32], vectors: &mut Vectors) {
        let dimension = vectors.dimension;
        for (row, (&place, &length)) in self.places.iter().zip(&self.lengths).enumerate() {
            let out = &mut vectors.values[place * dimension..][..dimension];
            for token in tokens[row * self.width * dimension..].chunks_exact(dimension).take(length) {
                out.iter_mut().zip(token).for_each(|(sum, value)| *sum += value);
            }
            let norm = out.iter().map(|value| value * value).sum::<f32>().sqrt().max(1e-12);
            out.iter_mut().for_each(|value| *value /= norm);
        }
    }
}

/// A JSON file.
pub fn json(path: &Path) -> Result<serde_json::Value, Failure> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(serde_json::from_str(&text)?)
}

/// Loads a contestant, embeds a first text, and serves.
pub fn start<C: bench_protocol::Contestant>(
    version: &str,
    load: impl FnOnce() -> Result<C, Failure>,
) -> Result<(), Failure> {
    let begin = Instant::now();
    let mut contestant = load()?;
    let loaded = begin.elapsed().as_secs_f64();
    let begin = Instant::now();
    contestant.encode(&["The weather is lovely today.".to_owned()], Some(1))?;
    let ready = Ready { version: version.to_owned(), load: loaded, first: begin.elapsed().as_secs_f64() };
    serve(&mut contestant, &ready, stdin().lock(), stdout().lock())
}
