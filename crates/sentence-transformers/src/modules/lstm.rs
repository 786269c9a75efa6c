//! [`Lstm`]: a long short-term memory over token embeddings.

use serde_json::{Map, Number, Value};
use st_encoder::{Pass, TensorSource, TokenEmbeddings, Weights};

use super::dense::dot;
use super::{Dataflow, Feature, Loader, Module, ModuleConfig, ModuleFolder, ModuleKind};
use crate::files::{ModuleWriter, SavedTensor};
use crate::{Features, NewWeights, Result};

/// The row of [`super::MODULES`].
pub(super) const LSTM: ModuleKind = ModuleKind {
    name: "LSTM",
    aliases: &[],
    type_path: "sentence_transformers.models.LSTM",
    load: Loader::Inner(|folder| Ok(Box::new(Lstm::load(folder)?))),
};

/// The configuration file.
const CONFIG_FILE: &str = "lstm_config.json";
/// No model stacks more layers than this.
const MOST_LAYERS: usize = 64;

/// A long short-term memory over the tokens of each text, from both ends unless it is said otherwise (Hochreiter and
/// Schmidhuber 1997).
///
/// # Formula
/// With `x` a token's vector, `h` and `c` the state before it: `i, f, o = σ(Wx + b + Uh + d)`, `g = tanh(Wx + b + Uh + d)`
/// with weights of their own; then `c ← f·c + i·g` and `h ← o·tanh(c)`. A token's result is `h`, that of the backward
/// direction beside it. Further layers take the results of the one before. Dropout is for training only.
///
/// Every text runs alone, so that its result does not depend on the others. (The original fails on a text without known
/// words unless a longer one is beside it; here such a text has no rows.)
///
/// # Shapes
/// `[T, in]` per text to `[T, hidden]`, twice as wide with both directions.
///
/// # Files
/// `lstm_config.json` with `word_embedding_dimension`, `hidden_dim`, `num_layers` (1), `dropout` (0) and `bidirectional`
/// (true); per layer and direction `encoder.weight_ih_l0` `[4·hidden, in]`, `encoder.weight_hh_l0` `[4·hidden, hidden]`,
/// `encoder.bias_ih_l0` and `encoder.bias_hh_l0` `[4·hidden]`, the backward ones with `_reverse` at the end.
#[derive(Debug, Clone, PartialEq)]
pub struct Lstm {
    input: usize,
    hidden: usize,
    dropout: Number,
    bidirectional: bool,
    /// Per layer the forward direction, then the backward one where there is one.
    layers: Vec<Vec<Direction>>,
}

/// The weights of one direction of a layer; four gates each, in the order input, forget, cell, output.
#[derive(Debug, Clone, PartialEq)]
struct Direction {
    input: usize,
    weight_ih: Vec<f32>,
    weight_hh: Vec<f32>,
    bias_ih: Vec<f32>,
    bias_hh: Vec<f32>,
}

/// Names of the tensors of a direction without their endings.
const TENSORS: [&str; 4] = ["weight_ih", "weight_hh", "bias_ih", "bias_hh"];

fn tensor_name(tensor: &str, layer: usize, reverse: bool) -> String {
    format!("encoder.{tensor}_l{layer}{}", if reverse { "_reverse" } else { "" })
}

impl Lstm {
    /// Components of the state of one direction.
    #[must_use]
    pub fn hidden(&self) -> usize {
        self.hidden
    }

    /// Number of layers.
    #[must_use]
    pub fn layers(&self) -> usize {
        self.layers.len()
    }

    /// Whether a second direction reads the text from its end.
    #[must_use]
    pub fn is_bidirectional(&self) -> bool {
        self.bidirectional
    }

    /// Probability of dropout between layers, in training.
    #[must_use]
    pub fn dropout(&self) -> f64 {
        self.dropout.as_f64().unwrap_or(0.0)
    }

