//! What a run found out, and the machine that it ran on.

use super::contestants::Multiplies;
use super::options::Options;
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

/// A whole run.
#[derive(Debug)]
pub(crate) struct Results {
    pub(crate) date: String,
    pub(crate) machine: Machine,
    pub(crate) models: Vec<ModelResults>,
}

#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) processor: String,
    pub(crate) cores: usize,
    pub(crate) memory_gib: f64,
    pub(crate) kernel: String,
    pub(crate) commit: String,
    pub(crate) threads: usize,
    pub(crate) pinned_to: String,
}

/// Of one model.
#[derive(Debug)]
pub(crate) struct ModelResults {
    pub(crate) name: &'static str,
    pub(crate) workloads: Vec<WorkloadResults>,
    pub(crate) starts: BTreeMap<&'static str, Start>,
    pub(crate) agreement: BTreeMap<&'static str, Agreement>,
}

#[derive(Debug)]
pub(crate) struct WorkloadResults {
    pub(crate) name: &'static str,
    pub(crate) texts: usize,
    pub(crate) tokens: usize,
    /// Useful floating-point operations of one round; 0 for a table.
    pub(crate) operations: f64,
    /// Operations per second that the machine allows, by name, one figure per round.
    pub(crate) limits: BTreeMap<String, Vec<f64>>,
    pub(crate) contestants: Vec<Timed>,
}

/// One contestant on one workload.
#[derive(Debug)]
pub(crate) struct Timed {
    pub(crate) name: &'static str,
    pub(crate) multiplies: Multiplies,
    pub(crate) batch_size: Option<usize>,
    /// Of each round.
    pub(crate) seconds: Vec<f64>,
    /// Milliseconds of each call, where there is one text per call, of all rounds.
    pub(crate) calls: Vec<f64>,
    /// Peak resident memory in MiB.
    pub(crate) memory: Option<f64>,
}

#[derive(Debug)]
pub(crate) struct Start {
    pub(crate) version: String,
    /// Seconds from the start of the process to its first embedding, of each try.
    pub(crate) seconds: Vec<f64>,
}

/// How near a contestant's vectors are to the original's, and how good they are.
#[derive(Debug, Default)]
pub(crate) struct Agreement {
    pub(crate) texts: usize,
    pub(crate) largest_difference: f64,
    pub(crate) smallest_cosine: f64,
    pub(crate) mean_cosine: f64,
    /// Spearman × 100 on the STS benchmark's test pairs.
    pub(crate) sts: f64,
    /// nDCG@10 × 100 of the retrieval collection.
    pub(crate) retrieval: Option<f64>,
}

impl Results {
    pub(crate) fn of_this_machine(options: &Options) -> Result<Self> {
        let processor = fs::read_to_string("/proc/cpuinfo").context("cannot read /proc/cpuinfo")?;
        let field = |name: &str| {
            let line = processor.lines().find(|line| line.starts_with(name))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        };
        let numbers: Vec<String> =
            ["cpu family", "model\t", "stepping"].iter().filter_map(|name| field(name)).collect();
        let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let kibibytes: f64 = memory
            .lines()
            .find_map(|line| line.strip_prefix("MemTotal:")?.split_whitespace().next()?.parse().ok())
            .unwrap_or(0.0);
        let machine = Machine {
            processor: format!("{} ({})", field("model name").unwrap_or_default(), numbers.join("/")),
            cores: std::thread::available_parallelism()?.get(),
            memory_gib: kibibytes / 1024.0 / 1024.0,
            kernel: said("uname", &["-sr"]),
            commit: said("git", &["describe", "--always", "--dirty"]),
            threads: options.threads,
            pinned_to: options.cores.clone(),
        };
        Ok(Self { date: said("date", &["-u", "+%Y-%m-%d %H:%M"]), machine, models: Vec::new() })
    }

    pub(crate) fn to_json(&self) -> Value {
        let machine = &self.machine;
        json!({
            "date": self.date,
            "machine": {
                "processor": machine.processor, "cores": machine.cores, "memory_gib": machine.memory_gib,
                "kernel": machine.kernel, "commit": machine.commit, "threads": machine.threads,
                "pinned_to": machine.pinned_to,
            },
            "models": self.models.iter().map(ModelResults::to_json).collect::<Vec<_>>(),
        })
    }
}

