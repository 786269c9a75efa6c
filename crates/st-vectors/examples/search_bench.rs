//! Seconds per exact search, best of several runs, for a comparison with the original's `util.semantic_search`.
//!
//! ```text
//! cargo run --release -p st-vectors --example search_bench -- [rows] [dimension] [queries]
//! python crates/st-vectors/examples/search_bench.py [rows] [dimension] [queries]
//! ```
//!
//! Both fill corpus and queries with uniform random numbers, which decide nothing about the time.

use std::time::Instant;

use st_vectors::{
    Embeddings, Precision, QuantizedSearchOptions, Ranges, SearchOptions, SimilarityFunction, VectorError,
    quantize_embeddings, semantic_search, semantic_search_quantized,
};

const RUNS: usize = 9;

fn random(rows: usize, dimension: usize, mut state: u64) -> Result<Embeddings, VectorError> {
    let data = (0..rows * dimension).map(|_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    });
    Embeddings::new(data.collect(), rows, dimension)
}

fn best<T>(name: &str, mut run: impl FnMut() -> Result<T, VectorError>) -> Result<(), VectorError> {
    let mut seconds = f64::INFINITY;
    for _ in 0..RUNS {
        let start = Instant::now();
        run()?;
        seconds = seconds.min(start.elapsed().as_secs_f64());
    }
    println!("{name:<24} {:9.2} ms", seconds * 1e3);
    Ok(())
}

fn main() -> Result<(), VectorError> {
    let mut numbers = std::env::args().skip(1).map(|argument| argument.parse::<usize>().ok());
    let mut number = |default: usize| numbers.next().flatten().unwrap_or(default);
    let (rows, dimension, queries) = (number(50_000), number(384), number(100));
    println!("{rows} rows of {dimension}, {queries} queries, {} threads", rayon::current_num_threads());
    let corpus = random(rows, dimension, 1)?;
    let queries = random(queries, dimension, 2)?;
    for (function, name) in SimilarityFunction::ALL {
        let options = SearchOptions::new().score_function(function);
        best(name, || semantic_search(&queries, &corpus, &options))?;
    }
    best("cosine, one query", {
        let one = Embeddings::from(queries.row(0).to_vec());
        let corpus = &corpus;
        move || semantic_search(&one, corpus, &SearchOptions::new())
    })?;
    let options = QuantizedSearchOptions::new().ranges(Ranges::from_embeddings(&corpus)?);
    for precision in [Precision::Int8, Precision::Uint8, Precision::Ubinary] {
        let stored = quantize_embeddings(&corpus, precision, options.ranges.as_ref(), None)?;
        best(&format!("{precision}, rescored"), || semantic_search_quantized(&queries, &stored, &options))?;
    }
    Ok(())
}
