use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor};
use proptest::prelude::*;
use st_train::losses::*;
use st_train::model::{Column, EmbeddingModel, InputKind, TrainingPass};
use st_train::random::Generator;
use st_train::{Objective, ObjectiveBatch, Targets};

use crate::cases::{numbers, total};
use crate::stub_model::{StubModel, shared};

const ROWS: u32 = 7;
const DIMENSION: usize = 4;

/// Numbers between −1 and 1.
fn random(rows: usize, columns: usize, seed: u64) -> Tensor {
    let mut generator = Generator::new(seed);
    let values: Vec<f64> = (0..rows * columns).map(|_| f64::from(generator.uniform()) * 2.0 - 1.0).collect();
    Tensor::from_vec(values, (rows, columns), &Device::Cpu).unwrap()
}

fn model(seed: u64) -> StubModel {
    StubModel::with_weight(&random(3 * ROWS as usize, 5, seed), &random(5, DIMENSION, seed + 1))
}

fn columns(count: u32) -> Vec<Column> {
    (0..count).map(|column| StubModel::column(column * ROWS..(column + 1) * ROWS)).collect()
}

/// Value and gradients, by parameter.
fn run(
    objective: &dyn Objective,
    model: &StubModel,
    columns: &[Column],
    targets: &Targets,
    mut pass: TrainingPass,
) -> (f64, BTreeMap<String, Vec<f64>>) {
    let (value, gradients) = objective.backward(&ObjectiveBatch { model, columns, targets }, &mut pass, 0.5).unwrap();
    let mut owned = objective.parameters();
    owned.extend("", model.parameters()).unwrap();
    let gradient = |variable| gradients.get(variable).map(numbers).unwrap_or_default();
    (total(&value), owned.iter().map(|p| (p.name().to_owned(), gradient(p.variable()))).collect())
}

