//! Time of searches, mining, communities, similarities and quantisation, best of several runs, for a comparison with the
//! original's `util` functions.
//!
//! ```text
//! cargo run --release -p st-vectors --example search_bench -- [rows] [dimension] [queries]
//! python crates/st-vectors/examples/search_bench.py [rows] [dimension] [queries]
//! ```
//!
//! Both fill corpus and queries with uniform random numbers, which decide nothing about the time of a search. Pairs and
//! communities are sought among a fifth as many rows, each near one of a fiftieth as many centres.

use std::time::Instant;

use st_vectors::{
    CommunityOptions, Embeddings, MiningOptions, Precision, QuantizedSearchOptions, Ranges, SearchOptions,
    SimilarityFunction, VectorError, community_detection, cos_sim, pairwise_cos_sim, paraphrase_mining_embeddings,
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

/// Rows near one of the centres, in turn.
fn clustered(centres: &Embeddings, rows: usize) -> Result<Embeddings, VectorError> {
    let (dimension, mut data) = (centres.dimension(), random(rows, centres.dimension(), 3)?.into_vec());
    for (row, numbers) in data.chunks_exact_mut(dimension).enumerate() {
        let centre = centres.row(row % centres.rows());
        numbers.iter_mut().zip(centre).for_each(|(number, centre)| *number = centre + 0.3 * *number);
    }
    Embeddings::new(data, rows, dimension)
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
    let near = clustered(&random(rows.div_ceil(250), dimension, 4)?, rows.div_ceil(5))?;
    best("paraphrase mining", || paraphrase_mining_embeddings(&near, &MiningOptions::new()))?;
    best("communities", || community_detection(&near, &CommunityOptions::new()))?;
    best("cos_sim", || cos_sim(&queries, &corpus))?;
    best("pairwise_cos_sim", || pairwise_cos_sim(&corpus, &corpus))?;
    for precision in [Precision::Int8, Precision::Ubinary] {
        best(&format!("quantise to {precision}"), || quantize_embeddings(&corpus, precision, None, None))?;
    }
    let options = QuantizedSearchOptions::new().ranges(Ranges::from_embeddings(&corpus)?);
    for precision in [Precision::Int8, Precision::Uint8, Precision::Ubinary] {
        let stored = quantize_embeddings(&corpus, precision, options.ranges.as_ref(), None)?;
        best(&format!("{precision}, rescored"), || semantic_search_quantized(&queries, &stored, &options))?;
    }
    Ok(())
}
