//! The engine against the float64 references of all-MiniLM-L6-v2.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use serde::Deserialize;
use st_encoder::{Backend, Batch, EncoderFiles, EncoderOptions, Pass};
use st_native::{InstructionSet, NativeBackend};

#[derive(Deserialize)]
struct Golden {
    items: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    /// Long ones are cut in the middle by the text `...`.
    input_ids: Vec<serde_json::Value>,
    normalized_mean: Vec<f64>,
}

impl Item {
    fn ids(&self) -> Option<Vec<u32>> {
        self.input_ids.iter().map(|id| u32::try_from(id.as_u64()?).ok()).collect()
    }
}

fn golden() -> Golden {
    let path = st_testing::fixture_path("golden/all-MiniLM-L6-v2.float64.json");
    let mut golden: Golden = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    golden.items.retain(|item| item.ids().is_some());
    assert!(golden.items.len() >= 5);
    golden
}

#[test]
fn mean_of_the_token_embeddings_is_the_reference() {
    let Some(folder) = st_testing::real_model("all-MiniLM-L6-v2") else { return };
    let files = EncoderFiles::open(folder).unwrap();
    let golden = golden();
    let batch = golden.items.iter().filter_map(Item::ids).fold(Batch::new(), |mut batch, ids| {
        batch.push(&ids);
        batch
    });
    for (name, set) in InstructionSet::ALL {
        if !set.is_available() {
            continue;
        }
        let encoder = NativeBackend::with_instructions(set).load(&files, &EncoderOptions::new()).unwrap();
        let tokens = encoder.forward(&batch, &Pass::default()).unwrap();
        let mut largest = 0.0f64;
        for (index, item) in golden.items.iter().enumerate() {
            let mut mean = vec![0.0f64; tokens.hidden()];
            for row in tokens.sequence(index).chunks_exact(tokens.hidden()) {
                mean.iter_mut().zip(row).for_each(|(sum, &number)| *sum += f64::from(number));
            }
            let length = mean.iter().map(|x| x * x).sum::<f64>().sqrt();
            for (found, expected) in mean.iter().zip(&item.normalized_mean) {
                largest = largest.max((found / length - expected).abs());
            }
        }
        println!("{name}: largest difference {largest:.2e}");
        assert!(largest < 1e-6, "{name}: {largest}");
    }
}
