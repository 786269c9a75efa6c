//! Losses by name, with the settings that the original's constructors have.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::DType;
use sentence_transformers::encoder::EncoderFiles;
use serde_json::{Map, Value};
use st_train::losses::{
    AdaptiveLayerLoss, AngleLoss, BatchAllTripletLoss, BatchDistance, BatchHardSoftMarginTripletLoss,
    BatchHardTripletLoss, BatchSemiHardTripletLoss, CachedGistEmbedLoss, CachedMultipleNegativesRankingLoss,
    CachedMultipleNegativesSymmetricRankingLoss, CoSentLoss, ContrastiveLoss, ContrastiveTensionLoss,
    ContrastiveTensionLossInBatchNegatives, CosineSimilarityLoss, DenoisingAutoEncoderLoss, DistillKlDivLoss,
    GistEmbedLoss, GistMargin, GistSettings, LOSSES, MarginMseLoss, Matryoshka2dLoss, MatryoshkaLoss,
    MegaBatchMarginLoss, MseLoss, MultipleNegativesRankingLoss, MultipleNegativesSymmetricRankingLoss,
    OnlineContrastiveLoss, PairRegression, PairwiseSimilarity, ScoreTransformation, SiameseDistanceMetric, Similarity,
    SoftmaxLoss, TripletDistanceMetric, TripletLoss,
};
use st_train::model::EmbeddingModel;
use st_train::{Objective, TrainError};

use super::settings::Settings;
use crate::failure::{Failure, Result};

/// What losses are made from besides their settings.
pub(super) struct LossContext<'a> {
    pub(super) model: &'a dyn EmbeddingModel,
    pub(super) seed: u64,
    /// The folder that the model was loaded from.
    pub(super) folder: &'a Path,
    /// Labels of the training data, where they are classes.
    pub(super) classes: Option<usize>,
    /// Loads a guide.
    pub(super) guide: &'a dyn Fn(&str) -> Result<Arc<dyn EmbeddingModel>>,
}

type Build = fn(&mut Settings, &LossContext<'_>) -> Result<Box<dyn Objective>>;

/// How each loss of [`LOSSES`] is made, by the name that it has there.
const BUILDERS: &[(&str, Build)] = &[
    ("CosineSimilarityLoss", cosine_similarity),
    ("CoSENTLoss", cosent),
    ("AnglELoss", angle),
    ("SoftmaxLoss", softmax),
    ("ContrastiveLoss", contrastive),
    ("OnlineContrastiveLoss", online_contrastive),
    ("MultipleNegativesRankingLoss", ranking),
    ("MultipleNegativesSymmetricRankingLoss", symmetric_ranking),
    ("CachedMultipleNegativesRankingLoss", cached_ranking),
    ("CachedMultipleNegativesSymmetricRankingLoss", cached_symmetric_ranking),
    ("GISTEmbedLoss", gist),
    ("CachedGISTEmbedLoss", cached_gist),
    ("TripletLoss", triplet),
    ("BatchHardTripletLoss", batch_hard),
    ("BatchHardSoftMarginTripletLoss", batch_hard_soft),
    ("BatchSemiHardTripletLoss", batch_semi_hard),
    ("BatchAllTripletLoss", batch_all),
    ("MarginMSELoss", margin_mse),
    ("DistillKLDivLoss", distill),
    ("MSELoss", mse),
    ("MegaBatchMarginLoss", mega_batch),
    ("DenoisingAutoEncoderLoss", denoising),
    ("ContrastiveTensionLoss", contrastive_tension),
    ("ContrastiveTensionLossInBatchNegatives", contrastive_tension_in_batch),
    ("MatryoshkaLoss", matryoshka),
    ("AdaptiveLayerLoss", adaptive_layer),
    ("Matryoshka2dLoss", matryoshka_2d),
];

/// The name of a loss in [`LOSSES`], from that name or an alias in whatever case.
pub(super) fn known_name(name: &str) -> Result<&'static str> {
    LOSSES.iter().find(|card| card.answers_to(name)).map(|card| card.name).ok_or_else(|| {
        let known: Vec<&str> = LOSSES.iter().map(|card| card.name).collect();
        Failure::usage(format!("there is no loss {name:?}")).with_hint(format!("the losses are {}", known.join(", ")))
    })
}