/// With dropout a row's mask depends on the mini-batch that it is in; without it, caching changes nothing.
fn assert_cached_is_plain(plain: &dyn Objective, cached: &dyn Objective, count: u32, targets: &Targets, seed: u64) {
    let (model, columns) = (model(seed), columns(count));
    let expected = run(plain, &model, &columns, targets, TrainingPass::evaluation());
    let found = run(cached, &model, &columns, targets, TrainingPass::evaluation());
    let name = plain.card().name;
    assert!((expected.0 - found.0).abs() < 1e-12, "{name}: {} and {}", expected.0, found.0);
    assert_eq!(expected.1.len(), found.1.len());
    for (parameter, expected) in expected.1 {
        let found = &found.1[&parameter];
        assert_eq!(found.len(), expected.len(), "{name} {parameter}");
        let worst = expected.iter().zip(found).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(worst < 1e-12, "{name} {parameter}: {worst}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]
    #[test]
    fn cached_gradients_are_the_plain_ones_for_any_loss(size in 1usize..9, seed in 0u64..1000) {
        let classes = Targets::Classes(vec![0, 1, 0, 1, 2, 2, 1]);
        let scores = Targets::Scores(vec![0.5, 1.0, 0.0, 0.25, 0.75, 0.1, 0.9]);
        let cache = |loss: Box<dyn Objective>| GradientCache::new(loss, size).unwrap();
        let ranking = MultipleNegativesRankingLoss::new();
        let cached = CachedMultipleNegativesRankingLoss::new(ranking, size).unwrap();
        assert_cached_is_plain(&ranking, &cached, 3, &Targets::None, seed);
        let symmetric = MultipleNegativesSymmetricRankingLoss::new();
        let cached = CachedMultipleNegativesSymmetricRankingLoss::new(symmetric, size).unwrap();
        assert_cached_is_plain(&symmetric, &cached, 2, &Targets::None, seed);
        assert_cached_is_plain(&CoSentLoss::new(), &cache(Box::new(CoSentLoss::new())), 2, &scores, seed);
        let all = BatchAllTripletLoss::new();
        assert_cached_is_plain(&all, &cache(Box::new(all)), 1, &classes, seed);
        let softmax = SoftmaxLoss::new(DIMENSION, 3, 9, DType::F64, &Device::Cpu).unwrap();
        assert_cached_is_plain(&softmax, &cache(Box::new(softmax.clone())), 2, &classes, seed);
        let guide = || shared(model(seed + 5));
        let settings = GistSettings { temperature: 0.1, ..GistSettings::default() };
        let gist = GistEmbedLoss::new(guide()).settings(settings);
        let cached = CachedGistEmbedLoss::new(guide(), size).unwrap().settings(settings);
        assert_cached_is_plain(&gist, &cached, 3, &Targets::None, seed);
        let matryoshka = |inner: Box<dyn Objective>| MatryoshkaLoss::new(inner, &[4, 2]).unwrap();
        let outside = cache(Box::new(matryoshka(Box::new(ranking))));
        assert_cached_is_plain(&matryoshka(Box::new(ranking)), &outside, 2, &Targets::None, seed);
        let inside = matryoshka(Box::new(CachedMultipleNegativesRankingLoss::new(ranking, size).unwrap()));
        assert_cached_is_plain(&matryoshka(Box::new(ranking)), &inside, 2, &Targets::None, seed);
    }
}

#[test]
fn mini_batches_see_the_same_dropout_twice() {
    let ranking = MultipleNegativesRankingLoss::new();
    let (model, columns) = (model(3), columns(2));
    let pass = || TrainingPass::training(Generator::new(11));
    // One mini-batch: the same draws as without a cache, so the same gradients. And the state moves on as far.
    let whole = CachedMultipleNegativesRankingLoss::new(ranking, 100).unwrap();
    let expected = run(&ranking, &model, &columns, &Targets::None, pass());
    assert_ne!(expected.0, run(&ranking, &model, &columns, &Targets::None, TrainingPass::evaluation()).0);
    let found = run(&whole, &model, &columns, &Targets::None, pass());
    assert!((expected.0 - found.0).abs() < 1e-12);
    for (name, expected) in &expected.1 {
        let worst = expected.iter().zip(&found.1[name]).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(worst < 1e-12, "{name}: {worst}");
    }
    let after = |objective: &dyn Objective| {
        let mut pass = pass();
        let batch = ObjectiveBatch { model: &model, columns: &columns, targets: &Targets::None };
        objective.backward(&batch, &mut pass, 1.0).unwrap();
        pass
    };
    assert_eq!(after(&ranking), after(&whole));

    // Several: the gradients are those of finite differences of the value under the same dropout.
    let cached = CachedMultipleNegativesRankingLoss::new(ranking, 3).unwrap();
    let (_, gradients) = run(&cached, &model, &columns, &Targets::None, pass());
    let weight = model.parameters().get("weight").unwrap().variable().clone();
    let start = weight.as_tensor().copy().unwrap();
    let direction = random(5, DIMENSION, 77);
    let at = |step: f64| {
        weight.set(&(&start + (&direction * step).unwrap()).unwrap()).unwrap();
        run(&cached, &model, &columns, &Targets::None, pass()).0
    };
    let found = (at(1e-6) - at(-1e-6)) / 2e-6;
    let expected: f64 = gradients["weight"].iter().zip(numbers(&direction)).map(|(g, d)| g * d).sum::<f64>() * 2.0;
    assert!((found - expected).abs() < 1e-6, "{found} and {expected}");
}

#[test]
fn drawn_dimensions_are_some_of_all() {
    let (model, columns) = (model(5), columns(2));
    let dims = [4, 3, 2, 1];
    let value = |loss: &MatryoshkaLoss, seed: u64| {
        let batch = ObjectiveBatch { model: &model, columns: &columns, targets: &Targets::None };
        // Without dropout, but with a random state.
        let mut pass = TrainingPass::evaluation();
        *pass.random_mut() = Generator::new(seed);
        total(&loss.forward(&batch, &mut pass).unwrap())
    };
    let single: Vec<f64> = dims
        .iter()
        .map(|&dim| value(&MatryoshkaLoss::new(MultipleNegativesRankingLoss::new(), &[dim]).unwrap(), 0))
        .collect();
    let two = MatryoshkaLoss::new(MultipleNegativesRankingLoss::new(), &dims).unwrap().dims_per_step(Some(2));
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..40 {
        let found = value(&two, seed);
        assert_eq!(found, value(&two, seed), "drawn again from the same state");
        let pairs = (0..4).flat_map(|i| (i + 1..4).map(move |j| (i, j)));
        let pair = pairs.clone().find(|&(i, j)| (single[i] + single[j] - found).abs() < 1e-12);
        seen.insert(pair.unwrap_or_else(|| panic!("{found} is no sum of two of {single:?}")));
    }
    assert_eq!(seen.len(), 6, "{seen:?}");
}

#[test]
fn drawn_layers_are_some_of_all() {
    let tables: Vec<Tensor> = (0..5).map(|layer| random(2 * ROWS as usize, DIMENSION, 50 + layer)).collect();
    let model = StubModel::new(&tables, InputKind::Transformer);
    let columns = columns(2);
    let value = |loss: AdaptiveLayerLoss, seed: u64| {
        let batch = ObjectiveBatch { model: &model, columns: &columns, targets: &Targets::None };
        let mut pass = TrainingPass::evaluation();
        *pass.random_mut() = Generator::new(seed);
        total(&loss.kl_temperature(0.0).forward(&batch, &mut pass).unwrap())
    };
    let new = || AdaptiveLayerLoss::new(MultipleNegativesRankingLoss::new());
    // Of each layer alone, from the formula: the last one's loss and a share of its own.
    let alone = |layer: usize| {
        let pair = [0, ROWS].map(|start| tables[layer].narrow(0, start as usize, ROWS as usize).unwrap());
        st_train::Loss::compute(&MultipleNegativesRankingLoss::new(), &pair, &Targets::None).unwrap()
    };
    let alone: Vec<f64> = (0..5).map(|layer| numbers(&alone(layer))[0]).collect();
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..40 {
        let found = value(new(), seed);
        let layer = (0..4).find(|&layer| (alone[4] + alone[layer] / (1 + layer) as f64 - found).abs() < 1e-12);
        seen.insert(layer.unwrap_or_else(|| panic!("{found} is of no layer")));
    }
    assert_eq!(seen.len(), 4, "{seen:?}");
    // As in 5.1: the embedding layer left out, and layers counted from the next.
    let expected = alone[4] + (alone[1] + alone[2] / 2.0 + alone[3] / 3.0) / 3.0;
    let found = value(new().layers_per_step(None).skip_embedding_layer(true), 0);
    assert!((found - expected).abs() < 1e-12, "{found} and {expected}");
}

#[test]
fn a_detached_last_layer_is_not_moved_by_the_divergence() {
    let tables: Vec<Tensor> = (0..3).map(|layer| random(2 * ROWS as usize, DIMENSION, 80 + layer)).collect();
    let model = StubModel::new(&tables, InputKind::Transformer);
    let columns = columns(2);
    let last = |detach: bool| {
        // Nothing but the divergence.
        let loss = AdaptiveLayerLoss::new(MultipleNegativesRankingLoss::new()).layers_per_step(None);
        let loss = loss.last_layer_weight(0.0).prior_layers_weight(0.0).detach_last_layer(detach);
        let (_, gradients) = run(&loss, &model, &columns, &Targets::None, TrainingPass::evaluation());
        let largest = |name: &str| gradients[name].iter().fold(0f64, |largest, number| largest.max(number.abs()));
        (largest("layer.0"), largest("layer.2"))
    };
    let (earlier, moved) = last(false);
    assert!(earlier > 1e-3 && moved > 1e-3);
    assert_eq!(last(true), (earlier, 0.0));
}
