//! The crate `model2vec-rs`: `model2vec MODEL_FOLDER`. Threads: RAYON_NUM_THREADS.

use bench_protocol::{Contestant, Failure, Vectors};
use model2vec_rs::model::StaticModel;
use rust_opponents::start;

struct Model2Vec(StaticModel);

impl Contestant for Model2Vec {
    fn encode(&mut self, texts: &[String], batch_size: Option<usize>) -> Result<Vectors, Failure> {
        let rows = self.0.encode_with_args(texts, Some(512), batch_size.unwrap_or(1024));
        let dimension = rows.first().map_or(0, Vec::len);
        Ok(Vectors { values: rows.into_iter().flatten().collect(), dimension })
    }
}

fn main() -> Result<(), Failure> {
    let folder = std::env::args().nth(1).ok_or("usage: model2vec MODEL_FOLDER")?;
    start("0.4", || Ok(Model2Vec(StaticModel::from_pretrained(&folder, None, None, None).map_err(|e| e.to_string())?)))
}
