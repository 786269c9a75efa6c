//! The descriptions against transformers: a plain executor of each tiny model's description gives the original's rows.
//!
//! `from_the_hub.py` of the fixtures says who computed those of architectures whose code lives on the Hub (jina_bert by
//! candle-transformers in 32-bit floats; nomic_bert and new by transformers 5 and, to 1e-5 the same, candle-transformers).

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod reference;

use std::path::Path;

use reference::Reference;
use serde_json::Value;
use st_encoder::architectures::describe;
use st_encoder::{AttentionPosition, NormKind, PatchSpec, Slot};

/// Elements of a tensor by its name, as `generate.py` makes them.
fn number(name: &str, index: usize) -> f64 {
    let start = name
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325u64, |state, byte| (state ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    let state = start.wrapping_add((index as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let state = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let state = (state ^ state >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((state ^ state >> 31) >> 40) as f64 / f64::from(1 << 24) - 0.5
}

fn whole(value: &Value) -> Vec<usize> {
    value.as_array().unwrap().iter().map(|n| n.as_u64().unwrap() as usize).collect()
}

/// The patches of the square image that `generate.py` makes.
fn patches_of(patches: PatchSpec, side: usize) -> reference::Rows {
    let PatchSpec { channels, size } = patches;
    let places = (0..side / size).flat_map(|y| (0..side / size).map(move |x| (y * size, x * size)));
    let pixel = |channel: usize, y: usize, x: usize| number("pixels", (channel * side + y) * side + x);
    let patch = |(top, left): (usize, usize)| {
        (0..patches.numbers())
            .map(|place| pixel(place / (size * size), top + place / size % size, left + place % size))
            .collect()
    };
    assert_eq!(channels, 3);
    places.map(patch).collect()
}

/// Largest difference between the rows of a file and those of its description, and how much is allowed.
fn difference(path: &Path) -> Option<(f64, f64)> {
    let file: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let output = file.get("output")?;
    let (architecture, spec) = describe(&file["config"], path).unwrap();
    let tensors = file["tensors"].as_object().unwrap();
    let architecture = architecture.named_as(&spec, |name| tensors.contains_key(name));
    let numbers = |slot: Slot| {
        let source = (architecture.source)(&spec, slot);
        let name = [Some(&source.name), source.or.as_ref()].into_iter().flatten().find(|n| tensors.contains_key(*n))?;
        let shape = whole(&tensors[name]);
        let row: usize = shape[1..].iter().product();
        let rows = source.rows.unwrap_or(0..shape[0]);
        let one = if shape.len() == 1 && name.ends_with("weight") { 1.0 } else { 0.0 };
        Some((rows.start * row..rows.end * row).map(|index| number(name, index) + one).collect())
    };
    let patches =
        spec.embeddings.patches.map(|patches| patches_of(patches, output["pixels"].as_u64().unwrap() as usize));
    let states =
        Reference { spec: &spec, numbers: &numbers, patches }.run(&whole(&output["ids"]), &whole(&output["types"]));
    let mut largest = 0f64;
    for (row, expected) in output["rows"].as_object().unwrap() {
        let found = &states[row.parse::<usize>().unwrap()];
        let expected = expected.as_array().unwrap();
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            largest = largest.max((found - expected.as_f64().unwrap()).abs());
        }
    }
    // Rotary tables and root-mean-square norms are 32-bit floats in transformers, and the rows with linear biases were
    // computed in 32 bits; the others are kept to ten digits.
    let narrow = spec.layers.iter().any(|layer| {
        matches!(layer.attention.position, AttentionPosition::Rotary { .. } | AttentionPosition::Alibi)
            || layer.feed_forward_norm.kind == NormKind::RootMeanSquare
    });
    Some((largest, if narrow { 1e-5 } else { 2e-9 }))
}

#[test]
fn every_description_computes_what_transformers_computes() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/architectures");
    let mut compared = 0;
    let mut wrong = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        if let Some((difference, allowed)) = difference(&path) {
            compared += 1;
            println!("{}: {difference:.1e}", path.file_stem().unwrap().display());
            if difference > allowed {
                wrong.push(format!("{}: {difference:e}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(compared, 47);
}
