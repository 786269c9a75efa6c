//! A model whose embeddings are given: text `"7"` has row 7 of a table.

use std::path::Path;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor, Var};
use sentence_transformers::SentenceTransformer;
use st_encoder::Batch;
use st_train::model::{Column, Embedded, EmbeddingModel, InputKind, Parameters, PassMode, TrainingPass};
use st_train::{Result, TrainError};

/// Hidden states are the layers' rows, embeddings those of the last layer; with a weight, tanh(row·weight); in training
/// mode with dropout, multiplied by numbers that depend on the pass's random state.
#[derive(Debug)]
pub(crate) struct StubModel {
    layers: Vec<Var>,
    weight: Option<Var>,
    dropout: bool,
    kind: InputKind,
    parameters: Parameters,
}

impl StubModel {
    /// One table per layer, `[rows, dimension]`.
    pub(crate) fn new(layers: &[Tensor], kind: InputKind) -> Self {
        Self::of(layers, None, false, kind)
    }

    /// A table behind a layer of weights and dropout.
    pub(crate) fn with_weight(table: &Tensor, weight: &Tensor) -> Self {
        Self::of(std::slice::from_ref(table), Some(weight), true, InputKind::Transformer)
    }

    fn of(layers: &[Tensor], weight: Option<&Tensor>, dropout: bool, kind: InputKind) -> Self {
        let variable = |tensor: &Tensor| Var::from_tensor(&tensor.copy().unwrap()).unwrap();
        let layers: Vec<Var> = layers.iter().map(variable).collect();
        let weight = weight.map(variable);
        let mut parameters = Parameters::new();
        for (index, layer) in layers.iter().enumerate() {
            parameters.push(format!("layer.{index}"), layer.clone()).unwrap();
        }
        if let Some(weight) = &weight {
            parameters.push("weight", weight.clone()).unwrap();
        }
        Self { layers, weight, dropout, kind, parameters }
    }

    /// A column of rows.
    pub(crate) fn column(rows: impl IntoIterator<Item = u32>) -> Column {
        let (mut batch, mut texts) = (Batch::new(), Vec::new());
        for row in rows {
            batch.push(&[row]);
            texts.push(row.to_string());
        }
        Column::new(batch, texts).unwrap()
    }

    fn rows(&self, layer: usize, column: &Column) -> Result<Tensor> {
        let rows: Vec<u32> = (0..column.len()).map(|index| column.batch().sequence(index)[0]).collect();
        Ok(self.layers[layer].index_select(&Tensor::new(rows, self.device())?, 0)?)
    }

    fn finish(&self, hidden: &Tensor, pass: &mut TrainingPass) -> Result<Tensor> {
        let Some(weight) = &self.weight else { return Ok(hidden.clone()) };
        let hidden = hidden.matmul(weight)?.tanh()?;
        if !self.dropout || pass.mode() != PassMode::Training {
            return Ok(hidden);
        }
        let random = pass.random_mut();
        let mask: Vec<f64> = (0..hidden.elem_count()).map(|_| f64::from(random.uniform() > 0.2) * 1.25).collect();
        Ok(hidden.mul(&Tensor::from_vec(mask, hidden.dims(), &Device::Cpu)?.to_dtype(hidden.dtype())?)?)
    }
}

impl EmbeddingModel for StubModel {
    fn embed(&self, column: &Column, pass: &mut TrainingPass) -> Result<Embedded> {
        let hidden = (0..self.layers.len()).map(|layer| self.rows(layer, column)).collect::<Result<Vec<_>>>()?;
        let sentences = self.finish(&hidden[hidden.len() - 1], pass)?;
        let layers = pass.layers().then_some(hidden);
        Ok(Embedded { layers, ..Embedded::of(sentences) })
    }

    fn embed_layer(&self, _: &Column, layer: &Tensor, pass: &mut TrainingPass) -> Result<Tensor> {
        self.finish(layer, pass)
    }

    fn tokenize(&self, texts: &[String], _: Option<&str>, _: Option<&str>) -> Result<Column> {
        Ok(Self::column(texts.iter().map(|text| text.parse::<u32>().unwrap())))
    }

    fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    fn parameters_mut(&mut self) -> &mut Parameters {
        &mut self.parameters
    }

    fn dimension(&self) -> usize {
        self.weight.as_ref().unwrap_or(&self.layers[0]).dim(1).unwrap()
    }

    fn input_kind(&self) -> InputKind {
        self.kind
    }

    fn layers(&self) -> Option<usize> {
        (self.kind == InputKind::Transformer).then_some(self.layers.len())
    }

    fn device(&self) -> &Device {
        self.layers[0].device()
    }

    fn data_type(&self) -> DType {
        self.layers[0].dtype()
    }

    fn copy(&self) -> Result<Box<dyn EmbeddingModel>> {
        let layers: Vec<Tensor> = self.layers.iter().map(|layer| layer.as_tensor().clone()).collect();
        let weight = self.weight.as_ref().map(|weight| weight.as_tensor().clone());
        Ok(Box::new(Self::of(&layers, weight.as_ref(), self.dropout, self.kind)))
    }

    fn sentence_transformer(&self) -> Result<SentenceTransformer> {
        Err(TrainError::invalid("a stub"))
    }

    fn save(&self, _: &Path) -> Result<()> {
        Err(TrainError::invalid("a stub"))
    }
}

/// A model to hand to a guided loss.
pub(crate) fn shared(model: StubModel) -> Arc<dyn EmbeddingModel> {
    Arc::new(model)
}
