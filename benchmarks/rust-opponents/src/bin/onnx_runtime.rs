//! The crate `ort`: `onnx_runtime MODEL_FOLDER ONNX_FILE THREADS LIBRARY`, the library being libonnxruntime.so of the
//! Python wheel.

use bench_protocol::{Contestant, Failure, Vectors};
use ort::session::Session;
use ort::value::Tensor;
use rust_opponents::{Batches, start};
use std::path::PathBuf;

struct OnnxRuntime {
    session: Session,
    batches: Batches,
    dimension: usize,
    token_types: bool,
}

impl Contestant for OnnxRuntime {
    fn encode(&mut self, texts: &[String], batch_size: Option<usize>) -> Result<Vectors, Failure> {
        let mut vectors = Vectors { values: vec![0.0; texts.len() * self.dimension], dimension: self.dimension };
        for mut batch in self.batches.make(texts, batch_size.unwrap_or(32))? {
            let shape = [batch.places.len(), batch.width];
            let ids = Tensor::from_array((shape, std::mem::take(&mut batch.ids)))?;
            let mask = Tensor::from_array((shape, std::mem::take(&mut batch.mask)))?;
            let outputs = if self.token_types {
                let types = Tensor::from_array((shape, vec![0_i64; shape[0] * shape[1]]))?;
                self.session
                    .run(ort::inputs!["input_ids" => ids, "attention_mask" => mask, "token_type_ids" => types])?
            } else {
                self.session.run(ort::inputs!["input_ids" => ids, "attention_mask" => mask])?
            };
            batch.pool(outputs[0].try_extract_tensor::<f32>()?.1, &mut vectors);
        }
        Ok(vectors)
    }
}

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, file, threads, library] = &arguments[..] else {
        return Err("usage: onnx_runtime MODEL_FOLDER ONNX_FILE THREADS LIBRARY".into());
    };
    let folder = PathBuf::from(folder);
    start("2.0.0-rc.15", || {
        let environment = ort::init_from(library)?.build()?;
        let session = Session::builder(&environment)?
            .with_intra_threads(threads.parse()?)
            .map_err(|error| error.to_string())?
            .commit_from_file(file)?;
        let config = rust_opponents::json(&folder.join("config.json"))?;
        let dimension = config["hidden_size"].as_u64().ok_or("no hidden_size")? as usize;
        let token_types = session.inputs().iter().any(|input| input.name() == "token_type_ids");
        Ok(OnnxRuntime { session, batches: Batches::load(&folder)?, dimension, token_types })
    })
}
