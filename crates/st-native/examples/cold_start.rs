//! How long loading takes: `cargo run --release -p st-native --example cold_start FOLDER [FORMAT]` prints the time from the
//! start of `main` to the end of each step. Run it twice, so that the file is in the system's cache.

use std::error::Error;
use std::time::Instant;

use st_encoder::{Backend, Batch, EncoderFiles, EncoderOptions, Pass};
use st_native::NativeBackend;

fn main() -> Result<(), Box<dyn Error>> {
    let start = Instant::now();
    let mut arguments = std::env::args().skip(1);
    let files = EncoderFiles::open(arguments.next().ok_or("FOLDER [FORMAT]")?)?;
    let format = arguments.next().map_or(Ok(Default::default()), |name| name.parse())?;
    let encoder = NativeBackend::new().load(&files, &EncoderOptions::new().weights(format))?;
    let loaded = start.elapsed();
    encoder.forward(&Batch::from_sequences([&[101u32, 7592, 2088, 102][..]]), &Pass::default())?;
    println!(
        "loaded after {:.1} ms, first result after {:.1} ms",
        loaded.as_secs_f64() * 1e3,
        start.elapsed().as_secs_f64() * 1e3
    );
    Ok(())
}
