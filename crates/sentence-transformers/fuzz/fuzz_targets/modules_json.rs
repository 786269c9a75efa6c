//! `modules.json`: which modules there are and where they lie.

#![no_main]

mod place;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| place::load_with("models/tiny-bert-cls-dense", "modules.json", bytes));
