//! The decoder of [`super::DenoisingAutoEncoderLoss`]: a BERT that writes a text down, one token after the other, from one
//! sentence embedding.

use std::collections::HashMap;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor, Var};
use st_candle::ops::{self, AttentionShape, Sequences};
use st_encoder::architectures::Architecture;
use st_encoder::{
    AttentionMask, Batch, EncoderFiles, EncoderSpec, LayerSlot, LayerSpec, NormSpec, Part, PositionSpec, Slot,
    TensorSource, Weights, required_slots,
};

use crate::error::Result;
use crate::loss::LossCard;
use crate::model::Parameters;
use crate::random::Generator;

pub(super) const CARD: LossCard = LossCard {
    name: "DenoisingAutoEncoderLoss",
    aliases: &["DenoisingAutoEncoder", "TSDAE"],
    columns: "(damaged sentence, original sentence)",
    at_least: 2,
    at_most: Some(2),
    labels: "",
    formula: "CE of a decoder's tokens, given the damaged sentence's embedding",
    paper: Some("https://arxiv.org/abs/2104.06979"),
};

/// What stands before the encoder's names among a model's parameters.
const ENCODER: &str = "0.auto_model.";
/// What stands before the decoder's names among a loss's parameters.
const DECODER: &str = "decoder.bert.";

/// A BERT with causal attention, cross-attention and a language modelling head.
#[derive(Debug)]
pub(super) struct Decoder {
    architecture: &'static Architecture,
    spec: EncoderSpec,
    /// The blocks' and embeddings' tensors, where they are not the encoder's.
    own: Option<HashMap<String, Var>>,
    /// Cross-attention and head.
    added: Parameters,
}

impl Decoder {
    /// Reads the description, and the weights where they are not the encoder's. What the checkpoint lacks is drawn as
    /// transformers initialises it: matrices from a normal distribution, norms 1, biases 0.
    pub(super) fn open(files: &EncoderFiles, tied: bool, seed: u64, dtype: DType, device: &Device) -> Result<Self> {
        let (architecture, mut spec, weights) = files.network()?;
        if architecture.name != "bert" {
            return Err(CARD.error(format!(
                "there is no decoder for {} models: it needs causal self-attention and cross-attention with the \
                 encoder's own weights, which are made for BERT (MiniLM, E5, BGE) only",
                architecture.name
            )));
        }
        for layer in &mut spec.layers {
            layer.attention.mask = AttentionMask::Causal;
        }
        let own = if tied {
            None
        } else {
            let load = |(slot, shape): (Slot, Vec<usize>)| {
                let source = (architecture.source)(&spec, slot);
                let variable = read(&weights, &source.name, &shape, dtype, device)?;
                Ok((source.name, variable))
            };
            Some(required_slots(&spec).into_iter().map(load).collect::<Result<HashMap<_, _>>>()?)
        };
        let added = added(files, &spec, seed, dtype, device)?;
        Ok(Self { architecture, spec, own, added })
    }

    pub(super) fn hidden(&self) -> usize {
        self.spec.hidden
    }

    /// Names of the encoder's parameters that the decoder shares; none when it has its own.
    pub(super) fn shared(&self) -> Vec<(String, Vec<usize>)> {
        if self.own.is_some() {
            return Vec::new();
        }
        let slots = required_slots(&self.spec).into_iter();
        slots
            .map(|(slot, shape)| (format!("{ENCODER}{}", (self.architecture.source)(&self.spec, slot).name), shape))
            .collect()
    }

    pub(super) fn parameters(&self) -> Parameters {
        let mut parameters = Parameters::new();
        if let Some(own) = &self.own {
            for (slot, _) in required_slots(&self.spec) {
                let name = (self.architecture.source)(&self.spec, slot).name;
                if let Some(variable) = own.get(&name) {
                    // Slots of BERT have distinct names.
                    let _ = parameters.push(format!("{DECODER}{name}"), variable.clone());
                }
            }
        }
        let _ = parameters.extend("", &self.added);
        parameters
    }

