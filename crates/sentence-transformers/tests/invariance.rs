//! A text's vector does not depend on the batch it came in, to the last bit.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use std::collections::HashMap;

use sentence_transformers::{EncodeOptions, LoadOptions, SentenceTransformer, WeightFormat};
use st_testing::tiny_model;

fn texts() -> Vec<String> {
    let words = ["weather", "lovely", "sunny", "stadium", "a", "the", "drove", "outside", "ß", "日本"];
    (0..90)
        .map(|index: usize| {
            let length = [0, 1, 2, 3, 5, 8, 13, 21, 40, 70][index % 10];
            (0..length).map(|at| words[(index * 7 + at * 3) % words.len()]).collect::<Vec<_>>().join(" ")
        })
        .collect()
}

fn bits(model: &SentenceTransformer, texts: &[String], options: &EncodeOptions) -> HashMap<String, Vec<u32>> {
    let embeddings = model.encode_with(texts, options).unwrap();
    let row = |index: usize| embeddings.row(index).iter().map(|x| x.to_bits()).collect();
    texts.iter().enumerate().map(|(index, text)| (text.clone(), row(index))).collect()
}

fn check(model_name: &std::path::Path, weights: WeightFormat) {
    let texts = texts();
    let load =
        |threads| LoadOptions::new().threads(threads).weights(weights).load(model_name.to_str().unwrap()).unwrap();
    let one = load(1);
    let alone: HashMap<String, Vec<u32>> =
        texts.iter().flat_map(|text| bits(&one, std::slice::from_ref(text), &EncodeOptions::new())).collect();
    let mut orders = vec![texts.clone()];
    orders.push(texts.iter().rev().cloned().collect());
    orders.push((0..texts.len()).map(|index| texts[index * 37 % texts.len()].clone()).collect());
    for threads in [1, 2, 3] {
        let model = load(threads);
        for order in &orders {
            for batch_size in [1, 2, 7, 32, 1000] {
                let together = bits(&model, order, &EncodeOptions::new().batch_size(batch_size));
                assert_eq!(together, alone, "{threads} threads, batches of {batch_size}");
            }
            assert_eq!(bits(&model, order, &EncodeOptions::new()), alone, "{threads} threads");
        }
        for text in &texts {
            let split = bits(&model, std::slice::from_ref(text), &EncodeOptions::new());
            assert_eq!(split[text], alone[text], "{threads} threads on {text:?} alone");
        }
    }
}

#[test]
fn float32_is_bitwise_invariant() {
    for name in ["tiny-bert", "tiny-mpnet", "tiny-bert-concat"] {
        check(&tiny_model(name), WeightFormat::F32);
    }
}

#[test]
fn bfloat16_is_bitwise_invariant() {
    check(&tiny_model("tiny-bert"), WeightFormat::BF16);
}

#[test]
fn bfloat16_products_are_bitwise_invariant() {
    for name in ["tiny-bert", "tiny-mpnet"] {
        check(&tiny_model(name), WeightFormat::BF16Products);
    }
}

#[test]
fn float16_is_bitwise_invariant() {
    check(&tiny_model("tiny-mpnet"), WeightFormat::F16);
}

#[test]
fn int8_is_bitwise_invariant() {
    for name in ["tiny-bert", "tiny-mpnet"] {
        check(&tiny_model(name), WeightFormat::Int8);
    }
}
