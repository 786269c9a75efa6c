//! `*.index.json` beside one good shard: the index must not lead out of the folder, and what it names is read.

#![no_main]

mod checkpoint;

use st_encoder::Weights;

const SHARD: &[u8] =
    b"\x40\0\0\0\0\0\0\0{\"w\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}          \0\0\x80\x3f";

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let folder = checkpoint::folder();
    std::fs::write(folder.join("a.safetensors"), SHARD).unwrap();
    std::fs::write(folder.join("model.safetensors.index.json"), bytes).unwrap();
    if let Ok(weights) = Weights::open(folder) {
        checkpoint::read_all(&weights);
    }
});
