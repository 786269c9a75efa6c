//! `adapter_config.json` beside sound adapter weights, loaded into a small model.

#![no_main]

mod place;

use sentence_transformers::SentenceTransformer;
use sentence_transformers::adapters::AdapterOptions;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let folder = place::folder("adapters/bert-lora");
    std::fs::write(folder.join("adapter_config.json"), bytes).unwrap();
    let base = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../fixtures/models/tiny-bert");
    let mut model = SentenceTransformer::load(base).unwrap();
    if model.load_adapter(folder.to_string_lossy(), &AdapterOptions::new()).is_ok() {
        let _ = model.encode(&["The weather is lovely today."]);
    }
});
