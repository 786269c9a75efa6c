//! Our contestant of the benchmark: `bench-worker MODEL_FOLDER WEIGHTS THREADS`, weights as in `float32` or `int8`.

use bench_protocol::{Contestant, Failure, Ready, Vectors, serve};
use sentence_transformers::{EncodeOptions, LoadOptions, SentenceTransformer};
use std::io::{stdin, stdout};
use std::time::Instant;

struct Ours(SentenceTransformer);

impl Contestant for Ours {
    /// The library batches by tokens, so there is no batch size to choose.
    fn encode(&mut self, texts: &[String], _batch_size: Option<usize>) -> Result<Vectors, Failure> {
        let embeddings = self.0.encode_with(texts, &EncodeOptions::new())?;
        let dimension = embeddings.dimension();
        Ok(Vectors { values: embeddings.into_vec(), dimension })
    }

    fn tokens(&mut self, texts: &[String]) -> Result<Option<Vec<usize>>, Failure> {
        Ok(Some(self.0.tokenize(texts)?.texts().iter().map(|tokens| tokens.kept()).collect()))
    }
}

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, weights, threads] = &arguments[..] else {
        return Err("usage: bench-worker MODEL_FOLDER WEIGHTS THREADS".into());
    };
    let start = Instant::now();
    let model = LoadOptions::new().weights(weights.parse()?).threads(threads.parse()?).load(folder)?;
    let load = start.elapsed().as_secs_f64();
    let start = Instant::now();
    model.encode(&["The weather is lovely today."])?;
    let first = start.elapsed().as_secs_f64();
    let ready = Ready { version: env!("CARGO_PKG_VERSION").to_owned(), load, first };
    serve(&mut Ours(model), &ready, stdin().lock(), stdout().lock())
}
