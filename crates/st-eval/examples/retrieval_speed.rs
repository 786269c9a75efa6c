//! How long the retrieval evaluator takes beside the model: random vectors, no network.
//!
//! ```text
//! cargo run --release -p st-eval --example retrieval_speed -- [documents] [queries] [dimension]
//! ```

use std::collections::{HashMap, HashSet};
use std::error::Error;
use std::time::Instant;

use st_eval::{EmbedOptions, Embedder, Evaluator, InformationRetrievalEvaluator, Occasion, Result, Role};
use st_vectors::{Embeddings, SimilarityFunction};

/// Gives every text a vector that follows from its number.
struct Noise {
    dimension: usize,
}

impl Embedder for Noise {
    fn embed(&self, texts: &[&str], _: Role, _: &EmbedOptions<'_>) -> Result<Embeddings> {
        let mut data = Vec::with_capacity(texts.len() * self.dimension);
        for text in texts {
            let number: u64 = text.parse().unwrap_or(0);
            let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
            data.extend((0..self.dimension).map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                (state >> 40) as f32 / (1 << 23) as f32 - 1.0
            }));
        }
        Ok(Embeddings::new(data, texts.len(), self.dimension)?)
    }

    fn similarity(&self) -> SimilarityFunction {
        SimilarityFunction::Cosine
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut sizes = [200_000, 1000, 384];
    for (size, argument) in sizes.iter_mut().zip(std::env::args().skip(1)) {
        *size = argument.parse()?;
    }
    let [documents, queries, dimension] = sizes;
    let corpus = (0..documents).map(|row| (format!("d{row}"), row.to_string())).collect();
    let asked = (0..queries).map(|row| (format!("q{row}"), row.to_string())).collect();
    let relevant: HashMap<String, HashSet<String>> =
        (0..queries).map(|row| (format!("q{row}"), HashSet::from([format!("d{row}")]))).collect();
    let evaluator = InformationRetrievalEvaluator::new(asked, corpus, relevant)?;
    let model = Noise { dimension };
    let texts: Vec<String> = (0..documents).map(|row| row.to_string()).collect();
    let borrowed: Vec<&str> = texts.iter().map(String::as_str).collect();
    let start = Instant::now();
    model.embed(&borrowed, Role::Document, &EmbedOptions::default())?;
    let making = start.elapsed();
    let start = Instant::now();
    let evaluation = evaluator.evaluate(&model, &Occasion::new())?;
    let all = start.elapsed();
    println!("{documents} documents, {queries} queries, {dimension} components");
    println!(
        "vectors made in {:.2} s, evaluated in {:.2} s more",
        making.as_secs_f64(),
        all.saturating_sub(making).as_secs_f64()
    );
    println!("{} = {:?}", evaluation.primary_metric, evaluation.score());
    Ok(())
}
