//! The settings of a model and of its transformer. The first byte chooses the file.

#![no_main]

mod place;

const FILES: [&str; 4] = [
    "config_sentence_transformers.json",
    "sentence_bert_config.json",
    "1_Pooling/config.json",
    "2_Dense/config.json",
];

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let [choice, rest @ ..] = bytes {
        place::load_with("models/tiny-bert-cls-dense", FILES[usize::from(*choice) % FILES.len()], rest);
    }
});
