//! What the library has promised to reach, and whether it did in this run.

use super::contestants::{CONTESTANTS, Multiplies};
use super::results::{ModelResults, Results, Timed, WorkloadResults, quantile};

/// One promise over some models and workloads.
struct Bar {
    models: &'static [&'static str],
    workload: &'static str,
    ours: &'static str,
    against: Against,
    at_least: f64,
}

enum Against {
    /// Speed as a multiple of this contestant's.
    Contestant(&'static str),
    /// Speed as a multiple of the fastest f32 opponent's.
    EveryFloat,
    /// Useful operations as a share of the machine's peak.
    Peak,
}

const ENCODERS: &[&str] = &["all-MiniLM-L6-v2", "all-mpnet-base-v2"];
const TABLES: &[&str] = &["static-30522x256"];

const BARS: &[Bar] = &[
    ratio(ENCODERS, "short", "ours", "torch", 3.0),
    ratio(ENCODERS, "long", "ours", "torch", 1.8),
    ratio(ENCODERS, "mixed", "ours", "torch", 2.5),
    ratio(ENCODERS, "single", "ours", "torch", 5.0),
    against(ENCODERS, "short", "ours", Against::EveryFloat, 1.0),
    against(ENCODERS, "long", "ours", Against::EveryFloat, 1.0),
    against(ENCODERS, "mixed", "ours", Against::EveryFloat, 1.0),
    against(ENCODERS, "single", "ours", Against::EveryFloat, 1.0),
    against(ENCODERS, "long", "ours", Against::Peak, 0.88),
    against(ENCODERS, "short", "ours", Against::Peak, 0.85),
    ratio(ENCODERS, "short", "ours-int8", "openvino-int8", 3.0),
    ratio(ENCODERS, "long", "ours-int8", "openvino-int8", 2.5),
    ratio(ENCODERS, "mixed", "ours-int8", "openvino-int8", 2.5),
    ratio(ENCODERS, "short", "ours-int8", "ours", 1.0),
    ratio(ENCODERS, "long", "ours-int8", "ours", 1.0),
    ratio(ENCODERS, "mixed", "ours-int8", "ours", 1.0),
    ratio(ENCODERS, "single", "ours-int8", "ours", 1.0),
    ratio(ENCODERS, "short", "ours-bf16", "ours", 0.9),
    ratio(ENCODERS, "long", "ours-bf16", "ours", 0.9),
    ratio(ENCODERS, "short", "ours-f16", "ours", 0.9),
    ratio(ENCODERS, "long", "ours-f16", "ours", 0.9),
    ratio(ENCODERS, "short", "ours-bf16-products", "openvino-bf16", 1.0),
    ratio(ENCODERS, "long", "ours-bf16-products", "openvino-bf16", 1.0),
    ratio(ENCODERS, "mixed", "ours-bf16-products", "openvino-bf16", 1.0),
    ratio(ENCODERS, "single", "ours-bf16-products", "openvino-bf16", 1.0),
    ratio(TABLES, "short", "ours", "model2vec-rs", 1.5),
    ratio(TABLES, "long", "ours", "model2vec-rs", 1.5),
    ratio(TABLES, "mixed", "ours", "model2vec-rs", 1.5),
];

const fn ratio(
    models: &'static [&'static str],
    workload: &'static str,
    ours: &'static str,
    contestant: &'static str,
    at_least: f64,
) -> Bar {
    against(models, workload, ours, Against::Contestant(contestant), at_least)
}

const fn against(
    models: &'static [&'static str],
    workload: &'static str,
    ours: &'static str,
    against: Against,
    at_least: f64,
) -> Bar {
    Bar { models, workload, ours, against, at_least }
}

impl Bar {
    /// What was measured, and against whom; `None` when this run did not measure it.
    fn reached(&self, results: &WorkloadResults) -> Option<(f64, String)> {
        let ours = results.find(self.ours)?;
        let times = |other: &Timed| quantile(&ours.ratios(other), 0.5);
        match self.against {
            Against::Contestant(name) => Some((times(results.find(name)?), format!("× {name}"))),
            Against::Peak => Some((results.share(ours)?, "of the multiply-add peak".to_owned())),
            Against::EveryFloat => {
                let opponents = CONTESTANTS.iter().filter(|one| !one.is_ours() && one.multiplies == Multiplies::F32);
                opponents
                    .filter_map(|one| results.find(one.name))
                    .map(|other| (times(other), format!("× the fastest f32 opponent ({})", other.name)))
                    .min_by(|a, b| a.0.total_cmp(&b.0))
            }
        }
    }
}

/// A Markdown table of all promises that this run measured.
pub(crate) fn table(results: &Results) -> String {
    let mut text = String::from("| model | workload | | wanted | reached | |\n| --- | --- | --- | --- | --- | --- |\n");
    for model in &results.models {
        text.extend(BARS.iter().filter_map(|bar| row(bar, model)));
    }
    text
}

fn row(bar: &Bar, model: &ModelResults) -> Option<String> {
    if !bar.models.contains(&model.name) {
        return None;
    }
    let workload = model.workloads.iter().find(|workload| workload.name == bar.workload)?;
    let (reached, against) = bar.reached(workload)?;
    let verdict = if reached >= bar.at_least { "yes" } else { "**no**" };
    let (name, workload, ours, wanted) = (model.name, bar.workload, bar.ours, bar.at_least);
    Some(format!("| {name} | {workload} | {ours} {against} | ≥ {wanted:.2} | {reached:.2} | {verdict} |\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn every_bar_names_contestants_and_workloads_that_exist() {
        let known = |name: &str| CONTESTANTS.iter().any(|one| one.name == name);
        for bar in BARS {
            assert!(known(bar.ours));
            assert!(super::super::workloads::WORKLOADS.iter().any(|workload| workload.name == bar.workload));
            assert!(bar.models.iter().all(|name| super::super::workloads::MODELS.iter().any(|m| m.name == *name)));
            if let Against::Contestant(name) = bar.against {
                assert!(known(name), "{name}");
            }
        }
    }

    #[test]
    fn the_fastest_float_opponent_is_the_one_that_counts() {
        let timed = |name: &'static str, multiplies: Multiplies, seconds: f64| Timed {
            name,
            multiplies,
            batch_size: None,
            seconds: vec![seconds],
            calls: Vec::new(),
            memory: None,
        };
        let workload = WorkloadResults {
            name: "short",
            texts: 1,
            tokens: 1,
            operations: 1e9,
            limits: BTreeMap::from([("fma".to_owned(), vec![1e9])]),
            contestants: vec![
                timed("torch", Multiplies::F32, 4.0),
                timed("onnx", Multiplies::F32, 3.0),
                timed("openvino-int8", Multiplies::Int8, 1.0),
                timed("ours", Multiplies::F32, 2.0),
            ],
        };
        let all = against(ENCODERS, "short", "ours", Against::EveryFloat, 1.0);
        assert_eq!(all.reached(&workload), Some((1.5, "× the fastest f32 opponent (onnx)".to_owned())));
        let peak = against(ENCODERS, "short", "ours", Against::Peak, 0.85);
        assert_eq!(peak.reached(&workload).unwrap().0, 0.5);
        assert!(ratio(ENCODERS, "short", "ours-int8", "ours", 1.0).reached(&workload).is_none());
    }
}