    /// Mean of −ln p over all tokens but the first of each sequence: p is what the decoder gives them, having read the
    /// tokens before and the sequence's row of `sentences`.
    pub(super) fn loss(&self, sentences: &Tensor, batch: &Batch, encoder: &Parameters) -> Result<Tensor> {
        let device = sentences.device();
        let (mut ids, mut wanted, mut places, mut rows) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let mut offsets = vec![0];
        for index in 0..batch.len() {
            let sequence = batch.sequence(index);
            let Some(inputs) = sequence.len().checked_sub(1).filter(|&inputs| inputs > 0) else { continue };
            ids.extend_from_slice(&sequence[..inputs]);
            wanted.extend_from_slice(&sequence[1..]);
            #[expect(clippy::cast_possible_truncation, reason = "a batch has fewer than 2³² rows and tokens")]
            {
                places.extend(0..inputs as u32);
                rows.extend(std::iter::repeat_n(index as u32, inputs));
            }
            offsets.push(ids.len());
        }
        if ids.is_empty() {
            return Err(CARD.error("the original texts have no tokens to predict"));
        }
        let limit = self.spec.embeddings.vocabulary;
        if let Some(id) = wanted.iter().chain(&ids).find(|&&id| id as usize >= limit) {
            return Err(CARD.error(format!(
                "token {id} is not in the decoder's vocabulary of {limit}: encoder and decoder must share a tokenizer"
            )));
        }
        let longest = places.iter().max().map_or(0, |&place| place as usize + 1);
        if let PositionSpec::Learned { count, .. } = self.spec.embeddings.positions
            && longest > count
        {
            return Err(CARD.error(format!("a text of {longest} tokens, the decoder has {count} positions")));
        }
        let index = |numbers: Vec<u32>| Tensor::new(numbers, device);
        let sequences = Arc::new(Sequences::new(&offsets, device)?);
        let words = self.slot(Slot::WordEmbedding, encoder)?;
        let rows = index(rows)?;
        let mut x = ops::embedding(&words, &index(ids)?)?;
        let positions = ops::embedding(&self.slot(Slot::PositionEmbedding, encoder)?, &index(places)?)?;
        x = ops::add(&x, &positions)?;
        if self.spec.embeddings.token_types > 0 {
            x = x.broadcast_add(&self.slot(Slot::TokenTypeEmbedding, encoder)?.narrow(0, 0, 1)?)?;
        }
        if let Some(norm) = self.spec.embeddings.norm {
            let [weight, bias] = [Part::Weight, Part::Bias].map(|part| self.slot(Slot::EmbeddingNorm(part), encoder));
            x = ops::norm(&x, &weight?, Some(&bias?), &norm)?;
        }
        for (layer, spec) in self.spec.layers.iter().enumerate() {
            x = self.block(layer, spec, &x, sentences, &rows, &sequences, encoder)?;
        }
        self.head(&x, &words, &wanted)
    }

    #[expect(clippy::too_many_arguments, reason = "what a block reads")]
    fn block(
        &self,
        layer: usize,
        spec: &LayerSpec,
        x: &Tensor,
        sentences: &Tensor,
        rows: &Tensor,
        sequences: &Arc<Sequences>,
        encoder: &Parameters,
    ) -> Result<Tensor> {
        let linear = |x: &Tensor, place: fn(Part) -> LayerSlot| -> Result<Tensor> {
            let [weight, bias] =
                [Part::Weight, Part::Bias].map(|part| self.slot(Slot::Layer { layer, slot: place(part) }, encoder));
            Ok(ops::linear(x, &weight?, Some(&bias?))?)
        };
        let add_norm = |x: &Tensor, y: &Tensor, norm: &NormSpec, place: fn(Part) -> LayerSlot| -> Result<Tensor> {
            let [weight, bias] =
                [Part::Weight, Part::Bias].map(|part| self.slot(Slot::Layer { layer, slot: place(part) }, encoder));
            Ok(ops::add_norm(x, y, &weight?, Some(&bias?), norm)?)
        };
        let norm = spec.attention_norm.unwrap_or(spec.feed_forward_norm);
        // Every token sees those before it.
        let shape = AttentionShape::new(&spec.attention, Arc::clone(sequences), x.dtype());
        let (query, key) = (linear(x, LayerSlot::Query)?, linear(x, LayerSlot::Key)?);
        let value = linear(x, LayerSlot::Value)?;
        let attended = ops::attention(&query, &key, &value, &shape, None, None)?;
        let x = add_norm(x, &linear(&attended, LayerSlot::AttentionOutput)?, &norm, LayerSlot::AttentionNorm)?;
        // And the one sentence vector. Attention over one key is that key's value, whatever query and key are: the
        // original has matrices for those too, whose gradient is 0.
        let cross = |name: &str| self.cross(layer, name);
        let seen = ops::linear(sentences, &cross("self.value.weight")?, Some(&cross("self.value.bias")?))?;
        let seen = ops::linear(&seen, &cross("output.dense.weight")?, Some(&cross("output.dense.bias")?))?;
        let seen = seen.index_select(rows, 0)?;
        let (weight, bias) = (cross("output.LayerNorm.weight")?, cross("output.LayerNorm.bias")?);
        let x = ops::add_norm(&x, &seen, &weight, Some(&bias), &norm)?;
        let inner = ops::activation(&linear(&x, LayerSlot::FeedForwardUp)?, spec.feed_forward.activation)?;
        let fed = linear(&inner, LayerSlot::FeedForwardDown)?;
        add_norm(&x, &fed, &spec.feed_forward_norm, LayerSlot::FeedForwardNorm)
    }

