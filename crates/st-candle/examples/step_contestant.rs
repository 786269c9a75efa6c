//! One training step after the other, on request: the contestant of `benchmarks/training/compare.py`.
//!
//! `step_contestant MODEL_FOLDER THREADS` reads a request per line and answers each with a line, both JSON:
//!
//! - `{"loss": "mnrl" or "cosine", "columns": [[[ids…]…]…], "labels": […], "dropout": bool, "bf16": bool}` sets what is trained on;
//! - `{"step": true}` runs a step of AdamW and answers its loss and the seconds of its parts.
//!
//! The model is mean pooling over the encoder of the folder. Gradients are clipped to a norm of 1, as the trainers do.

use std::error::Error;
use std::io::{BufRead, Write};
use std::sync::Mutex;
use std::time::Instant;

use candle_core::{CpuStorage, D, DType, Device, InplaceOp2, Layout, Result, Tensor, bail};
use serde_json::{Value, json};
use st_candle::{DropoutState, EncoderGraph, GraphPass, Parameter};
use st_encoder::{Batch, EncoderFiles};
use st_native::training::{AdamStep, Compute};

fn main() -> std::result::Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, threads] = &arguments[..] else { return Err("step_contestant MODEL_FOLDER THREADS".into()) };
    rayon::ThreadPoolBuilder::new().num_threads(threads.parse()?).build_global()?;
    let graph = EncoderGraph::load(&EncoderFiles::open(folder)?, &Device::Cpu, DType::F32)?;
    let mut run = Run::new(graph)?;
    for line in std::io::stdin().lock().lines() {
        let request: Value = serde_json::from_str(&line?)?;
        let answer = if request.get("columns").is_some() { run.set(&request)? } else { run.step()? };
        println!("{answer}");
        std::io::stdout().flush()?;
    }
    Ok(())
}

/// A model, what it is trained on, and the optimiser's memory.
struct Run {
    graph: EncoderGraph,
    compute: Compute,
    memory: Vec<Mutex<[Vec<f32>; 2]>>,
    steps: u64,
    columns: Vec<Batch>,
    loss: fn(&Tensor, &Tensor, &Tensor) -> Result<Tensor>,
    labels: Tensor,
    dropout: Option<DropoutState>,
    autocast: bool,
}

impl Run {
    fn new(graph: EncoderGraph) -> Result<Self> {
        let zeros = |parameter: &Parameter| vec![0.0; parameter.tensor().elem_count()];
        let memory = |parameter| Mutex::new([zeros(parameter), zeros(parameter)]);
        Ok(Self {
            memory: graph.parameters().iter().map(memory).collect(),
            graph,
            compute: Compute::detect(),
            steps: 0,
            columns: Vec::new(),
            loss: ranking,
            labels: Tensor::zeros(1, DType::F32, &Device::Cpu)?,
            dropout: None,
            autocast: false,
        })
    }

    fn set(&mut self, request: &Value) -> std::result::Result<Value, Box<dyn Error>> {
        let columns: Vec<Vec<Vec<u32>>> = serde_json::from_value(request["columns"].clone())?;
        self.columns = columns.iter().map(|texts| Batch::from_sequences(texts.iter().map(Vec::as_slice))).collect();
        let labels: Vec<f32> = serde_json::from_value(request["labels"].clone())?;
        self.labels = Tensor::new(labels, &Device::Cpu)?;
        self.loss = if request["loss"] == "mnrl" { ranking } else { cosine };
        self.dropout = (request["dropout"] == true).then(|| DropoutState::new(12));
        self.autocast = request["bf16"] == true;
        Ok(json!({"columns": self.columns.len()}))
    }

