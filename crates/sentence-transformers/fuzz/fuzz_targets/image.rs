//! PNG and JPEG files, encoded by a small CLIP model.

#![no_main]

use std::sync::OnceLock;

use sentence_transformers::{Image, SentenceTransformer};

fn model() -> &'static SentenceTransformer {
    static MODEL: OnceLock<SentenceTransformer> = OnceLock::new();
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../fixtures/clip/model");
    MODEL.get_or_init(|| SentenceTransformer::load(folder).unwrap())
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(embeddings) = model().encode(&[&Image::from_bytes(bytes)]) {
        assert!(embeddings.as_slice().iter().all(|number| number.is_finite()));
    }
});
