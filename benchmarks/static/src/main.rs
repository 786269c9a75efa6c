//! Static embeddings: this library against model2vec-rs, tokenisation included, on the same folder, the same texts and the
//! same number of threads, round by round in turn. See README.md.

use std::path::{Path, PathBuf};
use std::time::Instant;

use model2vec_rs::model::StaticModel;
use rustix::time::{ClockId, clock_gettime};
use sentence_transformers::{LoadOptions, SentenceTransformer};

type Error = Box<dyn std::error::Error>;

/// Rounds per workload; each side runs once per round, in turn.
const ROUNDS: usize = 15;
/// Texts of one call.
const CALL: usize = 1024;
/// Least time that a side runs per round.
const SECONDS: f64 = 0.25;

fn main() -> Result<(), Error> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [tokenizer, corpus, rest @ ..] = &arguments[..] else {
        return Err("usage: static-benchmark TOKENIZER_JSON TEXT_FILE [--threads N] [--profile ours|theirs]".into());
    };
    let option = |name: &str| rest.iter().position(|argument| argument == name).and_then(|at| rest.get(at + 1));
    let threads: usize = option("--threads").map_or(Ok(2), |text| text.parse())?;
    rayon::ThreadPoolBuilder::new().num_threads(threads).build_global()?;

    let text = std::fs::read_to_string(corpus)?;
    let workloads = workloads(&text);
    println!(
        "{threads} threads, {CALL} texts per call, {ROUNDS} rounds; medians; ratios with the smallest and largest of all rounds"
    );
    for (table, data_type) in [("f32", "F32"), ("f16", "F16"), ("int8", "I8")] {
        let folder = make_folder(Path::new(tokenizer), data_type)?;
        let ours = LoadOptions::new().threads(threads).load(folder.to_str().ok_or("path")?)?;
        let theirs = StaticModel::from_pretrained(&folder, None, None, None)?;
        for (name, texts) in &workloads {
            if let Some(side) = option("--profile") {
                profile(side, &ours, &theirs, texts)?;
                continue;
            }
            let difference = largest_difference(&ours, &theirs, texts)?;
            compare(table, name, &ours, &theirs, texts, difference)?;
        }
    }
    Ok(())
}

/// Short texts (sentences of 5 to 15 words), long ones (paragraphs of 150 to 400 words) and both.
fn workloads(text: &str) -> Vec<(&'static str, Vec<String>)> {
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let words = |line: &str| line.split_whitespace().count();
    let short: Vec<String> = lines
        .iter()
        .flat_map(|line| line.split(" . "))
        .filter(|sentence| (5..=15).contains(&words(sentence)))
        .map(str::to_owned)
        .collect();
    let long: Vec<String> =
        lines.iter().filter(|line| (150..=400).contains(&words(line))).map(|&line| line.to_owned()).collect();
    let mixed = short.iter().zip(long.iter().cycle()).flat_map(|(a, b)| [a.clone(), b.clone()]).take(4096).collect();
    vec![("short", short), ("long", long), ("mixed", mixed)]
}

/// A folder as model2vec writes it, with a made-up table of 256 columns for every token of the tokenizer.
fn make_folder(tokenizer: &Path, data_type: &str) -> Result<PathBuf, Error> {
    const WIDTH: usize = 256;
    let folder = std::env::temp_dir().join(format!("static-benchmark-{data_type}"));
    std::fs::create_dir_all(&folder)?;
    // Neither side may truncate by the file's settings: both apply 512 tokens themselves.
    std::fs::copy(tokenizer, folder.join("tokenizer.json"))?;
    std::fs::write(folder.join("config.json"), r#"{"model_type": "model2vec", "normalize": true}"#)?;
    let definition: serde_json::Value = serde_json::from_slice(&std::fs::read(tokenizer)?)?;
    let vocabulary = &definition["model"]["vocab"];
    let rows =
        vocabulary.as_object().map(|map| map.len()).or(vocabulary.as_array().map(Vec::len)).ok_or("no vocabulary")?;
    let mut state = 0x2545_f491_4f6c_dd1du64;
    let mut numbers = (0..rows * WIDTH).map(|_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    });
    let (kind, bytes): (safetensors::Dtype, Vec<u8>) = match data_type {
        "F32" => (safetensors::Dtype::F32, numbers.by_ref().flat_map(f32::to_le_bytes).collect()),
        "F16" => (safetensors::Dtype::F16, numbers.by_ref().flat_map(|x| half(x).to_le_bytes()).collect()),
        _ => (safetensors::Dtype::I8, numbers.by_ref().map(|x| (x * 127.0) as i8 as u8).collect()),
    };
    let view = safetensors::tensor::TensorView::new(kind, vec![rows, WIDTH], &bytes)?;
    std::fs::write(folder.join("model.safetensors"), safetensors::serialize([("embeddings", view)], None)?)?;
    Ok(folder)
}

