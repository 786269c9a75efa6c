//! The graph of all-MiniLM-L6-v2 against float64 references that were computed without torch.

use candle_core::{DType, Device};
use st_candle::{EncoderGraph, GraphPass};
use st_encoder::{Batch, EncoderFiles};

#[test]
fn mean_of_the_token_embeddings_is_the_reference() {
    let Some(folder) = st_testing::real_model("all-MiniLM-L6-v2") else { return };
    let files = EncoderFiles::open(folder).unwrap();
    let path = st_testing::fixture_path("golden/all-MiniLM-L6-v2.float64.json");
    let golden: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    // Of long texts the file has the start and the end only.
    let ids = |item: &serde_json::Value| -> Option<Vec<u32>> {
        item["input_ids"].as_array()?.iter().map(|id| u32::try_from(id.as_u64()?).ok()).collect()
    };
    let items = golden["items"].as_array().unwrap();
    let texts: Vec<_> = items.iter().filter_map(|item| Some((ids(item)?, &item["normalized_mean"]))).collect();
    assert!(texts.len() >= 5);
    let batch = Batch::from_sequences(texts.iter().map(|(ids, _)| &ids[..]));
    // A description's factor on the scores is a 32-bit float, whatever is computed with.
    for (dtype, bound) in [(DType::F64, 1e-8), (DType::F32, 1e-6)] {
        let graph = EncoderGraph::load(&files, &Device::Cpu, dtype).unwrap();
        let output = graph.forward(&batch, &GraphPass::inference()).unwrap();
        let mut largest = 0f64;
        for (index, (_, expected)) in texts.iter().enumerate() {
            let mean = output.sequence(index).unwrap().to_dtype(DType::F64).unwrap().mean(0).unwrap();
            let length = mean.sqr().unwrap().sum_all().unwrap().sqrt().unwrap().to_scalar::<f64>().unwrap();
            for (found, expected) in mean.to_vec1::<f64>().unwrap().iter().zip(expected.as_array().unwrap()) {
                largest = largest.max((found / length - expected.as_f64().unwrap()).abs());
            }
        }
        println!("{dtype:?}: largest difference {largest:.2e}");
        assert!(largest < bound, "{dtype:?}: {largest:e}");
    }
}
