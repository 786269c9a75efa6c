//! `preprocessor_config.json` of CLIP, or what newer folders have in its place. The first byte chooses the file.

#![no_main]

mod place;

use std::sync::OnceLock;

use sentence_transformers::{Image, SentenceTransformer};

const FILES: [&str; 2] = ["preprocessor_config.json", "processor_config.json"];

/// One of the model's size, one smaller, two thin ones.
fn images() -> &'static [Image] {
    static IMAGES: OnceLock<Vec<Image>> = OnceLock::new();
    IMAGES.get_or_init(|| {
        let waves = |(width, height): (usize, usize)| {
            let pixels = (0..width * height * 3).map(|place| (place * 41 % 256) as u8).collect();
            Image::from_rgb(width, height, pixels).unwrap()
        };
        [(24, 24), (9, 7), (97, 1), (1, 60)].map(waves).to_vec()
    })
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let [choice, rest @ ..] = bytes else { return };
    let folder = place::folder("clip/model");
    for name in FILES {
        let _ = std::fs::remove_file(folder.join(name));
    }
    std::fs::write(folder.join(FILES[usize::from(*choice) % FILES.len()]), rest).unwrap();
    if let Ok(model) = SentenceTransformer::load(folder.to_string_lossy()) {
        for image in images() {
            let _ = model.encode(&[image]);
        }
    }
});
