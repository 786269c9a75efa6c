//! How near the kernels come to what the machine allows.
//!
//! `cargo run --release -p st-native --example speed [FOLDER] [INSTRUCTIONS…] [FORMATS…]` prints the peak of multiply-adds, the rate of products at the shapes
//! of MiniLM and MPNet beside it, and, with the folder of a model as argument, the share of the peak that forward passes
//! reach on short and long texts, and where the time goes. All figures are per second of one thread's processor time; each
//! is the best of several rounds.

use std::error::Error;
use std::time::Duration;

use st_encoder::{Activation, Backend, Batch, Encoder, EncoderFiles, EncoderOptions, Pass, WeightFormat};
use st_native::limits::{
    Stage, StageTimes, byte_peak, multiply_add_peak, pair_peak, product_rate, quantisation_rate, record, thread_time,
};
use st_native::{InstructionSet, NativeBackend};

const ROUNDS: usize = 15;

fn best(measure: impl Fn() -> f64) -> f64 {
    (0..ROUNDS).map(|_| measure()).fold(0.0, f64::max)
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut folder = None;
    let mut formats = Vec::new();
    let mut sets = Vec::new();
    for argument in std::env::args().skip(1) {
        if let Ok(format) = argument.parse::<WeightFormat>() {
            formats.push(format);
        } else if let Some((_, set)) = InstructionSet::ALL.iter().find(|(name, _)| *name == argument) {
            sets.push(*set);
        } else {
            folder = Some(argument);
        }
    }
    if formats.is_empty() {
        formats.push(WeightFormat::F32);
    }
    if sets.is_empty() {
        sets.extend(InstructionSet::ALL.iter().map(|(_, set)| set).filter(|set| set.is_available()));
    }
    for set in sets {
        let peaks = [multiply_add_peak, pair_peak, byte_peak].map(|peak| best(|| peak(set)) / 1e9);
        println!(
            "{set}: peak {:.1} GFLOP/s, of bfloat16 {:.1} GFLOP/s, of bytes {:.1} GOP/s",
            peaks[0], peaks[1], peaks[2]
        );
        for &format in &formats {
            let peak_of: fn(InstructionSet) -> f64 = match format {
                WeightFormat::Int8 => byte_peak,
                WeightFormat::BF16Products => pair_peak,
                _ => multiply_add_peak,
            };
            let peak = best(|| peak_of(set));
            for (name, shape, activation) in [
                ("qkv 384", [252, 384, 1152], None),
                ("out 384", [252, 384, 384], None),
                ("up 384", [108, 384, 1536], None),
                ("up 384 gelu", [108, 384, 1536], Some(Activation::Gelu)),
                ("down 384", [108, 1536, 384], None),
                ("qkv 768", [252, 768, 2304], None),
                ("down 768", [108, 3072, 768], None),
                ("single 384", [12, 384, 1536], None),
            ] {
                let rate = best(|| product_rate(set, format, shape, activation));
                println!("  {format} {name:12} {:6.1} GFLOP/s {:5.1} %", rate / 1e9, 100.0 * rate / peak);
            }
            if format == WeightFormat::Int8 {
                for (name, shape, activation) in [
                    ("384", [108, 384], None),
                    ("1536", [108, 1536], None),
                    ("1536 gelu", [108, 1536], Some(Activation::Gelu)),
                ] {
                    let nanoseconds = 16e9 / best(|| quantisation_rate(set, shape, activation));
                    println!("  to bytes {name:12} {nanoseconds:.2} ns for 16 numbers");
                }
            }
            if let Some(folder) = &folder {
                let options = EncoderOptions::new().weights(format);
                let encoder = NativeBackend::with_instructions(set).load(&EncoderFiles::open(folder)?, &options)?;
                for threads in [1, 2] {
                    latency(&*encoder, threads)?;
                }
                for length in [20, 250] {
                    forward(&*encoder, peak_of, set, length)?;
                }
            }
        }
    }
    Ok(())
}

/// Operations of a forward pass over a text: products and attention, without padding.
fn operations(encoder: &dyn Encoder, length: usize) -> f64 {
    let (hidden, layers) = (encoder.info().hidden as f64, encoder.info().layers as f64);
    let length = length as f64;
    layers * length * (24.0 * hidden * hidden + 4.0 * length * hidden)
}

/// Wall time of one short query, the best of many.
fn latency(encoder: &dyn Encoder, threads: usize) -> Result<(), Box<dyn Error>> {
    let batch = Batch::from_sequences([&[101u32, 2054, 2003, 1996, 3007, 1997, 2605, 1029, 102][..]]);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
    let mut shortest = f64::MAX;
    for _ in 0..100 {
        let pass = Pass { threads, ..Pass::default() };
        let start = std::time::Instant::now();
        pool.install(|| encoder.forward(&batch, &pass))?;
        shortest = shortest.min(start.elapsed().as_secs_f64());
    }
    println!("  9 tokens alone, {threads} threads: {:.2} ms", shortest * 1e3);
    Ok(())
}

fn forward(
    encoder: &dyn Encoder,
    peak: fn(InstructionSet) -> f64,
    set: InstructionSet,
    length: usize,
) -> Result<(), Box<dyn Error>> {
    let texts = 2048 / length;
    let vocabulary = encoder.info().vocabulary as u32;
    let mut batch = Batch::new();
    for text in 0..texts as u32 {
        // Lengths vary by a fifth around the mean.
        let length = length - length / 10 + (text as usize * 7) % (length / 5);
        let ids: Vec<u32> = (0..length as u32).map(|i| (text * 131 + i * 17 + 1000) % vocabulary).collect();
        batch.push(&ids);
    }
    let work: f64 = batch.lengths().map(|length| operations(encoder, length)).sum();
    encoder.forward(&batch, &Pass::default())?;
    let mut shortest: (f64, StageTimes) = (f64::MAX, StageTimes::default());
    let mut share = 0.0f64;
    for _ in 0..ROUNDS {
        let before = peak(set);
        let start = thread_time();
        let (result, times) = record(|| encoder.forward(&batch, &Pass::default()));
        result?;
        let seconds = (thread_time() - start).as_secs_f64();
        let after = peak(set);
        share = share.max(work / seconds / before.max(after));
        if seconds < shortest.0 {
            shortest = (seconds, times);
        }
    }
    let (seconds, times) = shortest;
    let total: Duration = times.iter().sum();
    print!(
        "  ~{length} tokens: {:.0} texts/s, {:.1} GFLOP/s, {:.1} % of the peak beside it:",
        texts as f64 / seconds,
        work / seconds / 1e9,
        100.0 * share
    );
    for ((name, _), time) in Stage::ALL.iter().zip(times) {
        print!(" {name} {:.1} %", 100.0 * time.as_secs_f64() / total.as_secs_f64());
    }
    println!();
    Ok(())
}
