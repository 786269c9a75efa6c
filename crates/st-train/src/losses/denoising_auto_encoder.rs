use st_encoder::EncoderFiles;

pub(super) use super::denoising_decoder::CARD;
use super::denoising_decoder::Decoder;
use super::differentiable::at_least_f32;
use crate::error::{Result, TrainError};
use crate::loss::{Bound, Described, LossCard, LossValue, Objective, ObjectiveBatch};
use crate::model::{EmbeddingModel, InputKind, Parameters, TrainingPass};

/// Learns embeddings from which a decoder can write the sentence down again: no labelled data is needed.
///
/// # Formula
/// mean over tokens t of all original sentences x, but their first, of −ln p(x_t | x_<t, e(damaged x)). The decoder is the
/// encoder with causal attention and, in each block, attention to the one vector e; and with a language modelling head
/// over the word table. Tied, it shares every weight that both have; cross-attention and head are its own, drawn at random
/// where the checkpoint has none, and left behind after training. It has no dropout, as in the original's trainer.
///
/// # Columns
/// A sentence with some words deleted (60 % in the paper) and the sentence itself. No labels.
///
/// # When to use
/// For sentences of a domain without any labels, before training with a little labelled data. Use CLS pooling. For BERT
/// architectures (BERT, MiniLM, E5, BGE); others are refused.
///
/// # See also
/// [`ContrastiveTensionLoss`](super::ContrastiveTensionLoss) and
/// [`ContrastiveTensionLossInBatchNegatives`](super::ContrastiveTensionLossInBatchNegatives).
///
/// # Reference
/// Wang, Reimers and Gurevych, *TSDAE*, 2021, <https://arxiv.org/abs/2104.06979>.
///
/// ```
/// use sentence_transformers::SentenceTransformer;
/// use st_encoder::EncoderFiles;
/// use st_train::losses::DenoisingAutoEncoderLoss;
/// use st_train::model::{EmbeddingModel, TrainableModel, TrainingOptions, TrainingPass};
/// use st_train::{Objective, ObjectiveBatch, Targets};
///
/// let folder = st_testing::tiny_model("tiny-bert");
/// let library = SentenceTransformer::load(folder.to_string_lossy())?;
/// let model = TrainableModel::new(&library, TrainingOptions::new())?;
/// let loss = DenoisingAutoEncoderLoss::tied(&model, &EncoderFiles::open(folder)?, 42)?;
///
/// let damaged = model.tokenize(&["the lovely".to_owned()], None, None)?;
/// let original = model.tokenize(&["the weather is lovely".to_owned()], None, None)?;
/// let batch = ObjectiveBatch { model: &model, columns: &[damaged, original], targets: &Targets::None };
/// let (value, gradients) = loss.backward(&batch, &mut TrainingPass::evaluation(), 1.0)?;
/// assert!(value.total()?.to_scalar::<f32>()? > 3.0); // it knows nothing yet: ln 248 = 5.5
/// assert!(model.parameters().iter().all(|parameter| gradients.get(parameter.variable()).is_some()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct DenoisingAutoEncoderLoss {
    decoder: Decoder,
}

impl DenoisingAutoEncoderLoss {
    /// With a decoder that shares the encoder's weights (`tie_encoder_decoder`). `files` are those of the model's
    /// transformer, for its sizes and, where the checkpoint has one, its head.
    ///
    /// # Errors
    /// When the architecture has no decoder here, or the model's encoder has other sizes than the files say.
    pub fn tied(model: &dyn EmbeddingModel, files: &EncoderFiles, seed: u64) -> Result<Self> {
        Self::new(model, files, true, seed)
    }

    /// With a decoder of its own weights (`tie_encoder_decoder=False`), which must share the model's tokenizer.
    ///
    /// # Errors
    /// When the architecture has no decoder here, the hidden sizes differ, or its weights cannot be read.
    pub fn untied(model: &dyn EmbeddingModel, files: &EncoderFiles, seed: u64) -> Result<Self> {
        Self::new(model, files, false, seed)
    }

    fn new(model: &dyn EmbeddingModel, files: &EncoderFiles, tied: bool, seed: u64) -> Result<Self> {
        let loss = Self { decoder: Decoder::open(files, tied, seed, model.data_type(), model.device())? };
        loss.check(model)?;
        Ok(loss)
    }
}

impl Described for DenoisingAutoEncoderLoss {
    fn card(&self) -> &'static LossCard {
        &CARD
    }

    fn parameters(&self) -> Parameters {
        self.decoder.parameters()
    }
}

impl Objective for DenoisingAutoEncoderLoss {
    fn check(&self, model: &dyn EmbeddingModel) -> Result<()> {
        if model.input_kind() == InputKind::StaticEmbedding {
            return Err(TrainError::invalid(
                "DenoisingAutoEncoderLoss is not compatible with a SentenceTransformer model based on a StaticEmbedding.",
            ));
        }
        if model.input_kind() == InputKind::Clip {
            return Err(TrainError::invalid(
                "DenoisingAutoEncoderLoss decodes texts with the encoder's blocks, which CLIP's are not.",
            ));
        }
        if model.dimension() != self.decoder.hidden() {
            return Err(TrainError::invalid("Hidden sizes do not match!"));
        }
        for (name, shape) in self.decoder.shared() {
            let found = model.parameters().get(&name).map(|parameter| parameter.variable().dims().to_vec());
            if found.as_deref() != Some(&shape[..]) {
                let found = found.map_or("none".to_owned(), |shape| format!("{shape:?}"));
                return Err(
                    CARD.error(format!("the decoder shares '{name}' of shape {shape:?}, the model has {found}"))
                );
            }
        }
        Ok(())
    }

    fn bind<'a>(&'a self, _: &ObjectiveBatch<'a>, _: &mut TrainingPass) -> Result<Option<Bound<'a>>> {
        Ok(None)
    }

    fn forward(&self, batch: &ObjectiveBatch<'_>, pass: &mut TrainingPass) -> Result<LossValue> {
        let [damaged, original] = batch.columns else {
            return Err(CARD.error(format!("got {} columns, expected 2: {}", batch.columns.len(), CARD.columns)));
        };
        let sentences = batch.model.embed(damaged, pass)?.sentences;
        let value = self.decoder.loss(&sentences, original.batch(), batch.model.parameters())?;
        Ok(LossValue::new(at_least_f32(&value)?))
    }
}