/// A loss as a configuration has it: its name, or a table with `name` and settings.
pub(super) fn build(value: &Value, context: &LossContext<'_>) -> Result<Box<dyn Objective>> {
    let (name, mut entries) = match value {
        Value::String(name) => (name.clone(), Map::new()),
        Value::Object(entries) => {
            let mut entries = entries.clone();
            match entries.remove("name") {
                Some(Value::String(name)) => (name, entries),
                _ => return Err(Failure::usage("a loss has no name").with_hint("give it with the key `name`")),
            }
        }
        other => return Err(Failure::usage(format!("a loss is a name or a table, not {other}"))),
    };
    entries.retain(|_, value| !value.is_null());
    let name = known_name(&name)?;
    let builder = BUILDERS.iter().find(|(known, _)| *known == name);
    let (_, builder) = builder.ok_or_else(|| Failure::usage(format!("{name} cannot be named in a configuration")))?;
    let mut settings = Settings::new(name, entries);
    let loss = builder(&mut settings, context)?;
    settings.finish()?;
    Ok(loss)
}

const SIMILARITIES: &[(&str, Similarity)] = &[
    ("cos_sim", Similarity::Cosine),
    ("cosine", Similarity::Cosine),
    ("dot_score", Similarity::Dot),
    ("dot", Similarity::Dot),
    ("euclidean_sim", Similarity::Euclidean),
    ("euclidean", Similarity::Euclidean),
    ("manhattan_sim", Similarity::Manhattan),
    ("manhattan", Similarity::Manhattan),
];

const PAIR_SIMILARITIES: &[(&str, PairwiseSimilarity)] = &[
    ("pairwise_cos_sim", PairwiseSimilarity::Cosine),
    ("cosine", PairwiseSimilarity::Cosine),
    ("pairwise_dot_score", PairwiseSimilarity::Dot),
    ("dot", PairwiseSimilarity::Dot),
    ("pairwise_euclidean_sim", PairwiseSimilarity::Euclidean),
    ("euclidean", PairwiseSimilarity::Euclidean),
    ("pairwise_manhattan_sim", PairwiseSimilarity::Manhattan),
    ("manhattan", PairwiseSimilarity::Manhattan),
    ("pairwise_angle_sim", PairwiseSimilarity::Angle),
    ("angle", PairwiseSimilarity::Angle),
];

const BATCH_DISTANCES: &[(&str, BatchDistance)] = &[
    ("eucledian_distance", BatchDistance::Euclidean),
    ("euclidean", BatchDistance::Euclidean),
    ("squared_euclidean", BatchDistance::SquaredEuclidean),
    ("cosine_distance", BatchDistance::Cosine),
    ("cosine", BatchDistance::Cosine),
];

const SIAMESE_DISTANCES: &[(&str, SiameseDistanceMetric)] = &[
    ("cosine_distance", SiameseDistanceMetric::CosineDistance),
    ("euclidean", SiameseDistanceMetric::Euclidean),
    ("manhattan", SiameseDistanceMetric::Manhattan),
];

fn cosine_similarity(settings: &mut Settings, _: &LossContext<'_>) -> Result<Box<dyn Objective>> {
    let regressions = [("MSELoss", PairRegression::MeanSquared), ("L1Loss", PairRegression::MeanAbsolute)];
    let transformations = [
        ("Identity", ScoreTransformation::Identity),
        ("Sigmoid", ScoreTransformation::Sigmoid),
        ("ReLU", ScoreTransformation::Relu),
        ("Tanh", ScoreTransformation::Tanh),
    ];
    let loss = CosineSimilarityLoss::new()
        .regression(settings.choice("loss_fct", &regressions, PairRegression::default())?)
        .transformation(settings.choice(
            "cos_score_transformation",
            &transformations,
            ScoreTransformation::default(),
        )?);
    Ok(Box::new(loss))
}

fn cosent(settings: &mut Settings, _: &LossContext<'_>) -> Result<Box<dyn Objective>> {
    let loss = CoSentLoss::new().scale(settings.number("scale", 20.0)?);
    let similarity = settings.choice("similarity_fct", PAIR_SIMILARITIES, PairwiseSimilarity::Cosine)?;
    Ok(Box::new(loss.similarity(similarity)))
}

fn angle(settings: &mut Settings, _: &LossContext<'_>) -> Result<Box<dyn Objective>> {
    Ok(Box::new(AngleLoss::new().scale(settings.number("scale", 20.0)?)))
}