    fn load(folder: &ModuleFolder) -> Result<Self> {
        let mut config = ModuleConfig::read(folder.file(CONFIG_FILE))?;
        let input = config.size(&["word_embedding_dimension", "embedding_dimension"])?;
        let hidden = config.size(&["hidden_dim"])?;
        let count = config.optional_size(&["num_layers"])?.unwrap_or(1);
        let dropout = match config.value(&["dropout"]) {
            None => 0.into(),
            Some(Value::Number(number)) => number.clone(),
            Some(_) => return Err(config.error("'dropout' should be a number")),
        };
        let bidirectional = config.flag("bidirectional")?.unwrap_or(true);
        if count > MOST_LAYERS {
            return Err(config.error(format_args!("'num_layers' {count} is more than {MOST_LAYERS}")));
        }
        config.finish()?;
        let weights = Weights::open(&folder.folder())?;
        let directions = if bidirectional { 2 } else { 1 };
        let mut layers = Vec::with_capacity(count);
        for layer in 0..count {
            let width = if layer == 0 { input } else { hidden * directions };
            let direction = |reverse: bool| Direction::read(&weights, layer, reverse, width, hidden);
            layers.push((0..directions).map(|number| direction(number == 1)).collect::<Result<_>>()?);
        }
        Ok(Self { input, hidden, dropout, bidirectional, layers })
    }

    fn width(&self) -> usize {
        self.hidden * if self.bidirectional { 2 } else { 1 }
    }

    /// Runs all layers over the rows of one text.
    fn run(&self, rows: &[f32]) -> Vec<f32> {
        let mut rows = rows.to_vec();
        let mut width = self.input;
        for directions in &self.layers {
            let mut out = vec![0f32; rows.len() / width * self.width()];
            for (number, direction) in directions.iter().enumerate() {
                let into =
                    out.chunks_exact_mut(self.width()).map(|row| &mut row[number * self.hidden..][..self.hidden]);
                let steps = rows.chunks_exact(width).zip(into);
                if number == 0 { direction.run(self.hidden, steps) } else { direction.run(self.hidden, steps.rev()) }
            }
            (rows, width) = (out, self.width());
        }
        rows
    }
}

impl Direction {
    /// The numbers, in the order of [`TENSORS`].
    fn data(&self) -> [&[f32]; 4] {
        [&self.weight_ih, &self.weight_hh, &self.bias_ih, &self.bias_hh]
    }

    /// The shapes, in the order of [`TENSORS`].
    fn shapes(&self, hidden: usize) -> [Vec<usize>; 4] {
        let gates = 4 * hidden;
        [vec![gates, self.input], vec![gates, hidden], vec![gates], vec![gates]]
    }

    fn read(weights: &Weights, layer: usize, reverse: bool, input: usize, hidden: usize) -> Result<Self> {
        let gates = 4 * hidden;
        let read = |tensor: &str, shape: &[usize]| -> Result<Vec<f32>> {
            let source = TensorSource::whole(tensor_name(tensor, layer, reverse));
            Ok(weights.tensor(&source, shape)?.to_f32()?.into_owned())
        };
        let [weight_ih, weight_hh, bias_ih, bias_hh] = TENSORS;
        Ok(Self {
            input,
            weight_ih: read(weight_ih, &[gates, input])?,
            weight_hh: read(weight_hh, &[gates, hidden])?,
            bias_ih: read(bias_ih, &[gates])?,
            bias_hh: read(bias_hh, &[gates])?,
        })
    }

    /// Goes through the tokens, each with the place of its result.
    fn run<'a>(&self, hidden: usize, steps: impl Iterator<Item = (&'a [f32], &'a mut [f32])>) {
        let mut state = vec![0f32; hidden];
        let mut cell = vec![0f32; hidden];
        let mut gates = vec![0f32; 4 * hidden];
        for (row, out) in steps {
            for (gate, sum) in gates.iter_mut().enumerate() {
                *sum = dot(row, &self.weight_ih[gate * self.input..][..self.input])
                    + self.bias_ih[gate]
                    + (dot(&state, &self.weight_hh[gate * hidden..][..hidden]) + self.bias_hh[gate]);
            }
            for unit in 0..hidden {
                let [input, forget, candidate, output] = [0, 1, 2, 3].map(|gate| gates[gate * hidden + unit]);
                cell[unit] = sigmoid(forget) * cell[unit] + sigmoid(input) * candidate.tanh();
                state[unit] = sigmoid(output) * cell[unit].tanh();
            }
            out.copy_from_slice(&state);
        }
    }
}

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

