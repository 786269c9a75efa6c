//! Times a training step of a model on random texts, part by part.
//!
//!     cargo run --release -p st-candle --example training_step -- FOLDER [TEXTS] [TOKENS]

use std::time::{Duration, Instant};

use candle_core::{DType, Device};
use st_candle::{DropoutState, EncoderGraph, GraphPass};
use st_encoder::{Batch, EncoderFiles};

/// Steps that are timed, after one that is not.
const STEPS: u32 = 5;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().ok_or("name the folder of a model")?;
    let texts: u32 = arguments.next().map_or(Ok(32), |number| number.parse())?;
    let tokens: u32 = arguments.next().map_or(Ok(64), |number| number.parse())?;
    let graph = EncoderGraph::load(&EncoderFiles::open(folder)?, &Device::Cpu, DType::F32)?;
    let vocabulary = u32::try_from(graph.spec().embeddings.vocabulary)?;
    let sequences: Vec<Vec<u32>> = (0..texts)
        .map(|text| (0..tokens).map(|token| (text * 7919 + token * 104_729) % vocabulary).collect())
        .collect();
    let batch = Batch::from_sequences(sequences.iter().map(Vec::as_slice));
    let mut dropout = DropoutState::new(1);
    println!("{texts} texts of {tokens} tokens");
    for (name, drops, checkpoint) in
        [("plain", false, false), ("with dropout", true, false), ("with checkpoints", false, true)]
    {
        let mut times = [Duration::ZERO; 3];
        for step in 0..=STEPS {
            let pass = GraphPass { dropout: drops.then(|| dropout.next_pass()), checkpoint, ..GraphPass::training() };
            let start = Instant::now();
            let loss = graph.forward(&batch, &pass)?.tokens.sqr()?.mean_all()?;
            let forward = start.elapsed();
            let gradients = loss.backward()?;
            let backward = start.elapsed() - forward;
            for parameter in graph.parameters() {
                if let Some(gradient) = gradients.get(parameter.tensor()) {
                    parameter.variable().set(&(parameter.tensor().detach() - (gradient * 1e-6)?)?)?;
                }
            }
            let update = start.elapsed() - forward - backward;
            if step > 0 {
                times.iter_mut().zip([forward, backward, update]).for_each(|(sum, time)| *sum += time / STEPS);
            }
        }
        let [forward, backward, update] = times.map(|time| time.as_secs_f64() * 1e3);
        println!("{name}: forward {forward:.0} ms, backward {backward:.0} ms, plain descent {update:.0} ms");
    }
    Ok(())
}
