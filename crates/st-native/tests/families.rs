//! Tiny networks of every family against float64 references from transformers (`fixtures/generate.py`).

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};

use st_encoder::{Backend, Batch, EncoderFiles, EncoderOptions, Pass, Rows, TensorSource, WeightFormat, Weights};
use st_native::{InstructionSet, NativeBackend};

const FAMILIES: [&str; 19] = [
    "bert",
    "bert-wide-heads",
    "bert-relu",
    "mpnet",
    "roberta",
    "electra",
    "albert",
    "modernbert",
    "qwen2",
    "qwen3",
    "llama",
    "mistral",
    "gemma3",
    "t5",
    "deberta-v3",
    "deberta-v2",
    "deberta-v2-own",
    "deberta-v2-convolution",
    "deberta-v2-convolution-groups",
];

const FORMATS: [WeightFormat; 4] = [WeightFormat::F32, WeightFormat::BF16, WeightFormat::F16, WeightFormat::Int8];

/// Numbers of these networks reach 4, and scores are large, so 32-bit sums are good to about this.
const TOLERANCE: f32 = 3e-5;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
}

struct Reference(Weights);

impl Reference {
    fn open(name: &str) -> Self {
        Self(Weights::open_file(&fixture(name).join("reference.safetensors")).unwrap())
    }

    fn numbers(&self, name: &str) -> Vec<f32> {
        let shape = self.0.shape_of(name).unwrap().to_vec();
        self.0.tensor(&TensorSource::whole(name), &shape).unwrap().to_f32().unwrap().into_owned()
    }

    fn sequences(&self) -> Vec<Vec<u32>> {
        (0..6).map(|index| self.numbers(&format!("ids.{index}")).iter().map(|&id| id as u32).collect()).collect()
    }
}

