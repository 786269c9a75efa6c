//! Modules that look words and tokens up as graphs: `StaticEmbedding`, `WordEmbeddings`, `WordWeights`, `BoW`.

use std::sync::Arc;

use sentence_transformers::Features;
use sentence_transformers::modules::{BoW, Module, WordEmbeddings, WordWeights};
use st_candle::ops;
use st_encoder::Pass;

use crate::error::{Result, TrainError};

use super::module::{Builder, Flow, GraphModule, Run, typed};
use super::ragged::{owners, sum_into};

#[derive(Debug)]
struct StaticEmbeddingGraph {
    path: String,
}

pub(super) fn static_embedding(module: &dyn Module, path: &str, builder: &mut Builder) -> Result<Arc<dyn GraphModule>> {
    builder.parameters_of(module, path, true)?;
    Ok(Arc::new(StaticEmbeddingGraph { path: path.to_owned() }))
}

impl GraphModule for StaticEmbeddingGraph {
    /// The mean of the rows of each text's tokens; zeros without tokens.
    fn forward(&self, flow: Flow, run: &mut Run<'_>) -> Result<Flow> {
        let table = run.weight(&self.path, "embedding.weight")?;
        let batch = run.column.batch();
        let rows = ops::embedding(&table, &run.indices(batch.ids().to_vec())?)?;
        let sums = sum_into(&rows, &run.indices(owners(batch.offsets()))?, batch.len())?;
        let factors: Vec<f32> = batch.lengths().map(|length| 1.0 / length.max(1) as f32).collect();
        let means = sums.broadcast_mul(&run.constant(factors, &[batch.len(), 1])?)?;
        Ok(flow.with_sentences(means))
    }
}

#[derive(Debug)]
struct WordEmbeddingsGraph {
    path: String,
}

pub(super) fn word_embeddings(module: &dyn Module, path: &str, builder: &mut Builder) -> Result<Arc<dyn GraphModule>> {
    let trainable = typed::<WordEmbeddings>(module)?.updates_embeddings();
    builder.parameters_of(module, path, trainable)?;
    Ok(Arc::new(WordEmbeddingsGraph { path: path.to_owned() }))
}

impl GraphModule for WordEmbeddingsGraph {
    fn forward(&self, flow: Flow, run: &mut Run<'_>) -> Result<Flow> {
        let table = run.weight(&self.path, "emb_layer.weight")?;
        let rows = ops::embedding(&table, &run.indices(run.column.batch().ids().to_vec())?)?;
        Ok(flow.with_tokens(rows))
    }
}

/// The weights are not trained: the original does not save them either, it makes them anew from the configuration.
#[derive(Debug)]
struct WordWeightsGraph {
    weights: Vec<f32>,
}

pub(super) fn word_weights(module: &dyn Module, _: &str, _: &mut Builder) -> Result<Arc<dyn GraphModule>> {
    Ok(Arc::new(WordWeightsGraph { weights: typed::<WordWeights>(module)?.of_tokens().to_vec() }))
}

impl GraphModule for WordWeightsGraph {
    fn forward(&self, flow: Flow, run: &mut Run<'_>) -> Result<Flow> {
        let batch = run.column.batch();
        let weight = |&id: &u32| {
            self.weights.get(id as usize).copied().ok_or_else(|| {
                TrainError::invalid(format!("token {id}, but there are {} words with weights", self.weights.len()))
            })
        };
        let weights = batch.ids().iter().map(weight).collect::<Result<Vec<f32>>>()?;
        let sums: Vec<f32> = batch.offsets().windows(2).map(|pair| weights[pair[0]..pair[1]].iter().sum()).collect();
        let sums = run.constant(sums, &[batch.len(), 1])?;
        let tokens = flow.tokens()?.broadcast_mul(&run.constant(weights, &[batch.tokens(), 1])?)?;
        Ok(Flow { weight_sums: Some(sums), ..flow.with_tokens(tokens) })
    }
}

/// Bags have nothing to train; what follows them may have.
#[derive(Debug)]
struct BowGraph {
    bag: BoW,
}

pub(super) fn bow(module: &dyn Module, _: &str, _: &mut Builder) -> Result<Arc<dyn GraphModule>> {
    Ok(Arc::new(BowGraph { bag: typed::<BoW>(module)?.clone() }))
}

impl GraphModule for BowGraph {
    fn forward(&self, flow: Flow, run: &mut Run<'_>) -> Result<Flow> {
        let mut features = self.bag.forward(Features::new(run.column.batch().clone()), &Pass::default())?;
        let sentences = features.take_sentences()?;
        let shape = [sentences.rows(), sentences.dimension()];
        let sentences = run.constant(sentences.into_vec(), &shape)?;
        Ok(flow.with_sentences(sentences))
    }
}
