//! Reading the checkpoints of the workspace's tiny models: every format holds what the original wrote.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::PathBuf;

use st_encoder::architectures::{Architecture, describe};
use st_encoder::{DataType, EncoderFiles, EncoderSpec, Slot, TensorSource, Weights, required_slots};

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

#[test]
fn safetensors_come_before_bins_and_single_files_before_shards() {
    let target = tempfile::tempdir().unwrap();
    let copy = |model: &str, file: &str, name: &str| {
        std::fs::copy(folder(model).join(file), target.path().join(name)).unwrap();
    };
    let opened = || Weights::open(target.path()).unwrap().path().file_name().unwrap().to_string_lossy().into_owned();
    let index = r#"{"weight_map": {"embeddings.word_embeddings.weight": "pytorch_model-00001-of-00001.bin"}}"#;
    std::fs::write(target.path().join("pytorch_model.bin.index.json"), index).unwrap();
    copy("tiny-bert-bin", "pytorch_model.bin", "pytorch_model-00001-of-00001.bin");
    assert_eq!(opened(), "pytorch_model.bin.index.json");
    let word = TensorSource::whole("embeddings.word_embeddings.weight");
    let weights = Weights::open(target.path()).unwrap();
    let shape = weights.shape_of(&word.name).unwrap().to_vec();
    let (_, spec, single) = open("tiny-bert");
    assert_eq!(shape, [spec.embeddings.vocabulary, spec.embeddings.width]);
    let expected = single.tensor(&word, &shape).unwrap().to_f32().unwrap().into_owned();
    assert_eq!(*weights.tensor(&word, &shape).unwrap().to_f32().unwrap(), expected);

    copy("tiny-bert-bin-legacy", "pytorch_model.bin", "pytorch_model.bin");
    assert_eq!(opened(), "pytorch_model.bin");
    for shard in 1..=3 {
        let name = format!("model-0000{shard}-of-00003.safetensors");
        copy("tiny-bert-sharded", &name, &name);
    }
    copy("tiny-bert-sharded", "model.safetensors.index.json", "model.safetensors.index.json");
    assert_eq!(opened(), "model.safetensors.index.json");
    copy("tiny-bert", "model.safetensors", "model.safetensors");
    assert_eq!(opened(), "model.safetensors");
}

#[test]
fn weights_serve_many_threads() {
    let (architecture, spec, weights) = open("tiny-bert-bin");
    // The first of these is stored transposed and put in order by whoever asks first.
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for (slot, shape) in required_slots(&spec) {
                    weights.tensor(&(architecture.source)(&spec, slot), &shape).unwrap().to_f32().unwrap();
                }
            });
        }
    });
}
