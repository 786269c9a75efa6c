//! [`Cnn`]: convolutions over token embeddings.

use serde_json::{Map, Value};
use st_encoder::{Pass, TensorSource, TokenEmbeddings, Weights};

use super::dense::dot;
use super::{Dataflow, Feature, Loader, Module, ModuleConfig, ModuleFolder, ModuleKind};
use crate::files::{ModuleWriter, SavedTensor};
use crate::{Features, NewWeights, Result};

/// The row of [`super::MODULES`].
pub(super) const CNN: ModuleKind = ModuleKind {
    name: "CNN",
    aliases: &[],
    type_path: "sentence_transformers.models.CNN",
    load: Loader::Inner(|folder| Ok(Box::new(Cnn::load(folder)?))),
};

/// The configuration file.
const CONFIG_FILE: &str = "cnn_config.json";
/// The kernel sizes of the original's constructor.
const KERNEL_SIZES: [usize; 3] = [1, 3, 5];

/// Convolutions of several widths over the tokens of each text, their results side by side (Kim 2014).
///
/// # Formula
/// For a kernel of `k` tokens: `yₜ = b + Σⱼ Wⱼ·xₜ₊ⱼ₋ₚ` over `j = 0 … k − 1`, with `p = (k − 1)/2` and zero vectors in
/// front of the text and behind it.
///
/// Every text is convolved alone. The original convolves padded batches, so that behind a text that is shorter than the
/// longest of its batch stand the vectors of padding tokens instead of zeros; the result here is the one that it gives for
/// a text alone.
///
/// # Shapes
/// `[T, in]` per text to `[T, channels·kernels]`.
///
/// # Files
/// `cnn_config.json` with `in_word_embedding_dimension`, `out_channels` (256) and `kernel_sizes` (`[1, 3, 5]`);
/// `convs.0.weight` `[channels, in, k]`, `convs.0.bias` `[channels]`, and so on.
#[derive(Debug, Clone, PartialEq)]
pub struct Cnn {
    input: usize,
    channels: usize,
    convolutions: Vec<Convolution>,
}

#[derive(Debug, Clone, PartialEq)]
struct Convolution {
    size: usize,
    /// `[k, channels, in]`, so that a token meets rows of weights.
    weight: Vec<f32>,
    bias: Vec<f32>,
}

impl Cnn {
    fn load(folder: &ModuleFolder) -> Result<Self> {
        let mut config = ModuleConfig::read(folder.file(CONFIG_FILE))?;
        let input = config.size(&["in_word_embedding_dimension", "in_embedding_dimension"])?;
        let channels = config.optional_size(&["out_channels"])?.unwrap_or(256);
        let sizes = match config.value(&["kernel_sizes"]) {
            None => KERNEL_SIZES.to_vec(),
            Some(value) => {
                let odd = |size: &Value| size.as_u64().filter(|size| size % 2 == 1 && *size < 1 << 16);
                let sizes: Option<Vec<usize>> = value
                    .as_array()
                    .filter(|sizes| !sizes.is_empty() && sizes.len() <= 64)
                    .and_then(|sizes| sizes.iter().map(|size| Some(odd(size)? as usize)).collect());
                sizes.ok_or_else(|| {
                    config
                        .error("'kernel_sizes' should be a list of odd numbers")
                        .with_hint("a kernel of even size gives one vector fewer than there are tokens")
                })?
            }
        };
        config.finish()?;
        let weights = Weights::open(&folder.folder())?;
        let read = |name: String, shape: &[usize]| -> Result<Vec<f32>> {
            Ok(weights.tensor(&TensorSource::whole(name), shape)?.to_f32()?.into_owned())
        };
        let mut convolutions = Vec::with_capacity(sizes.len());
        for (number, size) in sizes.into_iter().enumerate() {
            let stored = read(format!("convs.{number}.weight"), &[channels, input, size])?;
            let bias = read(format!("convs.{number}.bias"), &[channels])?;
            let weight = into_taps(&stored, size);
            convolutions.push(Convolution { size, weight, bias });
        }
        Ok(Self { input, channels, convolutions })
    }

    fn width(&self) -> usize {
        self.channels * self.convolutions.len()
    }