/// Bits of a half-precision number; good enough for numbers between -1 and 1.
fn half(number: f32) -> u16 {
    let bits = number.to_bits();
    let sign = (bits >> 16) & 0x8000;
    let exponent = ((bits >> 23) & 0xff) as i32 - 112;
    if exponent <= 0 { sign as u16 } else { (sign | (exponent as u32) << 10 | (bits >> 13) & 0x3ff) as u16 }
}

fn largest_difference(ours: &SentenceTransformer, theirs: &StaticModel, texts: &[String]) -> Result<f32, Error> {
    let mine = ours.encode(texts)?;
    let other = theirs.encode_flat(texts);
    Ok(mine.as_slice().iter().zip(&other).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max))
}

/// Texts per second of time, and per second of processor time, which other work on the machine disturbs less.
#[derive(Clone, Copy)]
struct Speed {
    time: f64,
    processor: f64,
}

/// Calls over all texts, again and again for a while.
fn speed(texts: &[String], mut call: impl FnMut(&[String]) -> Result<f32, Error>) -> Result<Speed, Error> {
    let (start, start_processor) = (Instant::now(), processor_time());
    let (mut done, mut sum) = (0, 0.0);
    loop {
        for part in texts.chunks(CALL) {
            sum += call(part)?;
            done += part.len();
        }
        let elapsed = start.elapsed().as_secs_f64();
        if elapsed > SECONDS {
            std::hint::black_box(sum);
            return Ok(Speed {
                time: done as f64 / elapsed,
                processor: done as f64 / (processor_time() - start_processor),
            });
        }
    }
}

/// Seconds of processor time that all threads of this process have used.
fn processor_time() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

fn call_ours(model: &SentenceTransformer, texts: &[String]) -> Result<f32, Error> {
    Ok(model.encode(texts)?.as_slice()[0])
}

fn compare(
    table: &str,
    name: &str,
    ours: &SentenceTransformer,
    theirs: &StaticModel,
    texts: &[String],
    difference: f32,
) -> Result<(), Error> {
    let (mut mine, mut flat, mut rows) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        mine.push(speed(texts, |texts| call_ours(ours, texts))?);
        flat.push(speed(texts, |texts| Ok(theirs.encode_flat(texts)[0]))?);
        rows.push(speed(texts, |texts| Ok(theirs.encode(texts)[0][0]))?);
    }
    let ratios = |other: &[Speed], of: fn(&Speed) -> f64| {
        let mut ratios: Vec<f64> = mine.iter().zip(other).map(|(a, b)| of(a) / of(b)).collect();
        ratios.sort_by(f64::total_cmp);
        format!("{:.2} ({:.2} to {:.2})", ratios[ROUNDS / 2], ratios[0], ratios[ROUNDS - 1])
    };
    println!("{table} {name}, {} texts, largest difference {difference:.1e}", texts.len());
    println!("    ours         {}", show(&mine));
    for (name, other) in [("encode_flat", flat), ("encode", rows)] {
        let (time, processor) = (ratios(&other, |speed| speed.time), ratios(&other, |speed| speed.processor));
        println!("    {name:12} {}; ratio {time}, by processor time {processor}", show(&other));
    }
    Ok(())
}

/// Medians.
fn show(speeds: &[Speed]) -> String {
    let median = |of: fn(&Speed) -> f64| {
        let mut numbers: Vec<f64> = speeds.iter().map(of).collect();
        numbers.sort_by(f64::total_cmp);
        numbers[numbers.len() / 2]
    };
    format!("{:8.0} texts/s, {:8.0} per processor second", median(|speed| speed.time), median(|speed| speed.processor))
}

/// Runs one side for some seconds, for a profiler.
fn profile(side: &str, ours: &SentenceTransformer, theirs: &StaticModel, texts: &[String]) -> Result<(), Error> {
    for _ in 0..20 {
        let speed = match side {
            "ours" => speed(texts, |texts| call_ours(ours, texts))?,
            _ => speed(texts, |texts| Ok(theirs.encode_flat(texts)[0]))?,
        };
        println!("{side} {}", show(&[speed]));
    }
    Ok(())
}
