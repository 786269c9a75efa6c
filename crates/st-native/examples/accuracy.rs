//! How far other weight formats are from 32-bit floats.
//!
//! `cargo run --release -p st-native --example accuracy FOLDER TOKENS.json [FORMAT…]`: the file holds `texts`, a list of
//! lists of token ids, and `pairs`, a list of `[score, ids, ids]`. Prints for each format the smallest and the mean cosine
//! between a text's mean-pooled embedding and that of 32-bit weights, and Spearman's correlation over the pairs.

use std::error::Error;

use st_encoder::{Backend, Batch, Encoder, EncoderFiles, EncoderOptions, Pass, WeightFormat};
use st_native::NativeBackend;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, tokens, formats @ ..] = &arguments[..] else { return Err("FOLDER TOKENS.json [FORMAT…]".into()) };
    let tokens: serde_json::Value = serde_json::from_slice(&std::fs::read(tokens)?)?;
    let list = |value: &serde_json::Value| value.as_array().cloned().unwrap_or_default();
    let ids = |value: &serde_json::Value| -> Vec<u32> {
        list(value).iter().filter_map(|id| u32::try_from(id.as_u64()?).ok()).collect()
    };
    let texts: Vec<Vec<u32>> = list(&tokens["texts"]).iter().map(ids).collect();
    let pairs = list(&tokens["pairs"]);
    let scores: Vec<f64> = pairs.iter().filter_map(|pair| pair[0].as_f64()).collect();
    let sides: Vec<Vec<u32>> = pairs.iter().flat_map(|pair| [ids(&pair[1]), ids(&pair[2])]).collect();
    let files = EncoderFiles::open(folder)?;
    let load = |format| NativeBackend::new().load(&files, &EncoderOptions::new().weights(format));
    let exact = load(WeightFormat::F32)?;
    let expected = embed(&*exact, &texts)?;
    println!("float32: Spearman {:.4}", spearman(&scores, &similarities(&embed(&*exact, &sides)?)));
    let formats: Vec<WeightFormat> = match formats {
        [] => vec![WeightFormat::Int8],
        names => names.iter().map(|name| name.parse()).collect::<std::result::Result<_, _>>()?,
    };
    for format in formats {
        let start = std::time::Instant::now();
        let encoder = load(format)?;
        let seconds = start.elapsed().as_secs_f64();
        let found = embed(&*encoder, &texts)?;
        let mut cosines: Vec<f64> = found.iter().zip(&expected).map(|(a, b)| dot(a, b)).collect();
        let mean = cosines.iter().sum::<f64>() / cosines.len() as f64;
        let mut order: Vec<usize> = (0..cosines.len()).collect();
        order.sort_by(|&a, &b| cosines[a].total_cmp(&cosines[b]));
        for &text in &order[..order.len().min(5)] {
            println!("  text {text} of {} tokens: {:.5}", texts[text].len(), cosines[text]);
        }
        cosines.sort_by(f64::total_cmp);
        let spearman = spearman(&scores, &similarities(&embed(&*encoder, &sides)?));
        println!(
            "{format}: cosine to float32 smallest {:.5}, 1 % {:.5}, mean {mean:.5}; Spearman {spearman:.4}; loaded in {seconds:.2} s",
            cosines[0],
            cosines[cosines.len() / 100]
        );
    }
    Ok(())
}

/// Normalised means of the token embeddings.
fn embed(encoder: &dyn Encoder, texts: &[Vec<u32>]) -> Result<Vec<Vec<f64>>> {
    let batch = Batch::from_sequences(texts.iter().map(Vec::as_slice));
    let tokens = encoder.forward(&batch, &Pass::default())?;
    let embedding = |index: usize| {
        let mut mean = vec![0.0; tokens.hidden()];
        for row in tokens.sequence(index).chunks_exact(tokens.hidden()) {
            mean.iter_mut().zip(row).for_each(|(sum, &number)| *sum += f64::from(number));
        }
        let length = dot(&mean, &mean).sqrt().max(f64::MIN_POSITIVE);
        mean.iter_mut().for_each(|number| *number /= length);
        mean
    };
    Ok((0..tokens.len()).filter(|&index| !tokens.sequence(index).is_empty()).map(embedding).collect())
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

fn similarities(sides: &[Vec<f64>]) -> Vec<f64> {
    sides.chunks_exact(2).map(|pair| dot(&pair[0], &pair[1])).collect()
}

/// Correlation of ranks; equal numbers share the mean of their ranks.
fn spearman(a: &[f64], b: &[f64]) -> f64 {
    let (a, b) = (ranks(a), ranks(b));
    let mean = |x: &[f64]| x.iter().sum::<f64>() / x.len() as f64;
    let centred = |x: &[f64]| x.iter().map(|number| number - mean(x)).collect::<Vec<_>>();
    let (a, b) = (centred(&a), centred(&b));
    dot(&a, &b) / (dot(&a, &a) * dot(&b, &b)).sqrt()
}

fn ranks(numbers: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..numbers.len()).collect();
    order.sort_by(|&i, &j| numbers[i].total_cmp(&numbers[j]));
    let mut ranks = vec![0.0; numbers.len()];
    for group in order.chunk_by(|&i, &j| numbers[i] == numbers[j]) {
        let first = order.partition_point(|&i| numbers[i] < numbers[group[0]]);
        group.iter().for_each(|&i| ranks[i] = first as f64 + (group.len() - 1) as f64 / 2.0);
    }
    ranks
}