fn softmax(settings: &mut Settings, context: &LossContext<'_>) -> Result<Box<dyn Objective>> {
    let labels = settings.count("num_labels")?.or(context.classes).ok_or_else(|| {
        Failure::usage("SoftmaxLoss does not know how many labels there are")
            .with_hint("set num_labels, or train on data with a column `label` of whole numbers")
    })?;
    let parts = [
        settings.flag("concatenation_sent_rep", true)?,
        settings.flag("concatenation_sent_difference", true)?,
        settings.flag("concatenation_sent_multiplication", false)?,
    ];
    let (dimension, device) = (context.model.dimension(), context.model.device());
    Ok(Box::new(SoftmaxLoss::with_parts(dimension, labels, parts, context.seed, DType::F32, device)?))
}

fn contrastive(settings: &mut Settings, _: &LossContext<'_>) -> Result<Box<dyn Objective>> {
    let loss = ContrastiveLoss::new()
        .metric(settings.choice("distance_metric", SIAMESE_DISTANCES, SiameseDistanceMetric::default())?)
        .margin(settings.number("margin", 0.5)?)
        .average(settings.flag("size_average", true)?);
    Ok(Box::new(loss))
}

fn online_contrastive(settings: &mut Settings, _: &LossContext<'_>) -> Result<Box<dyn Objective>> {
    let loss = OnlineContrastiveLoss::new()
        .metric(settings.choice("distance_metric", SIAMESE_DISTANCES, SiameseDistanceMetric::default())?)
        .margin(settings.number("margin", 0.5)?);
    Ok(Box::new(loss))
}

fn plain_ranking(settings: &mut Settings) -> Result<MultipleNegativesRankingLoss> {
    let loss = MultipleNegativesRankingLoss::new().scale(settings.number("scale", 20.0)?);
    Ok(loss.similarity(settings.choice("similarity_fct", SIMILARITIES, Similarity::Cosine)?))
}

fn plain_symmetric_ranking(settings: &mut Settings) -> Result<MultipleNegativesSymmetricRankingLoss> {
    let loss = MultipleNegativesSymmetricRankingLoss::new().scale(settings.number("scale", 20.0)?);
    Ok(loss.similarity(settings.choice("similarity_fct", SIMILARITIES, Similarity::Cosine)?))
}

fn ranking(settings: &mut Settings, _: &LossContext<'_>) -> Result<Box<dyn Objective>> {
    Ok(Box::new(plain_ranking(settings)?))
}

fn symmetric_ranking(settings: &mut Settings, _: &LossContext<'_>) -> Result<Box<dyn Objective>> {
    Ok(Box::new(plain_symmetric_ranking(settings)?))
}

fn mini_batch_size(settings: &mut Settings) -> Result<usize> {
    Ok(settings.count("mini_batch_size")?.unwrap_or(32))
}

fn cached_ranking(settings: &mut Settings, _: &LossContext<'_>) -> Result<Box<dyn Objective>> {
    let size = mini_batch_size(settings)?;
    Ok(Box::new(CachedMultipleNegativesRankingLoss::new(plain_ranking(settings)?, size)?))
}

fn cached_symmetric_ranking(settings: &mut Settings, _: &LossContext<'_>) -> Result<Box<dyn Objective>> {
    let size = mini_batch_size(settings)?;
    Ok(Box::new(CachedMultipleNegativesSymmetricRankingLoss::new(plain_symmetric_ranking(settings)?, size)?))
}

/// The guide's name and the guide, and the settings of a guided loss.
fn guided(
    settings: &mut Settings,
    context: &LossContext<'_>,
) -> Result<(String, Arc<dyn EmbeddingModel>, GistSettings)> {
    let name = settings
        .text("guide")?
        .ok_or_else(|| Failure::usage("a guided loss has no guide").with_hint("name a model with the key `guide`"))?;
    let usual = GistSettings::default();
    let strategy = settings.text("margin_strategy")?.unwrap_or_else(|| "absolute".to_owned());
    let gist = GistSettings {
        temperature: settings.number("temperature", usual.temperature)?,
        margin: GistMargin::named(&strategy, settings.number("margin", 0.0)?)?,
        contrast_anchors: settings.flag("contrast_anchors", usual.contrast_anchors)?,
        contrast_positives: settings.flag("contrast_positives", usual.contrast_positives)?,
    };
    let guide = (context.guide)(&name)?;
    Ok((name, guide, gist))
}

