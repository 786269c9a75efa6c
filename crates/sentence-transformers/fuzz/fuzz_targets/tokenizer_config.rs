//! `tokenizer_config.json` and its companions. The first byte chooses the file.

#![no_main]

mod place;

const FILES: [&str; 3] = ["tokenizer_config.json", "special_tokens_map.json", "vocab.txt"];

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let [choice, rest @ ..] = bytes {
        place::load_with("models/tiny-bert", FILES[usize::from(*choice) % FILES.len()], rest);
    }
});
