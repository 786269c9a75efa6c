//! Opens the weights of model folders and says how long that takes and what they hold.
//!
//!     cargo run --release -p st-encoder --example open_weights -- FOLDER…

use std::time::Instant;

use st_encoder::architectures::describe;
use st_encoder::{EncoderFiles, Slot, Weights, required_slots};

fn main() -> Result<(), st_encoder::EncoderError> {
    for folder in std::env::args().skip(1) {
        let start = Instant::now();
        let files = EncoderFiles::open(&folder)?;
        let (architecture, spec) = describe(files.config(), &files.config_path())?;
        let word = (architecture.source)(&spec, Slot::WordEmbedding).name;
        let weights = Weights::open(files.folder())?.with_prefix_of(architecture.prefixes, &word);
        let slots: Vec<_> = required_slots(&spec)
            .into_iter()
            .map(|(slot, shape)| ((architecture.source)(&spec, slot), shape))
            .collect();
        let tensors =
            slots.iter().map(|(source, shape)| weights.tensor(source, shape)).collect::<Result<Vec<_>, _>>()?;
        let opened = start.elapsed();
        let start = Instant::now();
        let mut copied = 0;
        for tensor in &tensors {
            copied += usize::from(matches!(tensor.to_f32()?, std::borrow::Cow::Owned(_)));
        }
        println!(
            "{folder}: {}, {} slots, {} parameters; opened in {opened:.2?}, read in {:.2?} ({copied} copied)",
            architecture.name,
            slots.len(),
            weights.parameters(slots.iter().map(|(source, _)| source)),
            start.elapsed(),
        );
    }
    Ok(())
}
