//! `*.safetensors`: opened, and every tensor read.

#![no_main]

mod checkpoint;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| checkpoint::read_as("model.safetensors", bytes));