    fn step(&mut self) -> std::result::Result<Value, Box<dyn Error>> {
        let start = Instant::now();
        let mut embeddings = Vec::new();
        for batch in &self.columns {
            let dropout = self.dropout.as_mut().map(DropoutState::next_pass);
            let output =
                self.graph.forward(batch, &GraphPass { dropout, autocast: self.autocast, ..GraphPass::training() })?;
            embeddings.push(normalised(&mean(&output.tokens, &output.offsets)?)?);
        }
        let [first, second] = &embeddings[..] else { return Err("a loss of two columns".into()) };
        let loss = (self.loss)(first, second, &self.labels)?;
        let value = loss.to_scalar::<f32>()?;
        let forward = start.elapsed().as_secs_f64();
        let gradients = st_candle::backward(&loss)?;
        drop((embeddings, loss));
        let backward = start.elapsed().as_secs_f64() - forward;
        let mut squares = 0.0;
        for parameter in self.graph.parameters() {
            if let Some(gradient) = gradients.get(parameter.tensor()) {
                let (storage, layout) = gradient.storage_and_layout();
                if let candle_core::Storage::Cpu(storage) = &*storage {
                    squares += self.compute.sum_of_squares(numbers(storage, layout)?);
                }
            }
        }
        self.steps += 1;
        let step = AdamStep {
            learning_rate: 2e-5,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            weight_decay: 0.0,
            number: self.steps,
            gradient_factor: (1.0 / (squares.sqrt() + 1e-6)).min(1.0),
        };
        for (parameter, memory) in self.graph.parameters().iter().zip(&self.memory) {
            if let Some(gradient) = gradients.get(parameter.tensor()) {
                let update = Update { compute: &self.compute, step, memory };
                parameter.tensor().inplace_op2(&gradient.contiguous()?, &update)?;
            }
        }
        drop(gradients);
        let total = start.elapsed().as_secs_f64();
        Ok(json!({"loss": value, "forward": forward, "backward": backward, "optimizer": total - forward - backward}))
    }
}

/// Mean of each sequence's rows.
fn mean(tokens: &Tensor, offsets: &[usize]) -> Result<Tensor> {
    let (count, all) = (offsets.len() - 1, tokens.dim(0)?);
    let mut shares = vec![0f32; count * all];
    for (sequence, pair) in offsets.windows(2).enumerate() {
        shares[sequence * all + pair[0]..sequence * all + pair[1]].fill(1.0 / (pair[1] - pair[0]) as f32);
    }
    Tensor::from_vec(shares, (count, all), tokens.device())?.matmul(tokens)
}

fn normalised(rows: &Tensor) -> Result<Tensor> {
    rows.broadcast_div(&rows.sqr()?.sum_keepdim(D::Minus1)?.sqrt()?)
}

/// Cross-entropy of scaled cosines, every other row's positive being a negative (Henderson et al. 2017).
fn ranking(anchors: &Tensor, positives: &Tensor, _: &Tensor) -> Result<Tensor> {
    let scores = (anchors.matmul(&positives.t()?)? * 20.0)?;
    let own = (anchors.mul(positives)?.sum(D::Minus1)? * 20.0)?;
    scores.log_sum_exp(D::Minus1)?.sub(&own)?.mean_all()
}

/// Mean square of the cosines' distance to their labels.
fn cosine(first: &Tensor, second: &Tensor, labels: &Tensor) -> Result<Tensor> {
    first.mul(second)?.sum(D::Minus1)?.sub(labels)?.sqr()?.mean_all()
}

fn numbers<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    match (storage, layout.contiguous_offsets()) {
        (CpuStorage::F32(numbers), Some((start, end))) => Ok(&numbers[start..end]),
        _ => bail!("contiguous 32-bit floats"),
    }
}

/// A step of one parameter.
struct Update<'a> {
    compute: &'a Compute,
    step: AdamStep,
    memory: &'a Mutex<[Vec<f32>; 2]>,
}

impl InplaceOp2 for Update<'_> {
    fn name(&self) -> &'static str {
        "adamw"
    }

    fn cpu_fwd(&self, parameter: &mut CpuStorage, l1: &Layout, gradient: &CpuStorage, l2: &Layout) -> Result<()> {
        let (CpuStorage::F32(parameter), Some((start, end))) = (parameter, l1.contiguous_offsets()) else {
            bail!("contiguous 32-bit floats")
        };
        let Ok(mut memory) = self.memory.lock() else { bail!("an earlier step failed") };
        let [mean, square] = &mut *memory;
        self.compute.adam(&self.step, &mut parameter[start..end], numbers(gradient, l2)?, mean, square);
        Ok(())
    }
}
