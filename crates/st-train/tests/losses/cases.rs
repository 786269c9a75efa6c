//! Reads `fixtures/losses.json`, and makes what its cases describe.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor};
use serde_json::{Map, Value};
use st_train::losses::*;
use st_train::model::{Column, InputKind, TrainingPass};
use st_train::{LossValue, Objective, ObjectiveBatch, Targets};

use crate::stub_model::{StubModel, shared};

pub(crate) const ROWS: usize = 6;

pub(crate) struct Golden {
    pub(crate) data: Map<String, Value>,
    pub(crate) cases: Vec<Value>,
}

impl Golden {
    pub(crate) fn read() -> Self {
        let text = std::fs::read_to_string(st_testing::fixture_path("losses.json")).unwrap();
        let mut file: Map<String, Value> = serde_json::from_str(&text).unwrap();
        let Value::Array(cases) = file.remove("cases").unwrap() else { panic!("cases is no list") };
        let Value::Object(data) = file.remove("data").unwrap() else { panic!("data is no object") };
        Self { data, cases }
    }

    pub(crate) fn tensor(&self, name: &str, data_type: DType) -> Tensor {
        let (values, shape) = flat(&self.data[name]);
        Tensor::from_vec(values, shape, &Device::Cpu).unwrap().to_dtype(data_type).unwrap()
    }

    pub(crate) fn targets(&self, name: Option<&str>, data_type: DType) -> Targets {
        let Some(name) = name else { return Targets::None };
        let (values, shape) = flat(&self.data[name]);
        match (shape.len(), self.data[name][0].is_i64()) {
            (2, _) => Targets::Matrix(self.tensor(name, data_type)),
            (_, true) => Targets::Classes(values.into_iter().map(|value| value as i64).collect()),
            (_, false) => Targets::Scores(values),
        }
    }
}

/// Numbers of nested lists, and their shape.
pub(crate) fn flat(value: &Value) -> (Vec<f64>, Vec<usize>) {
    match value {
        Value::Array(list) => {
            let parts: Vec<_> = list.iter().map(flat).collect();
            let mut shape = vec![list.len()];
            shape.extend(&parts[0].1);
            (parts.into_iter().flat_map(|part| part.0).collect(), shape)
        }
        number => (vec![number.as_f64().unwrap()], vec![]),
    }
}

/// A case as it runs: the model's rows are those of the columns, one after the other.
pub(crate) struct Run {
    pub(crate) objective: Box<dyn Objective>,
    pub(crate) model: StubModel,
    pub(crate) columns: Vec<Column>,
    pub(crate) targets: Targets,
    /// Names of what has a gradient, per layer and column.
    pub(crate) names: Vec<Vec<String>>,
}

impl Run {
    pub(crate) fn new(golden: &Golden, case: &Value, data_type: DType) -> Self {
        let columns: Vec<&str> =
            case["columns"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
        let layered = case["gradients"].get("a_0").is_some();
        let names: Vec<Vec<String>> = if layered {
            (0..4).map(|layer| columns.iter().map(|column| format!("{column}_{layer}")).collect()).collect()
        } else {
            vec![columns.iter().map(|column| (*column).to_owned()).collect()]
        };
        let tables: Vec<Tensor> = names
            .iter()
            .map(|names| {
                let parts: Vec<Tensor> = names.iter().map(|name| golden.tensor(name, data_type)).collect();
                Tensor::cat(&parts, 0).unwrap()
            })
            .collect();
        let model = StubModel::new(&tables, InputKind::Transformer);
        let rows = |index: usize| (index * ROWS) as u32..((index + 1) * ROWS) as u32;
        Self {
            objective: objective(golden, case, &model, &columns, data_type),
            columns: (0..columns.len()).map(|index| StubModel::column(rows(index))).collect(),
            model,
            targets: golden.targets(case["labels"].as_str(), data_type),
            names,
        }
    }

    pub(crate) fn batch(&self) -> ObjectiveBatch<'_> {
        ObjectiveBatch { model: &self.model, columns: &self.columns, targets: &self.targets }
    }

    pub(crate) fn value(&self) -> f64 {
        total(&self.objective.forward(&self.batch(), &mut TrainingPass::evaluation()).unwrap())
    }

    /// The value, and the gradients by name.
    pub(crate) fn gradients(&self) -> (f64, BTreeMap<String, Vec<f64>>) {
        let (value, gradients) = self.objective.backward(&self.batch(), &mut TrainingPass::evaluation(), 1.0).unwrap();
        let mut all = BTreeMap::new();
        let mut owned = self.objective.parameters();
        owned.extend("", st_train::model::EmbeddingModel::parameters(&self.model)).unwrap();
        for parameter in owned.iter() {
            let name = parameter.name();
            let found = match gradients.get(parameter.variable()) {
                Some(gradient) => numbers(gradient),
                None => vec![0.0; parameter.variable().elem_count()],
            };
            let Some((_, layer)) = name.split_once("layer.") else {
                all.insert(name.to_owned(), found);
                continue;
            };
            // Of the model, and of the copy that contrastive tension makes.
            let names = &self.names[layer.parse::<usize>().unwrap()];
            for (column, part) in names.iter().zip(found.chunks(found.len() / names.len())) {
                let sum = all.entry(column.clone()).or_insert_with(|| vec![0.0; part.len()]);
                sum.iter_mut().zip(part).for_each(|(sum, number)| *sum += number);
            }
        }
        (total(&value), all)
    }
}