fn largest_difference(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

fn sets() -> impl Iterator<Item = InstructionSet> {
    InstructionSet::ALL.into_iter().map(|(_, set)| set).filter(|set| set.is_available())
}

#[test]
fn token_embeddings_are_those_of_transformers() {
    for name in FAMILIES {
        let reference = Reference::open(name);
        let sequences = reference.sequences();
        let batch = Batch::from_sequences(sequences.iter().map(Vec::as_slice));
        let files = EncoderFiles::open(fixture(name)).unwrap();
        for set in sets() {
            let encoder = NativeBackend::with_instructions(set).load(&files, &EncoderOptions::new()).unwrap();
            let tokens = encoder.forward(&batch, &Pass { layers: true, ..Pass::default() }).unwrap();
            let mut largest = 0.0f32;
            for (index, _) in sequences.iter().enumerate() {
                let expected = reference.numbers(&format!("last.{index}"));
                largest = largest.max(largest_difference(tokens.sequence(index), &expected));
            }
            println!("{name} {set}: {largest:.1e}");
            assert!(largest < TOLERANCE, "{name} on {set}: {largest}");
            let expected = reference.numbers("layers");
            let (start, end) = (batch.offsets()[2] * tokens.hidden(), batch.offsets()[3] * tokens.hidden());
            let states: Vec<f32> = tokens.layers().iter().flat_map(|layer| &layer[start..end]).copied().collect();
            let largest = largest_difference(&states, &expected);
            assert!(largest < TOLERANCE, "{name} on {set}, states of the layers: {largest}");
        }
    }
}

#[test]
fn a_text_is_the_same_to_the_bit_in_any_batch() {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
    for name in FAMILIES {
        let sequences = Reference::open(name).sequences();
        let files = EncoderFiles::open(fixture(name)).unwrap();
        for (set, format) in sets().flat_map(|set| FORMATS.map(|format| (set, format))) {
            let options = EncoderOptions::new().weights(format);
            let encoder = NativeBackend::with_instructions(set).load(&files, &options).unwrap();
            let alone: Vec<Vec<f32>> = sequences
                .iter()
                .map(|ids| {
                    encoder.forward(&Batch::from_sequences([&ids[..]]), &Pass::default()).unwrap().data().to_vec()
                })
                .collect();
            let orders: [&[usize]; 4] =
                [&[0, 1, 2, 3, 4, 5], &[5, 4, 3, 2, 1, 0], &[2, 2, 5, 1, 2, 4, 4, 4, 4, 4, 4, 4, 4, 5, 3], &[3, 0, 3]];
            for (order, threads) in orders.into_iter().flat_map(|order| [1, 3].map(|threads| (order, threads))) {
                let mut batch = Batch::new();
                for &index in order {
                    batch.push(&sequences[index]);
                    batch.push(&[]);
                }
                let pass = Pass { threads, ..Pass::default() };
                let tokens = pool.install(|| encoder.forward(&batch, &pass)).unwrap();
                let first = Pass { rows: Rows::First, ..pass };
                let firsts = pool.install(|| encoder.forward(&batch, &first)).unwrap();
                for (place, &index) in order.iter().enumerate() {
                    let same = |found: &[f32], expected: &[f32]| {
                        found.len() == expected.len()
                            && found.iter().zip(expected).all(|(a, b)| a.to_bits() == b.to_bits())
                    };
                    let what =
                        format!("{name} in {format} on {set}, {threads} threads, text {index} at {place} of {order:?}");
                    assert!(same(tokens.sequence(2 * place), &alone[index]), "{what}");
                    assert!(same(firsts.sequence(2 * place), &alone[index][..tokens.hidden()]), "{what}, first row");
                    assert!(tokens.sequence(2 * place + 1).is_empty());
                }
            }
        }
    }
}

/// Weights of less precision stay near: the relative error of a token's embedding, as a root of mean squares, is bounded
/// by what rounding to 8, 11 bits or bytes adds up to over a few layers.
#[test]
fn other_weight_formats_stay_near() {
    let bounds = [(WeightFormat::BF16, 0.02), (WeightFormat::F16, 0.003), (WeightFormat::Int8, 0.06)];
    for name in FAMILIES {
        let sequences = Reference::open(name).sequences();
        let batch = Batch::from_sequences(sequences.iter().map(Vec::as_slice));
        let files = EncoderFiles::open(fixture(name)).unwrap();
        for set in sets() {
            let run = |format| {
                let options = EncoderOptions::new().weights(format);
                let encoder = NativeBackend::with_instructions(set).load(&files, &options).unwrap();
                assert_eq!(encoder.info().weights, format);
                encoder.forward(&batch, &Pass::default()).unwrap().data().to_vec()
            };
            let exact = run(WeightFormat::F32);
            for (format, bound) in bounds {
                let found = run(format);
                let square =
                    |numbers: &mut dyn Iterator<Item = f32>| numbers.map(|x| f64::from(x).powi(2)).sum::<f64>();
                let error = square(&mut found.iter().zip(&exact).map(|(a, b)| a - b));
                let relative = (error / square(&mut exact.iter().copied())).sqrt();
                println!("{name} in {format} on {set}: {relative:.4}");
                assert!(relative > 0.0 && relative < bound, "{name} in {format} on {set}: {relative}");
            }
        }
    }
}

/// In bytes, networks are calibrated on a sample of the engine's own or on batches that are given, and what they learn
/// does not depend on how many threads they learn with.
#[test]
fn calibration_uses_what_is_given_and_does_not_depend_on_threads() {
    let pools = [1, 3].map(|threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap());
    for name in FAMILIES {
        let sequences = Reference::open(name).sequences();
        let batch = Batch::from_sequences(sequences.iter().map(Vec::as_slice));
        let halves = sequences.chunks(3).map(|half| Batch::from_sequences(half.iter().map(Vec::as_slice))).collect();
        let files = EncoderFiles::open(fixture(name)).unwrap();
        for set in sets() {
            let run = |format, calibration: &[Batch]| {
                let options = EncoderOptions::new().weights(format).calibration(calibration.to_vec());
                let [alone, together] = pools.each_ref().map(|pool| {
                    let encoder =
                        pool.install(|| NativeBackend::with_instructions(set).load(&files, &options)).unwrap();
                    encoder.forward(&batch, &Pass::default()).unwrap().data().to_vec()
                });
                assert_eq!(alone, together, "{name} on {set} by one thread and by three");
                alone
            };
            let exact = run(WeightFormat::F32, &[]);
            let built_in = run(WeightFormat::Int8, &[]);
            // All of a batch is learnt from at once; several batches one after the other.
            let halves: &Vec<Batch> = &halves;
            for given in [std::slice::from_ref(&batch), halves] {
                let found = run(WeightFormat::Int8, given);
                assert_ne!(found, built_in, "{name} on {set}: what is given changes nothing");
                let square =
                    |numbers: &mut dyn Iterator<Item = f32>| numbers.map(|x| f64::from(x).powi(2)).sum::<f64>();
                let error = square(&mut found.iter().zip(&exact).map(|(a, b)| a - b));
                let relative = (error / square(&mut exact.iter().copied())).sqrt();
                println!("{name} on {set}, {} batches: {relative:.4}", given.len());
                assert!(relative < 0.06, "{name} on {set}, {} batches: {relative}", given.len());
            }
        }
    }
}