    /// The output layer is the word table, turned.
    fn head(&self, x: &Tensor, words: &Tensor, wanted: &[u32]) -> Result<Tensor> {
        let named = |name: &str| self.added_tensor(&format!("decoder.cls.predictions.{name}"));
        let first = self.spec.layers.first().ok_or_else(|| CARD.error("the decoder has no layers"))?;
        let x = ops::linear(x, &named("transform.dense.weight")?, Some(&named("transform.dense.bias")?))?;
        let x = ops::activation(&x, first.feed_forward.activation)?;
        let (weight, bias) = (named("transform.LayerNorm.weight")?, named("transform.LayerNorm.bias")?);
        let x = ops::norm(&x, &weight, Some(&bias), &first.feed_forward_norm)?;
        super::differentiable::cross_entropy(&ops::linear(&x, words, Some(&named("bias")?))?, wanted)
    }

    /// The tensor of a slot: the encoder's or the decoder's own.
    fn slot(&self, slot: Slot, encoder: &Parameters) -> Result<Tensor> {
        let name = (self.architecture.source)(&self.spec, slot).name;
        let found = match &self.own {
            Some(own) => own.get(&name).map(|variable| variable.as_tensor().clone()),
            None => encoder.get(&format!("{ENCODER}{name}")).map(|found| found.variable().as_tensor().clone()),
        };
        found.ok_or_else(|| CARD.error(format!("the encoder has no parameter '{ENCODER}{name}'")))
    }

    fn cross(&self, layer: usize, name: &str) -> Result<Tensor> {
        self.added_tensor(&format!("{DECODER}encoder.layer.{layer}.crossattention.{name}"))
    }

    fn added_tensor(&self, name: &str) -> Result<Tensor> {
        let found = self.added.get(name).map(|parameter| parameter.variable().as_tensor().clone());
        found.ok_or_else(|| CARD.error(format!("the decoder has no parameter '{name}'")))
    }
}

/// Cross-attention and head: of the checkpoint where it has them, else fresh.
fn added(files: &EncoderFiles, spec: &EncoderSpec, seed: u64, dtype: DType, device: &Device) -> Result<Parameters> {
    let (hidden, vocabulary) = (spec.hidden, spec.embeddings.vocabulary);
    let mut wanted: Vec<(String, Vec<usize>)> = Vec::new();
    for layer in 0..spec.layers.len() {
        for (name, shape) in [
            ("self.value.weight", vec![hidden, hidden]),
            ("self.value.bias", vec![hidden]),
            ("output.dense.weight", vec![hidden, hidden]),
            ("output.dense.bias", vec![hidden]),
            ("output.LayerNorm.weight", vec![hidden]),
            ("output.LayerNorm.bias", vec![hidden]),
        ] {
            wanted.push((format!("bert.encoder.layer.{layer}.crossattention.{name}"), shape));
        }
    }
    for (name, shape) in [
        ("bias", vec![vocabulary]),
        ("transform.dense.weight", vec![hidden, hidden]),
        ("transform.dense.bias", vec![hidden]),
        ("transform.LayerNorm.weight", vec![hidden]),
        ("transform.LayerNorm.bias", vec![hidden]),
    ] {
        wanted.push((format!("cls.predictions.{name}"), shape));
    }
    let checkpoint = files.weights()?;
    let deviation = files.config().get("initializer_range").and_then(serde_json::Value::as_f64).unwrap_or(0.02);
    let mut generator = Generator::new(seed);
    let mut parameters = Parameters::new();
    for (name, shape) in wanted {
        let variable = if checkpoint.contains(&name) {
            read(&checkpoint, &name, &shape, dtype, device)?
        } else {
            let count = shape.iter().product();
            let numbers: Vec<f64> = match shape.len() {
                2 => (0..count).map(|_| deviation * normal(&mut generator)).collect(),
                _ => vec![f64::from(u8::from(name.ends_with("LayerNorm.weight"))); count],
            };
            variable(Tensor::from_vec(numbers, shape, &Device::Cpu)?, dtype, device)?
        };
        parameters.push(format!("decoder.{name}"), variable)?;
    }
    Ok(parameters)
}

/// A standard normal number, of two uniform ones (Box and Muller 1958).
fn normal(generator: &mut Generator) -> f64 {
    let (radius, angle) = (1.0 - f64::from(generator.uniform()), f64::from(generator.uniform()));
    (-2.0 * radius.ln()).sqrt() * (std::f64::consts::TAU * angle).cos()
}

fn read(weights: &Weights, name: &str, shape: &[usize], dtype: DType, device: &Device) -> Result<Var> {
    let stored = weights.tensor(&TensorSource::whole(name), shape)?;
    let numbers = stored.to_f32()?.into_owned();
    variable(Tensor::from_vec(numbers, shape, &Device::Cpu)?, dtype, device)
}

fn variable(tensor: Tensor, dtype: DType, device: &Device) -> Result<Var> {
    Ok(Var::from_tensor(&tensor.to_dtype(dtype)?.to_device(device)?)?)
}