pub(crate) fn total(value: &LossValue) -> f64 {
    numbers(&value.total().unwrap())[0]
}

pub(crate) fn numbers(tensor: &Tensor) -> Vec<f64> {
    tensor.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

pub(crate) fn pairwise(case: &Value) -> PairwiseSimilarity {
    match case["similarity"].as_str().unwrap() {
        "cosine" => PairwiseSimilarity::Cosine,
        "dot" => PairwiseSimilarity::Dot,
        "euclidean" => PairwiseSimilarity::Euclidean,
        "manhattan" => PairwiseSimilarity::Manhattan,
        other => panic!("{other}"),
    }
}

fn matrix(case: &Value) -> Similarity {
    match case["similarity"].as_str().unwrap() {
        "cosine" => Similarity::Cosine,
        "dot" => Similarity::Dot,
        "euclidean" => Similarity::Euclidean,
        "manhattan" => Similarity::Manhattan,
        other => panic!("{other}"),
    }
}

fn siamese(case: &Value) -> SiameseDistanceMetric {
    match case["metric"].as_str().unwrap() {
        "EUCLIDEAN" => SiameseDistanceMetric::Euclidean,
        "MANHATTAN" => SiameseDistanceMetric::Manhattan,
        "COSINE_DISTANCE" => SiameseDistanceMetric::CosineDistance,
        other => panic!("{other}"),
    }
}

fn batch_distance(case: &Value) -> BatchDistance {
    match case["distance"].as_str().unwrap() {
        "euclidean" => BatchDistance::Euclidean,
        "squared" => BatchDistance::SquaredEuclidean,
        "cosine" => BatchDistance::Cosine,
        other => panic!("{other}"),
    }
}

fn gist(case: &Value) -> GistSettings {
    let given = &case["settings"];
    let margin = given["margin"].as_f64().unwrap_or(0.0);
    GistSettings {
        temperature: given["temperature"].as_f64().unwrap_or(0.01),
        margin: GistMargin::named(given["margin_strategy"].as_str().unwrap_or("absolute"), margin).unwrap(),
        contrast_anchors: given["contrast_anchors"].as_bool().unwrap_or(true),
        contrast_positives: given["contrast_positives"].as_bool().unwrap_or(true),
    }
}

fn matryoshka(case: &Value, inner: impl Objective + 'static) -> MatryoshkaLoss {
    let dims: Vec<usize> = flat(&case["dims"]).0.into_iter().map(|dim| dim as usize).collect();
    MatryoshkaLoss::new(inner, &dims).unwrap().weights(&flat(&case["weights"]).0).unwrap()
}

fn adaptive(case: &Value, loss: AdaptiveLayerLoss) -> AdaptiveLayerLoss {
    let mut loss = loss.layers_per_step(None);
    for (name, value) in case["settings"].as_object().unwrap() {
        let value = value.as_f64().unwrap();
        loss = match name.as_str() {
            "last_layer_weight" => loss.last_layer_weight(value),
            "prior_layers_weight" => loss.prior_layers_weight(value),
            "kl_div_weight" => loss.kl_div_weight(value),
            "kl_temperature" => loss.kl_temperature(value),
            other => panic!("{other}"),
        };
    }
    loss
}

fn objective(
    golden: &Golden,
    case: &Value,
    model: &StubModel,
    columns: &[&str],
    data_type: DType,
) -> Box<dyn Objective> {
    let number = |name: &str| case[name].as_f64().unwrap_or_else(|| panic!("no {name} in {case}"));
    let size = || case["mini_batch_size"].as_u64().unwrap() as usize;
    let guide = || {
        let parts: Vec<Tensor> =
            columns.iter().map(|column| golden.tensor(&format!("guide_{column}"), data_type)).collect();
        shared(StubModel::new(&[Tensor::cat(&parts, 0).unwrap()], InputKind::Transformer))
    };
    let ranking = || MultipleNegativesRankingLoss::new().scale(number("scale")).similarity(matrix(case));
    let symmetric = || MultipleNegativesSymmetricRankingLoss::new().scale(number("scale")).similarity(matrix(case));
    match case["loss"].as_str().unwrap() {
        "CosineSimilarityLoss" => Box::new(
            CosineSimilarityLoss::new()
                .regression(match case["regression"].as_str().unwrap() {
                    "mse" => PairRegression::MeanSquared,
                    _ => PairRegression::MeanAbsolute,
                })
                .transformation(match case["transformation"].as_str().unwrap() {
                    "sigmoid" => ScoreTransformation::Sigmoid,
                    "tanh" => ScoreTransformation::Tanh,
                    _ => ScoreTransformation::Identity,
                }),
        ),
        "CoSENTLoss" => Box::new(CoSentLoss::new().scale(number("scale")).similarity(pairwise(case))),
        "AnglELoss" => Box::new(AngleLoss::new().scale(number("scale"))),
        "SoftmaxLoss" => {
            let parts: Vec<bool> = case["parts"].as_array().unwrap().iter().map(|part| part == true).collect();
            let parts = [parts[0], parts[1], parts[2]];
            let loss = SoftmaxLoss::with_parts(6, 3, parts, 1, data_type, &Device::Cpu).unwrap();
            let weight = golden.tensor(case["weight"].as_str().unwrap(), data_type);
            loss.set_classifier(&weight, &golden.tensor("classifier_bias", data_type)).unwrap();
            Box::new(loss)
        }
        "ContrastiveLoss" => Box::new(
            ContrastiveLoss::new().metric(siamese(case)).margin(number("margin")).average(case["average"] == true),
        ),
        "OnlineContrastiveLoss" => {
            Box::new(OnlineContrastiveLoss::new().metric(siamese(case)).margin(number("margin")))
        }
        "MultipleNegativesRankingLoss" => Box::new(ranking()),
        "MultipleNegativesSymmetricRankingLoss" => Box::new(symmetric()),
        "CachedMultipleNegativesRankingLoss" => {
            Box::new(CachedMultipleNegativesRankingLoss::new(ranking(), size()).unwrap())
        }
        "CachedMultipleNegativesSymmetricRankingLoss" => {
            Box::new(CachedMultipleNegativesSymmetricRankingLoss::new(symmetric(), size()).unwrap())
        }
        "GISTEmbedLoss" => Box::new(GistEmbedLoss::new(guide()).settings(gist(case))),
        "CachedGISTEmbedLoss" => Box::new(CachedGistEmbedLoss::new(guide(), size()).unwrap().settings(gist(case))),
        "TripletLoss" => {
            Box::new(TripletLoss::new().margin(number("margin")).metric(match case["metric"].as_str().unwrap() {
                "COSINE" => TripletDistanceMetric::Cosine,
                "EUCLIDEAN" => TripletDistanceMetric::Euclidean,
                _ => TripletDistanceMetric::Manhattan,
            }))
        }
        "BatchHardTripletLoss" => {
            Box::new(BatchHardTripletLoss::new().margin(number("margin")).distance(batch_distance(case)))
        }
        "BatchHardSoftMarginTripletLoss" => {
            Box::new(BatchHardSoftMarginTripletLoss::new().distance(batch_distance(case)))
        }
        "BatchSemiHardTripletLoss" => {
            Box::new(BatchSemiHardTripletLoss::new().margin(number("margin")).distance(batch_distance(case)))
        }
        "BatchAllTripletLoss" => {
            Box::new(BatchAllTripletLoss::new().margin(number("margin")).distance(batch_distance(case)))
        }
        "MarginMSELoss" => Box::new(MarginMseLoss::new().similarity(pairwise(case))),
        "DistillKLDivLoss" => {
            Box::new(DistillKlDivLoss::new().similarity(pairwise(case)).temperature(number("temperature")).unwrap())
        }
        "MSELoss" => Box::new(MseLoss::new()),
        "MegaBatchMarginLoss" => {
            let margins = flat(&case["margins"]).0;
            let size = case["mini_batch_size"].as_u64().map(|size| size as usize);
            let loss = MegaBatchMarginLoss::new().positive_margin(margins[0]).negative_margin(margins[1]);
            Box::new(loss.mini_batches(size).unwrap())
        }
        "ContrastiveTensionLoss" => Box::new(ContrastiveTensionLoss::new(model).unwrap()),
        "ContrastiveTensionLossInBatchNegatives" => {
            let loss = ContrastiveTensionLossInBatchNegatives::new(model, number("scale")).unwrap();
            Box::new(loss.similarity(matrix(case)))
        }
        "MatryoshkaLoss" => match case["inner"].as_str().unwrap() {
            "MultipleNegativesRankingLoss" => Box::new(matryoshka(case, MultipleNegativesRankingLoss::new())),
            "CoSENTLoss" => Box::new(matryoshka(case, CoSentLoss::new())),
            "MSELoss" => Box::new(matryoshka(case, MseLoss::new())),
            "GISTEmbedLoss" => {
                let settings = GistSettings { temperature: 0.1, ..GistSettings::default() };
                Box::new(matryoshka(case, GistEmbedLoss::new(guide()).settings(settings)))
            }
            "CachedMultipleNegativesRankingLoss" => {
                let inner = CachedMultipleNegativesRankingLoss::new(MultipleNegativesRankingLoss::new(), 4).unwrap();
                Box::new(matryoshka(case, inner))
            }
            other => panic!("{other}"),
        },
        "AdaptiveLayerLoss" => Box::new(adaptive(case, AdaptiveLayerLoss::new(MultipleNegativesRankingLoss::new()))),
        "Matryoshka2dLoss" => {
            Box::new(Matryoshka2dLoss::new(matryoshka(case, MultipleNegativesRankingLoss::new()), |layers| {
                adaptive(case, layers)
            }))
        }
        other => panic!("{other}"),
    }
}
