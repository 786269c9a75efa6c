//! Texts per second of one model on the lines of a file.
//!
//!     cargo run --release --example throughput -- MODEL FILE [--weights float32] [--threads 2] [--callers 1] [--rounds 5] [--single]
//!     cargo run --release --features images --example throughput -- MODEL FILE --images
//!
//! Prints start-up time, then one line per round; with `--single`, the latency of one text per call instead; with `--callers`
//! so many threads share the model, each calling it with its part of the texts; with `--images` the lines name files of
//! images, which are read and decoded each time.

use std::error::Error;
use std::time::Instant;

use sentence_transformers::{EncodeOptions, Image, LoadOptions};

type Failure = Box<dyn Error + Send + Sync>;

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let value = |name: &str| {
        arguments.iter().position(|argument| argument == name).and_then(|at| arguments.get(at + 1)).cloned()
    };
    let [model, file, ..] = &arguments[..] else { return Err("give a model and a file of texts".into()) };
    let started = Instant::now();
    let mut options = LoadOptions::new();
    if let Some(weights) = value("--weights") {
        options = options.weights(weights.parse()?);
    }
    if let Some(threads) = value("--threads") {
        options = options.threads(threads.parse()?);
    }
    let model = options.load(model)?;
    let loaded = started.elapsed();
    model.encode(&["The weather is lovely today."])?;
    println!("loaded in {loaded:?}, first embedding after {:?}", started.elapsed());
    let text = std::fs::read_to_string(file)?;
    let callers: usize = value("--callers").map_or(Ok(1), |callers| callers.parse())?;
    let rounds: usize = value("--rounds").map_or(Ok(5), |rounds| rounds.parse())?;
    let texts: Vec<&str> = text.lines().collect();
    if arguments.iter().any(|argument| argument == "--images") {
        let images: Vec<Image> = texts.into_iter().map(Image::from_path).collect();
        for _ in 0..rounds {
            let started = Instant::now();
            let count = model.encode(&images)?.rows();
            let seconds = started.elapsed().as_secs_f64();
            println!("{count} images in {seconds:.3} s: {:.1} images/s", count as f64 / seconds);
        }
        return Ok(());
    }
    let tokens: usize = model.tokenize(&texts)?.texts().iter().map(|tokens| tokens.kept()).sum();
    for _ in 0..rounds {
        let started = Instant::now();
        if arguments.iter().any(|argument| argument == "--single") {
            let mut times: Vec<f64> = Vec::new();
            for text in texts.iter().take(200) {
                let started = Instant::now();
                model.encode_one(text, &EncodeOptions::new())?;
                times.push(started.elapsed().as_secs_f64() * 1e3);
            }
            times.sort_by(f64::total_cmp);
            println!("median {:.3} ms, p90 {:.3} ms", times[times.len() / 2], times[times.len() * 9 / 10]);
        } else {
            // Every caller has its own part of the texts.
            let rows = std::thread::scope(|scope| {
                let parts = texts.chunks(texts.len().div_ceil(callers.max(1)).max(1));
                let calls: Vec<_> = parts.map(|part| scope.spawn(|| Ok(model.encode(part)?.rows()))).collect();
                calls
                    .into_iter()
                    .map(|call| call.join().map_err(|_| "a caller panicked")?)
                    .sum::<Result<usize, Failure>>()
            })?;
            let seconds = started.elapsed().as_secs_f64();
            println!(
                "{rows} texts in {seconds:.3} s: {:.0} texts/s, {:.0} tokens/s",
                texts.len() as f64 / seconds,
                tokens as f64 / seconds
            );
        }
    }
    Ok(())
}