fn gist(settings: &mut Settings, context: &LossContext<'_>) -> Result<Box<dyn Objective>> {
    let (name, guide, gist) = guided(settings, context)?;
    Ok(Box::new(GistEmbedLoss::new(guide).guide_name(&name).settings(gist)))
}

fn cached_gist(settings: &mut Settings, context: &LossContext<'_>) -> Result<Box<dyn Objective>> {
    let size = mini_batch_size(settings)?;
    let (name, guide, gist) = guided(settings, context)?;
    Ok(Box::new(CachedGistEmbedLoss::new(guide, size)?.guide_name(&name).settings(gist)))
}

fn triplet(settings: &mut Settings, _: &LossContext<'_>) -> Result<Box<dyn Objective>> {
    let metrics = [
        ("euclidean", TripletDistanceMetric::Euclidean),
        ("cosine", TripletDistanceMetric::Cosine),
        ("manhattan", TripletDistanceMetric::Manhattan),
    ];
    let loss = TripletLoss::new()
        .metric(settings.choice("distance_metric", &metrics, TripletDistanceMetric::default())?)
        .margin(settings.number("triplet_margin", 5.0)?);
    Ok(Box::new(loss))
}

fn batch_distance(settings: &mut Settings) -> Result<BatchDistance> {
    settings.choice("distance_metric", BATCH_DISTANCES, BatchDistance::default())
}

fn batch_hard(settings: &mut Settings, _: &LossContext<'_>) -> Result<Box<dyn Objective>> {
    let loss = BatchHardTripletLoss::new().distance(batch_distance(settings)?);
    Ok(Box::new(loss.margin(settings.number("margin", 5.0)?)))
}

fn batch_hard_soft(settings: &mut Settings, _: &LossContext<'_>) -> Result<Box<dyn Objective>> {
    Ok(Box::new(BatchHardSoftMarginTripletLoss::new().distance(batch_distance(settings)?)))
}

fn batch_semi_hard(settings: &mut Settings, _: &LossContext<'_>) -> Result<Box<dyn Objective>> {
    let loss = BatchSemiHardTripletLoss::new().distance(batch_distance(settings)?);
    Ok(Box::new(loss.margin(settings.number("margin", 5.0)?)))
}

fn batch_all(settings: &mut Settings, _: &LossContext<'_>) -> Result<Box<dyn Objective>> {
    let loss = BatchAllTripletLoss::new().distance(batch_distance(settings)?);
    Ok(Box::new(loss.margin(settings.number("margin", 5.0)?)))
}

fn margin_mse(settings: &mut Settings, _: &LossContext<'_>) -> Result<Box<dyn Objective>> {
    let similarity = settings.choice("similarity_fct", PAIR_SIMILARITIES, PairwiseSimilarity::Dot)?;
    Ok(Box::new(MarginMseLoss::new().similarity(similarity)))
}

fn distill(settings: &mut Settings, _: &LossContext<'_>) -> Result<Box<dyn Objective>> {
    let similarity = settings.choice("similarity_fct", PAIR_SIMILARITIES, PairwiseSimilarity::Dot)?;
    let loss = DistillKlDivLoss::new().similarity(similarity);
    Ok(Box::new(loss.temperature(settings.number("temperature", 1.0)?)?))
}

fn mse(_: &mut Settings, _: &LossContext<'_>) -> Result<Box<dyn Objective>> {
    Ok(Box::new(MseLoss::new()))
}

fn mega_batch(settings: &mut Settings, _: &LossContext<'_>) -> Result<Box<dyn Objective>> {
    let (positive, negative) = (settings.number("positive_margin", 0.8)?, settings.number("negative_margin", 0.3)?);
    let mini_batches = settings.flag("use_mini_batched_version", true)?;
    let size = settings.count("mini_batch_size")?.unwrap_or(50);
    let loss = MegaBatchMarginLoss::new().positive_margin(positive).negative_margin(negative);
    Ok(Box::new(loss.mini_batches(mini_batches.then_some(size))?))
}

fn denoising(settings: &mut Settings, context: &LossContext<'_>) -> Result<Box<dyn Objective>> {
    let tied = settings.flag("tie_encoder_decoder", true)?;
    let folder = match settings.text("decoder_name_or_path")? {
        Some(path) => PathBuf::from(path),
        // Folders of old versions keep the encoder in one of its own.
        None => {
            let own = context.folder.join("0_Transformer");
            if own.is_dir() { own } else { context.folder.to_owned() }
        }
    };
    let files = EncoderFiles::open(&folder).map_err(TrainError::from)?;
    let make = if tied { DenoisingAutoEncoderLoss::tied } else { DenoisingAutoEncoderLoss::untied };
    Ok(Box::new(make(context.model, &files, context.seed)?))
}

