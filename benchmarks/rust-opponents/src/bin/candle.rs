//! candle's BERT: `candle MODEL_FOLDER`. Threads: RAYON_NUM_THREADS.

use bench_protocol::{Contestant, Failure, Vectors};
use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::bert::{BertModel, Config};
use rust_opponents::{Batches, start};
use std::path::PathBuf;

struct Candle {
    model: BertModel,
    batches: Batches,
    dimension: usize,
}

impl Contestant for Candle {
    fn encode(&mut self, texts: &[String], batch_size: Option<usize>) -> Result<Vectors, Failure> {
        let mut vectors = Vectors { values: vec![0.0; texts.len() * self.dimension], dimension: self.dimension };
        for batch in self.batches.make(texts, batch_size.unwrap_or(32))? {
            let shape = (batch.places.len(), batch.width);
            let ids = Tensor::from_slice(&batch.ids, shape, &Device::Cpu)?;
            let mask = Tensor::from_slice(&batch.mask, shape, &Device::Cpu)?;
            let tokens = self.model.forward(&ids, &ids.zeros_like()?, Some(&mask))?;
            batch.pool(&tokens.flatten_all()?.to_vec1::<f32>()?, &mut vectors);
        }
        Ok(vectors)
    }
}

fn main() -> Result<(), Failure> {
    let folder = PathBuf::from(std::env::args().nth(1).ok_or("usage: candle MODEL_FOLDER")?);
    start("0.11", || {
        let config: Config = serde_json::from_value(rust_opponents::json(&folder.join("config.json"))?)?;
        let weights = std::fs::read(folder.join("model.safetensors"))?;
        let weights = VarBuilder::from_buffered_safetensors(weights, DType::F32, &Device::Cpu)?;
        let dimension = config.hidden_size;
        Ok(Candle { model: BertModel::load(weights, &config)?, batches: Batches::load(&folder)?, dimension })
    })
}
