//! Reading the checkpoints of the workspace's tiny models: every format holds what the original wrote.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::PathBuf;

use st_encoder::architectures::{Architecture, describe};
use st_encoder::{DataType, EncoderFiles, EncoderSpec, Slot, Weights, required_slots};

fn folder(model: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/models").join(model)
}

fn open(model: &str) -> (&'static Architecture, EncoderSpec, Weights) {
    let files = EncoderFiles::open(folder(model)).unwrap();
    let (architecture, spec) = describe(files.config(), &files.config_path()).unwrap();
    let word = (architecture.source)(&spec, Slot::WordEmbedding);
    let weights = Weights::open(files.folder()).unwrap().with_prefix_of(architecture.prefixes, &word.name);
    (architecture, spec, weights)
}

/// All numbers that the network needs, slot by slot.
fn numbers(model: &str) -> Vec<(Slot, Vec<f32>)> {
    let (architecture, spec, weights) = open(model);
    let load = |(slot, shape): (Slot, Vec<usize>)| {
        let source = (architecture.source)(&spec, slot);
        (slot, weights.tensor(&source, &shape).unwrap().to_f32().unwrap().into_owned())
    };
    required_slots(&spec).into_iter().map(load).collect()
}

#[test]
fn every_slot_of_every_tiny_model_is_filled() {
    let models = [
        ("tiny-bert", "bert"),
        ("tiny-bert-plain", "bert"),
        ("tiny-bert-cased", "bert"),
        ("tiny-bert-prefixed", "bert"),
        ("tiny-mpnet", "mpnet"),
        ("tiny-roberta", "roberta"),
        ("tiny-xlm-roberta", "roberta"),
        ("tiny-camembert", "roberta"),
        ("tiny-distilbert", "distilbert"),
        ("tiny-electra", "electra"),
    ];
    for (model, name) in models {
        let (architecture, spec, weights) = open(model);
        assert_eq!(architecture.name, name, "{model}");
        let (mut sources, mut needed) = (Vec::new(), 0);
        for (slot, shape) in required_slots(&spec) {
            let source = (architecture.source)(&spec, slot);
            weights.tensor(&source, &shape).unwrap_or_else(|error| panic!("{model}: {slot:?}: {error}"));
            sources.push(source);
            needed += shape.iter().product::<usize>() as u64;
        }
        // Nothing is left over but heads and poolers.
        let left: Vec<_> =
            weights.names().filter(|name| !sources.iter().any(|s| name.contains(s.name.as_str()))).collect();
        assert!(
            left.iter().all(|name| ["pooler.", "cls.", "gamma", "beta"].iter().any(|part| name.contains(part))),
            "{model}: {left:?}"
        );
        assert_eq!(weights.parameters(&sources), needed, "{model}");
    }
}

#[test]
fn every_format_holds_the_same_numbers() {
    let expected = numbers("tiny-bert");
    for model in ["tiny-bert-sharded", "tiny-bert-bin", "tiny-bert-bin-legacy"] {
        for ((slot, expected), (_, found)) in expected.iter().zip(numbers(model)) {
            assert_eq!(expected, &found, "{model}: {slot:?}");
        }
    }
    for (model, data_type, step) in
        [("tiny-bert-f16", DataType::F16, 2f32.powi(-11)), ("tiny-bert-bf16", DataType::BF16, 2f32.powi(-8))]
    {
        for ((slot, expected), (_, found)) in expected.iter().zip(numbers(model)) {
            for (expected, found) in expected.iter().zip(found) {
                let error = (expected - found).abs();
                assert!(error <= step * expected.abs() + 6e-8, "{model}: {slot:?}: {expected} became {found}");
            }
        }
        let (architecture, spec, weights) = open(model);
        let word = (architecture.source)(&spec, Slot::WordEmbedding);
        let shape = [spec.embeddings.vocabulary, spec.embeddings.width];
        assert_eq!(weights.tensor(&word, &shape).unwrap().data_type(), data_type);
    }
}
