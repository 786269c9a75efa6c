//! `tokenizer.json`, patterns and vocabulary included.

#![no_main]

mod place;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| place::load_with("models/tiny-bert", "tokenizer.json", bytes));