impl ModelResults {
    fn to_json(&self) -> Value {
        let starts: BTreeMap<_, _> = self
            .starts
            .iter()
            .map(|(name, start)| (name, json!({"version": start.version, "cold_start_seconds": start.seconds})))
            .collect();
        let agreement: BTreeMap<_, _> = self
            .agreement
            .iter()
            .map(|(name, one)| {
                let value = json!({
                    "texts": one.texts, "largest_difference": one.largest_difference, "mean_cosine": one.mean_cosine,
                    "smallest_cosine": one.smallest_cosine, "sts_spearman": one.sts, "retrieval_ndcg": one.retrieval,
                });
                (name, value)
            })
            .collect();
        json!({
            "name": self.name, "starts": starts, "agreement": agreement,
            "workloads": self.workloads.iter().map(WorkloadResults::to_json).collect::<Vec<_>>(),
        })
    }
}

impl WorkloadResults {
    pub(crate) fn find(&self, name: &str) -> Option<&Timed> {
        self.contestants.iter().find(|timed| timed.name == name)
    }

    /// The share of the machine's peak (of its number format) that a contestant's useful operations reach, round by
    /// round; `None` where there is no such peak.
    pub(crate) fn share(&self, timed: &Timed) -> Option<f64> {
        let peaks = self.limits.get(timed.multiplies.peak())?;
        let shares: Vec<f64> =
            timed.seconds.iter().zip(peaks).map(|(seconds, peak)| self.operations / seconds / peak).collect();
        (self.operations > 0.0).then(|| quantile(&shares, 0.5))
    }

    fn to_json(&self) -> Value {
        let contestants = self.contestants.iter().map(|timed| {
            json!({
                "name": timed.name, "batch_size": timed.batch_size, "seconds": timed.seconds,
                "share_of_peak": self.share(timed), "p50_ms": timed.latency(0.5), "p90_ms": timed.latency(0.9), "peak_memory_mib": timed.memory,
            })
        });
        json!({
            "name": self.name, "texts": self.texts, "tokens": self.tokens, "useful_operations": self.operations,
            "limits_per_second": self.limits,
            "contestants": contestants.collect::<Vec<_>>(),
        })
    }
}

impl Timed {
    /// Median seconds of a round.
    pub(crate) fn median(&self) -> f64 {
        quantile(&self.seconds, 0.5)
    }

    /// How many times as fast as `other`, in each round.
    pub(crate) fn ratios(&self, other: &Self) -> Vec<f64> {
        other.seconds.iter().zip(&self.seconds).map(|(theirs, own)| theirs / own).collect()
    }

    /// A quantile of the calls in milliseconds.
    pub(crate) fn latency(&self, part: f64) -> Option<f64> {
        (!self.calls.is_empty()).then(|| quantile(&self.calls, part))
    }
}

/// The value below which this part lies, between neighbours; 0 of nothing.
pub(crate) fn quantile(values: &[f64], part: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let Some(last) = sorted.len().checked_sub(1) else { return 0.0 };
    let place = part * last as f64;
    let (below, above) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
    below + (above - below) * place.fract()
}

/// The first line that a program prints, or nothing.
fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).current_dir(st_testing::repository()).output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_by_hand() {
        assert_eq!(quantile(&[4.0, 1.0, 3.0, 2.0], 0.5), 2.5);
        assert_eq!(quantile(&[5.0], 0.9), 5.0);
        assert_eq!(quantile(&[0.0, 10.0], 0.9), 9.0);
        assert_eq!(quantile(&[], 0.5), 0.0);
    }

    #[test]
    fn ratios_are_taken_within_a_round() {
        let timed = |name, seconds: &[f64]| Timed {
            name,
            multiplies: Multiplies::F32,
            batch_size: None,
            seconds: seconds.to_vec(),
            calls: Vec::new(),
            memory: None,
        };
        // The second round ran while the machine was half as fast; the ratio does not see it.
        assert_eq!(timed("a", &[1.0, 2.0]).ratios(&timed("b", &[3.0, 6.0])), [3.0, 3.0]);
    }
}
