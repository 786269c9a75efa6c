//! The graph against the other executors and against transformers, over every architecture.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod described;
#[path = "../../st-encoder/tests/reference/mod.rs"]
mod reference;

use candle_core::{DType, Device};
use described::{Described, Output};
use reference::Reference;
use st_candle::{EncoderGraph, GraphPass};
use st_encoder::architectures::{ARCHITECTURES, describe};
use st_encoder::{
    AttentionPosition, Backend, Batch, EncoderFiles, EncoderOptions, EncoderSpec, NormKind, Pass, Slot, TensorSource,
    Weights,
};
use st_native::NativeBackend;

/// Sequences of all kinds: of one token, longer than every window and bucket, of equal length, with padding ids inside.
fn batch(spec: &EncoderSpec) -> Batch {
    if let Some(images) = described::images(spec, &[1, 16, 7, 0, 16]) {
        return images;
    }
    let token_types = spec.embeddings.token_types;
    let mut batch = Batch::new();
    for (length, seed) in [(1, 3), (30, 5), (7, 11), (0, 0), (30, 13), (2, 17)] {
        let ids: Vec<u32> = (0..length).map(|place| (place * seed + seed) % 60).collect();
        let types: Vec<u32> = (0..length).map(|place| u32::from(token_types > 1 && place % 3 == 1)).collect();
        batch.push_with_types(&ids, &types).unwrap();
    }
    batch
}

fn graph(model: &Described, double: bool) -> (tempfile::TempDir, EncoderFiles, EncoderGraph) {
    let folder = tempfile::tempdir().unwrap();
    model.write(folder.path(), double);
    let files = EncoderFiles::open(folder.path()).unwrap();
    let dtype = if double { DType::F64 } else { DType::F32 };
    let graph = EncoderGraph::load(&files, &Device::Cpu, dtype).unwrap();
    (folder, files, graph)
}

/// The largest difference as a share of the row's largest number (or of 1): what rounding is a share of, where a number is
/// the sum of larger ones.
fn largest_difference(found: &[Vec<f64>], expected: &[Vec<f64>]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let of_row = |(found, expected): (&Vec<f64>, &Vec<f64>)| {
        assert_eq!(found.len(), expected.len());
        let size = expected.iter().fold(1f64, |largest, number| largest.max(number.abs()));
        found.iter().zip(expected).map(|(found, expected)| (found - expected).abs() / size).fold(0.0, f64::max)
    };
    found.iter().zip(expected).map(of_row).fold(0.0, f64::max)
}

#[test]
fn in_64_bits_the_graph_is_the_reference() {
    for model in described::all() {
        let (_folder, _files, graph) = graph(&model, true);
        let (architecture, spec) = describe(model.config(), &model.path).unwrap();
        let architecture = architecture.named_as(&spec, |name| model.tensor(name).is_some());
        let numbers = |slot: Slot| {
            let source = (architecture.source)(&spec, slot);
            let names = [Some(&source.name), source.or.as_ref()];
            let (shape, numbers) = names.into_iter().flatten().find_map(|name| model.tensor(name))?;
            let row: usize = shape[1..].iter().product();
            let rows = source.rows.unwrap_or(0..shape[0]);
            Some(numbers[rows.start * row..rows.end * row].to_vec())
        };
        let batch = batch(&spec);
        let output = graph.forward(&batch, &GraphPass::inference()).unwrap();
        let mut largest = 0f64;
        for sequence in (0..batch.len()).filter(|&sequence| !batch.sequence(sequence).is_empty()) {
            let range = batch.offsets()[sequence]..batch.offsets()[sequence + 1];
            let types = batch.type_ids().map_or(vec![0; range.len()], |types| types[range].to_vec());
            let whole = |ids: &[u32]| ids.iter().map(|&id| id as usize).collect::<Vec<_>>();
            let wide = |patch: &[f32]| patch.iter().map(|&number| f64::from(number)).collect();
            let patches = batch.patches(sequence..sequence + 1).zip(batch.patch_width());
            let patches = patches.map(|(numbers, width)| numbers.chunks(width).map(wide).collect());
            let reference = Reference { spec: &spec, numbers: &numbers, patches };
            let expected = reference.run(&whole(batch.sequence(sequence)), &whole(&types));
            let found = output.sequence(sequence).unwrap().to_vec2().unwrap();
            largest = largest.max(largest_difference(&found, &expected));
        }
        println!("{}: {largest:.1e}", model.name);
        assert!(largest < 1e-12, "{}: {largest:e}", model.name);
    }
}

