use candle_core::{Device, Tensor};
use serde_json::Value;
use st_train::losses::*;
use st_train::model::{InputKind, TrainingPass};
use st_train::{Loss, Objective, ObjectiveBatch, Targets};

use crate::cases::{flat, total};
use crate::stub_model::StubModel;

/// `fixtures/losses_toy.json`: four rows, six components, worked out from the formulas without the original.
#[test]
fn values_worked_out_from_the_formulas() {
    let text = std::fs::read_to_string(st_testing::fixture_path("losses_toy.json")).unwrap();
    let file: Value = serde_json::from_str(&text).unwrap();
    let tensor = |name: &str| {
        let (values, shape) = flat(&file[name]);
        Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
    };
    let (a, p, n) = (tensor("A"), tensor("P"), tensor("N"));
    let classes = |name: &str| Targets::Classes(flat(&file[name]).0.into_iter().map(|x| x as i64).collect());
    let (floats, binary, class) =
        (Targets::Scores(flat(&file["float_labels"]).0), classes("binary_labels"), classes("class_labels"));
    let rows = |rows: &[[f64; 2]; 4]| Targets::Matrix(Tensor::new(rows, &Device::Cpu).unwrap());
    let one = [a.clone()];
    let pair = [a.clone(), p.clone()];
    let triple = [a.clone(), p.clone(), n.clone()];
    let matryoshka = {
        let model = StubModel::new(&[Tensor::cat(&triple, 0).unwrap()], InputKind::Transformer);
        let loss =
            MatryoshkaLoss::new(MultipleNegativesRankingLoss::new(), &[6, 3]).unwrap().weights(&[1.0, 0.5]).unwrap();
        let columns = [0..4, 4..8, 8..12].map(StubModel::column);
        let batch = ObjectiveBatch { model: &model, columns: &columns, targets: &Targets::None };
        total(&loss.forward(&batch, &mut TrainingPass::evaluation()).unwrap())
    };
    let cosine_triplet = TripletLoss::new().metric(TripletDistanceMetric::Cosine);
    let distill = DistillKlDivLoss::new().temperature(2.0).unwrap();
    let losses: &[(&str, &dyn Loss, &[Tensor], &Targets)] = &[
        ("CosineSimilarityLoss(A,P,float)", &CosineSimilarityLoss::new(), &pair, &floats),
        ("CoSENTLoss(A,P,float)", &CoSentLoss::new(), &pair, &floats),
        ("ContrastiveLoss(A,P,binary)", &ContrastiveLoss::new(), &pair, &binary),
        ("OnlineContrastiveLoss(A,P,binary)", &OnlineContrastiveLoss::new(), &pair, &binary),
        ("MultipleNegativesRankingLoss(A,P)", &MultipleNegativesRankingLoss::new(), &pair, &Targets::None),
        ("MultipleNegativesRankingLoss(A,P,N)", &MultipleNegativesRankingLoss::new(), &triple, &Targets::None),
        (
            "MultipleNegativesSymmetricRankingLoss(A,P)",
            &MultipleNegativesSymmetricRankingLoss::new(),
            &pair,
            &Targets::None,
        ),
        ("TripletLoss(A,P,N) euclidean, right sign", &TripletLoss::new(), &triple, &Targets::None),
        ("TripletLoss(A,P,N) cosine", &cosine_triplet, &triple, &Targets::None),
        (
            "MarginMSELoss(A,P,N, labels=[1,0,-1,2])",
            &MarginMseLoss::new(),
            &triple,
            &Targets::Scores(vec![1.0, 0.0, -1.0, 2.0]),
        ),
        (
            "DistillKLDivLoss(A,P,N, T=2, labels=[[3,1],[0,2],[1,1],[2,-1]])",
            &distill,
            &triple,
            &rows(&[[3.0, 1.0], [0.0, 2.0], [1.0, 1.0], [2.0, -1.0]]),
        ),
        ("MSELoss(A, labels=P)", &MseLoss::new(), &one, &Targets::Matrix(p.clone())),
        ("BatchHardTripletLoss(A,class)", &BatchHardTripletLoss::new(), &one, &class),
        ("BatchHardSoftMarginTripletLoss(A,class)", &BatchHardSoftMarginTripletLoss::new(), &one, &class),
        ("BatchAllTripletLoss(A,class)", &BatchAllTripletLoss::new(), &one, &class),
    ];
    let mut values: Vec<(&str, f64)> = losses
        .iter()
        .map(|(name, loss, columns, targets)| {
            (*name, loss.compute(columns, targets).unwrap().to_scalar::<f64>().unwrap())
        })
        .collect();
    let mega = MegaBatchMarginLoss::new().compute(&pair).unwrap().to_scalar::<f64>().unwrap();
    values.push(("MegaBatchMarginLoss(A,P) not mini-batched", mega));
    values.push(("MatryoshkaLoss(MNRL, dims [6,3], weights [1,0.5])", matryoshka));
    for (name, found) in &values {
        let expected = file["values"][name].as_f64().unwrap_or_else(|| panic!("no value of {name}"));
        assert!((found - expected).abs() < 1e-12 * expected.max(1.0), "{name}: {found} instead of {expected}");
    }
    // All but the wrong sign that was repaired.
    assert_eq!(values.len() + 1, file["values"].as_object().unwrap().len());
}