    /// Convolves the rows of one text into the rows of `out`.
    fn run(&self, rows: &[f32], out: &mut [f32]) {
        let count = rows.len() / self.input;
        for (token, out) in out.chunks_exact_mut(self.width()).enumerate() {
            for (convolution, out) in self.convolutions.iter().zip(out.chunks_exact_mut(self.channels)) {
                out.copy_from_slice(&convolution.bias);
                let padding = (convolution.size - 1) / 2;
                for (tap, weight) in convolution.weight.chunks_exact(self.channels * self.input).enumerate() {
                    let Some(at) = (token + tap).checked_sub(padding).filter(|&at| at < count) else { continue };
                    let row = &rows[at * self.input..][..self.input];
                    for (sum, weight) in out.iter_mut().zip(weight.chunks_exact(self.input)) {
                        *sum += dot(row, weight);
                    }
                }
            }
        }
    }
}

/// From `[channels, input, size]`, as files have it, to `[size, channels, input]`.
fn into_taps(stored: &[f32], size: usize) -> Vec<f32> {
    let mut weight = vec![0f32; stored.len()];
    let rows = stored.len() / size;
    for (row, taps) in stored.chunks_exact(size).enumerate() {
        for (tap, x) in taps.iter().enumerate() {
            weight[tap * rows + row] = *x;
        }
    }
    weight
}

/// The way back.
fn from_taps(weight: &[f32], size: usize) -> Vec<f32> {
    let mut stored = vec![0f32; weight.len()];
    let rows = weight.len() / size;
    for (row, taps) in stored.chunks_exact_mut(size).enumerate() {
        for (tap, x) in taps.iter_mut().enumerate() {
            *x = weight[tap * rows + row];
        }
    }
    stored
}

impl Module for Cnn {
    fn kind(&self) -> &'static ModuleKind {
        &CNN
    }

    fn dataflow(&self) -> Dataflow {
        Dataflow { needs: Feature::TokenEmbeddings, gives: Feature::TokenEmbeddings }
    }

    fn forward(&self, mut features: Features, _: &Pass) -> Result<Features> {
        let tokens = features.take_tokens()?;
        let width = self.width();
        let mut data = vec![0f32; tokens.data().len() / self.input * width];
        for (index, pair) in tokens.offsets().windows(2).enumerate() {
            self.run(tokens.sequence(index), &mut data[pair[0] * width..pair[1] * width]);
        }
        features.token_embeddings = Some(TokenEmbeddings::new(data, width, tokens.offsets().to_vec())?);
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
        for (number, Convolution { size, weight, bias }) in self.convolutions.iter().enumerate() {
            let shape = [self.channels, self.input, *size];
            tensors.push(SavedTensor::new(format!("convs.{number}.weight"), shape, from_taps(weight, *size)));
            tensors.push(SavedTensor::new(format!("convs.{number}.bias"), [self.channels], &bias[..]));
        }
        Ok(tensors)
    }

    fn with_weights(&self, path: &str, weights: &mut NewWeights) -> Result<Box<dyn Module>> {
        let mut new = self.clone();
        for (number, convolution) in new.convolutions.iter_mut().enumerate() {
            let shape = [self.channels, self.input, convolution.size];
            if let Some(numbers) = weights.take(&format!("{path}convs.{number}.weight"), &shape)? {
                convolution.weight = into_taps(&numbers, convolution.size);
            }
            if let Some(numbers) = weights.take(&format!("{path}convs.{number}.bias"), &shape[..1])? {
                convolution.bias = numbers;
            }
        }
        Ok(Box::new(new))
    }

    fn config(&self) -> Map<String, Value> {
        let sizes: Vec<usize> = self.convolutions.iter().map(|convolution| convolution.size).collect();
        [
            ("in_word_embedding_dimension".to_owned(), self.input.into()),
            ("out_channels".to_owned(), self.channels.into()),
            ("kernel_sizes".to_owned(), sizes.into()),
        ]
        .into_iter()
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_by_hand() {
        // One channel, one component: y = 0.5 + 2·before + 3·here + 4·behind; and y = −x.
        let three = Convolution { size: 3, weight: vec![2.0, 3.0, 4.0], bias: vec![0.5] };
        let one = Convolution { size: 1, weight: vec![-1.0], bias: vec![0.0] };
        let cnn = Cnn { input: 1, channels: 1, convolutions: vec![three, one] };
        let mut out = [0f32; 6];
        cnn.run(&[1.0, 10.0, 100.0], &mut out);
        assert_eq!(out, [43.5, -1.0, 432.5, -10.0, 320.5, -100.0]);
        let mut alone = [0f32; 2];
        cnn.run(&[1.0], &mut alone);
        assert_eq!(alone, [3.5, -1.0]);
    }
}