#[test]
fn the_graph_computes_what_transformers_computes() {
    let mut compared = 0;
    for model in described::all() {
        let Some(Output { ids, types, pixels, rows }) = model.output() else { continue };
        let (_folder, _files, graph) = graph(&model, true);
        let mut batch = Batch::new();
        match (graph.spec().embeddings.patches, pixels) {
            (Some(patches), Some(side)) => batch = described::whole_image(patches, side),
            _ => batch.push_with_types(&ids, &types).unwrap(),
        }
        let found = graph.forward(&batch, &GraphPass::inference()).unwrap().tokens.to_vec2::<f64>().unwrap();
        // Rotary tables and root-mean-square norms are 32-bit floats in transformers, and the rows with linear biases were
        // computed in 32 bits; the others are kept to ten digits.
        let narrow = graph.spec().layers.iter().any(|layer| {
            matches!(layer.attention.position, AttentionPosition::Rotary { .. } | AttentionPosition::Alibi)
                || layer.feed_forward_norm.kind == NormKind::RootMeanSquare
        });
        let tolerance = if narrow { 1e-5 } else { 1e-9 };
        for (row, expected) in rows {
            let largest = largest_difference(&found[row..=row], &[expected]);
            assert!(largest < tolerance, "{}, row {row}: {largest:e}", model.name);
        }
        compared += 1;
    }
    assert_eq!(compared, 47);
}

#[test]
fn in_32_bits_the_graph_agrees_with_the_native_engine() {
    let mut seen = Vec::new();
    for model in described::all() {
        let (_folder, files, graph) = graph(&model, false);
        seen.push(graph.architecture().name);
        let native = NativeBackend::new().load(&files, &EncoderOptions::new()).unwrap();
        let batch = batch(graph.spec());
        let expected = native.forward(&batch, &Pass { layers: true, ..Pass::default() }).unwrap();
        let pass = GraphPass { layers: true, ..GraphPass::inference() };
        let output = graph.forward(&batch, &pass).unwrap();
        let layers = output.layers.unwrap();
        assert_eq!(layers.len(), expected.layers().len());
        let states = layers.iter().zip(expected.layers().iter().map(Vec::as_slice));
        for (found, expected) in states.chain([(&output.tokens, expected.data())]) {
            let wide = |numbers: &[f32]| numbers.iter().map(|&x| f64::from(x)).collect::<Vec<_>>();
            let found: Vec<_> = found.to_vec2::<f32>().unwrap().iter().map(|row| wide(row)).collect();
            let expected: Vec<_> = expected.chunks(graph.spec().hidden).map(wide).collect();
            let largest = largest_difference(&found, &expected);
            assert!(largest < 2e-5, "{}: {largest:e}", model.name);
        }
    }
    for architecture in ARCHITECTURES {
        assert!(seen.contains(&architecture.name), "no tiny model is of the architecture {}", architecture.name);
    }
}

#[test]
fn longer_sequences_are_those_of_transformers_too() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../st-native/fixtures");
    let mut compared = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if !path.join("reference.safetensors").is_file() {
            continue;
        }
        let reference = Weights::open_file(&path.join("reference.safetensors")).unwrap();
        let numbers = |name: &str| {
            let shape = reference.shape_of(name).unwrap().to_vec();
            let tensor = reference.tensor(&TensorSource::whole(name), &shape).unwrap();
            tensor.to_f32().unwrap().iter().map(|&number| f64::from(number)).collect::<Vec<_>>()
        };
        let sequences: Vec<Vec<u32>> =
            (0..6).map(|index| numbers(&format!("ids.{index}")).iter().map(|&id| id as u32).collect()).collect();
        let batch = Batch::from_sequences(sequences.iter().map(Vec::as_slice));
        let graph = EncoderGraph::load(&EncoderFiles::open(&path).unwrap(), &Device::Cpu, DType::F64).unwrap();
        let output = graph.forward(&batch, &GraphPass::inference()).unwrap();
        for index in 0..6 {
            let found = output.sequence(index).unwrap().flatten_all().unwrap().to_vec1::<f64>().unwrap();
            let largest = largest_difference(&[found], &[numbers(&format!("last.{index}"))]);
            assert!(largest < 1e-5, "{}, text {index}: {largest:e}", path.display());
        }
        compared += 1;
    }
    assert_eq!(compared, 19);
}