impl Module for Lstm {
    fn kind(&self) -> &'static ModuleKind {
        &LSTM
    }

    fn dataflow(&self) -> Dataflow {
        Dataflow { needs: Feature::TokenEmbeddings, gives: Feature::TokenEmbeddings }
    }

    fn forward(&self, mut features: Features, _: &Pass) -> Result<Features> {
        let tokens = features.take_tokens()?;
        let mut data = Vec::with_capacity(tokens.data().len() / self.input * self.width());
        for index in 0..tokens.len() {
            data.append(&mut self.run(tokens.sequence(index)));
        }
        features.token_embeddings = Some(TokenEmbeddings::new(data, self.width(), tokens.offsets().to_vec())?);
        Ok(features)
    }

    fn output_dim(&self, input: usize) -> Result<usize, usize> {
        if input == self.input { Ok(self.width()) } else { Err(self.input) }
    }

    fn save(&self, writer: &ModuleWriter) -> Result<()> {
        writer.config(CONFIG_FILE, self.config())?;
        writer.tensors(&self.tensors()?)
    }

    fn tensors(&self) -> Result<Vec<SavedTensor<'_>>> {
        let mut tensors = Vec::new();
        for (layer, directions) in self.layers.iter().enumerate() {
            for (number, direction) in directions.iter().enumerate() {
                for ((tensor, data), shape) in TENSORS.iter().zip(direction.data()).zip(direction.shapes(self.hidden)) {
                    tensors.push(SavedTensor::new(tensor_name(tensor, layer, number == 1), shape, data));
                }
            }
        }
        Ok(tensors)
    }

    fn with_weights(&self, path: &str, weights: &mut NewWeights) -> Result<Box<dyn Module>> {
        let mut new = self.clone();
        for (layer, directions) in new.layers.iter_mut().enumerate() {
            for (number, direction) in directions.iter_mut().enumerate() {
                let shapes = direction.shapes(self.hidden);
                let Direction { weight_ih, weight_hh, bias_ih, bias_hh, .. } = direction;
                for ((tensor, data), shape) in TENSORS.iter().zip([weight_ih, weight_hh, bias_ih, bias_hh]).zip(shapes)
                {
                    let name = format!("{path}{}", tensor_name(tensor, layer, number == 1));
                    if let Some(numbers) = weights.take(&name, &shape)? {
                        *data = numbers;
                    }
                }
            }
        }
        Ok(Box::new(new))
    }

    fn config(&self) -> Map<String, Value> {
        [
            ("word_embedding_dimension".to_owned(), self.input.into()),
            ("hidden_dim".to_owned(), self.hidden.into()),
            ("num_layers".to_owned(), self.layers.len().into()),
            ("dropout".to_owned(), self.dropout.clone().into()),
            ("bidirectional".to_owned(), self.bidirectional.into()),
        ]
        .into_iter()
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one_unit(sign: f32) -> Direction {
        Direction {
            input: 1,
            weight_ih: vec![0.5, 0.25, sign, -0.5],
            weight_hh: vec![0.1, 0.2, 0.3, 0.4],
            bias_ih: vec![0.0, 1.0, 0.0, 0.5],
            bias_hh: vec![0.5, 0.0, 0.25, 0.0],
        }
    }

    /// Two steps by hand, in 64 bits.
    fn by_hand(sign: f64, xs: [f64; 2]) -> [f64; 2] {
        let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
        let (mut h, mut c) = (0.0, 0.0);
        xs.map(|x| {
            let i = sigmoid(0.5 * x + 0.1 * h + 0.5);
            let f = sigmoid(0.25 * x + 1.0 + 0.2 * h);
            let g = (sign * x + 0.3 * h + 0.25).tanh();
            let o = sigmoid(-0.5 * x + 0.5 + 0.4 * h);
            c = f * c + i * g;
            h = o * c.tanh();
            h
        })
    }

    #[test]
    fn two_directions_by_hand() {
        let layers = vec![vec![one_unit(1.0), one_unit(-1.0)]];
        let lstm = Lstm { input: 1, hidden: 1, dropout: 0.into(), bidirectional: true, layers };
        let out = lstm.run(&[0.75, -2.0]);
        let (forward, backward) = (by_hand(1.0, [0.75, -2.0]), by_hand(-1.0, [-2.0, 0.75]));
        for (x, y) in out.iter().zip([forward[0], backward[1], forward[1], backward[0]]) {
            assert!((f64::from(*x) - y).abs() < 1e-6, "{out:?}");
        }
        assert_eq!(lstm.run(&[]), [0f32; 0]);
        assert_eq!((lstm.output_dim(1), lstm.output_dim(3)), (Ok(2), Err(1)));
    }
}