fn contrastive_tension(_: &mut Settings, context: &LossContext<'_>) -> Result<Box<dyn Objective>> {
    Ok(Box::new(ContrastiveTensionLoss::new(context.model)?))
}

fn contrastive_tension_in_batch(settings: &mut Settings, context: &LossContext<'_>) -> Result<Box<dyn Objective>> {
    let loss = ContrastiveTensionLossInBatchNegatives::new(context.model, settings.number("scale", 20.0)?)?;
    Ok(Box::new(loss.similarity(settings.choice("similarity_fct", SIMILARITIES, Similarity::Cosine)?)))
}

/// The loss that another one is built around.
fn inner(settings: &mut Settings, context: &LossContext<'_>) -> Result<Box<dyn Objective>> {
    let value = settings.take("loss").ok_or_else(|| {
        Failure::usage("a loss around another one has no inner loss").with_hint("give it with the key `loss`")
    })?;
    build(&value, context)
}

fn with_dimensions(
    settings: &mut Settings,
    context: &LossContext<'_>,
    per_step: Option<usize>,
) -> Result<MatryoshkaLoss> {
    let dims = settings.counts("matryoshka_dims")?.unwrap_or_default();
    let mut loss = MatryoshkaLoss::new(inner(settings, context)?, &dims)?;
    if let Some(weights) = settings.numbers("matryoshka_weights")? {
        loss = loss.weights(&weights)?;
    }
    Ok(loss.dims_per_step(settings.count_or_all("n_dims_per_step")?.or(per_step)))
}

fn matryoshka(settings: &mut Settings, context: &LossContext<'_>) -> Result<Box<dyn Objective>> {
    Ok(Box::new(with_dimensions(settings, context, None)?))
}

/// The settings of the layers: one of the prior layers per step unless set otherwise.
struct Layers {
    per_step: Option<usize>,
    last: f64,
    prior: f64,
    divergence: f64,
    temperature: f64,
}

impl Layers {
    fn take(settings: &mut Settings) -> Result<Self> {
        let per_step = match settings.take("n_layers_per_step") {
            None => Some(1),
            Some(value) => match value.as_i64() {
                Some(number) => usize::try_from(number).ok(),
                None => return Err(settings.wrong("n_layers_per_step", &value, "a whole number")),
            },
        };
        Ok(Self {
            per_step,
            last: settings.number("last_layer_weight", 1.0)?,
            prior: settings.number("prior_layers_weight", 1.0)?,
            divergence: settings.number("kl_div_weight", 1.0)?,
            temperature: settings.number("kl_temperature", 0.3)?,
        })
    }

    fn apply(&self, loss: AdaptiveLayerLoss) -> AdaptiveLayerLoss {
        loss.layers_per_step(self.per_step)
            .last_layer_weight(self.last)
            .prior_layers_weight(self.prior)
            .kl_div_weight(self.divergence)
            .kl_temperature(self.temperature)
    }
}

fn adaptive_layer(settings: &mut Settings, context: &LossContext<'_>) -> Result<Box<dyn Objective>> {
    let layers = Layers::take(settings)?;
    Ok(Box::new(layers.apply(AdaptiveLayerLoss::new(inner(settings, context)?))))
}

fn matryoshka_2d(settings: &mut Settings, context: &LossContext<'_>) -> Result<Box<dyn Objective>> {
    let layers = Layers::take(settings)?;
    let dimensions = with_dimensions(settings, context, Some(1))?;
    Ok(Box::new(Matryoshka2dLoss::new(dimensions, |loss| layers.apply(loss))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_loss_of_the_table_can_be_made() {
        for card in LOSSES {
            assert!(BUILDERS.iter().any(|(name, _)| *name == card.name), "{} has no builder", card.name);
        }
        assert_eq!(BUILDERS.len(), LOSSES.len());
        assert_eq!(known_name("mnrl").unwrap(), "MultipleNegativesRankingLoss");
        assert!(known_name("HingeLoss").unwrap_err().to_string().contains("hint: the losses are CosineSimilarityLoss"));
    }
}
