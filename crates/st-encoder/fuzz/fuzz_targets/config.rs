//! `config.json`: described, and every slot's source named.

#![no_main]

use st_encoder::architectures::describe;
use st_encoder::{EncoderFiles, required_slots};

mod checkpoint;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    std::fs::write(checkpoint::folder().join("config.json"), bytes).unwrap();
    let Ok(files) = EncoderFiles::open(checkpoint::folder()) else { return };
    if let Ok((architecture, spec)) = describe(files.config(), &files.config_path()) {
        for (slot, shape) in required_slots(&spec) {
            assert!(!shape.contains(&0) && !(architecture.source)(&spec, slot).name.is_empty());
        }
    }
});
