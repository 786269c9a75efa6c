//! Starting the contestants, finding their batch sizes, and taking turns.

use super::agreement;
use super::contestants::Contestant;
use super::limits::Limits;
use super::options::Options;
use super::places::Places;
use super::results::{ModelResults, Start, Timed, WorkloadResults};
use super::worker::{Running, Worker};
use super::workloads::{Model, Shape, Workload};
use anyhow::{Context, Result, ensure};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::thread::sleep;
use std::time::Duration;

/// After this long the threads of the one before have stopped waiting for more work.
const PAUSE: Duration = Duration::from_millis(300);

/// Runs everything for one model.
pub(crate) fn run(places: &Places, options: &Options, model: &'static Model) -> Result<ModelResults> {
    let chosen: Vec<_> = options.contestants.iter().copied().filter(|one| one.runs(model)).collect();
    ensure!(!chosen.is_empty(), "no chosen contestant runs {}", model.name);
    let mut results =
        ModelResults { name: model.name, workloads: Vec::new(), starts: BTreeMap::new(), agreement: BTreeMap::new() };
    let mut running = Vec::new();
    for contestant in chosen {
        match start(places, options, model, contestant) {
            Ok((worker, start)) => {
                results.starts.insert(contestant.name, start);
                running.push(Running { contestant, worker });
            }
            // One that does not run here must not keep the others from it.
            Err(error) => eprintln!("{} is left out: {error:#}", contestant.name),
        }
    }
    ensure!(!running.is_empty(), "no contestant starts");
    let mut limits = Limits::start(places, options, model)?;
    for workload in &options.workloads {
        let result = work(places, options, model, workload, &mut running, &mut limits)?;
        print!("{}", super::report::workload(model.name, &result));
        results.workloads.push(result);
    }
    if options.agreement {
        results.agreement = agreement::compare(places, options, model, &mut running)?;
    }
    Ok(results)
}

/// Starts it several times, the first of which only warms the page cache, and keeps the last.
fn start(places: &Places, options: &Options, model: &Model, contestant: &Contestant) -> Result<(Worker, Start)> {
    let command = contestant.command(places, model, options.threads);
    let log = places.folder.join(format!("{}-{}.log", contestant.name, model.short));
    let begin = || Worker::start(contestant.name, &command, &options.cores, options.threads, &log);
    let mut worker = begin()?;
    let mut seconds = Vec::new();
    for _ in 0..if options.quick { 0 } else { 3 } {
        drop(worker);
        worker = begin()?;
        seconds.push(worker.cold_start);
    }
    if seconds.is_empty() {
        seconds.push(worker.cold_start);
    }
    eprintln!("{} {}: ready after {:.2} s", contestant.name, worker.version, worker.cold_start);
    let version = worker.version.clone();
    Ok((worker, Start { version, seconds }))
}

fn work(
    places: &Places,
    options: &Options,
    model: &Model,
    workload: &Workload,
    running: &mut [Running],
    limits: &mut Limits,
) -> Result<WorkloadResults> {
    let path = places.texts.join(workload.file(model));
    let count = workload.count(model, options.quick);
    let tokens = running.iter_mut().find_map(|one| tokens(one, &path, count).transpose()).transpose()?;
    let tokens = tokens.context("no contestant can say how many tokens there are: add torch or ours")?;
    let operations = if model.table {
        0.0
    } else {
        let shape = Shape::read(&places.model_folder(model))?;
        tokens.iter().map(|&tokens| shape.operations(tokens)).sum()
    };
    let mut contestants = Vec::new();
    for one in running.iter_mut() {
        let batch_size = batch_size(places, options, model, workload, one)?;
        // Before it counts: whatever is allocated or compiled for these lengths.
        let warm = json!({"op": "encode", "path": path, "n": count.min(64), "batch_size": batch_size});
        one.worker.ask(&warm)?;
        one.worker.forget_peak_memory();
        contestants.push(Timed {
            name: one.contestant.name,
            multiplies: one.contestant.multiplies,
            batch_size,
            seconds: Vec::new(),
            calls: Vec::new(),
            memory: None,
        });
    }
    let mut allowed = BTreeMap::new();
    for round in 0..options.rounds {
        eprintln!("{} {}: round {} of {}", model.short, workload.name, round + 1, options.rounds);
        limits.measure(&mut allowed)?;
        for (one, timed) in running.iter_mut().zip(&mut contestants) {
            sleep(PAUSE);
            if workload.one_by_one() {
                let answer = one.worker.ask(&json!({"op": "single", "path": path, "n": count}))?;
                let calls = numbers(&answer["milliseconds"]);
                timed.seconds.push(calls.iter().sum::<f64>() / 1e3);
                timed.calls.extend(calls);
            } else {
                timed.seconds.push(encode(one, &path, count, timed.batch_size)?);
            }
            timed.memory = one.worker.peak_memory();
        }
    }
    let tokens = tokens.iter().sum();
    Ok(WorkloadResults { name: workload.name, texts: count, tokens, operations, limits: allowed, contestants })
}

fn tokens(one: &mut Running, path: &std::path::Path, count: usize) -> Result<Option<Vec<usize>>> {
    if !one.contestant.is_ours() && one.contestant.name != "torch" {
        return Ok(None);
    }
    let answer = one.worker.ask(&json!({"op": "tokens", "path": path, "n": count}))?;
    let tokens = numbers(&answer["tokens"]);
    Ok((!tokens.is_empty()).then(|| tokens.into_iter().map(|count| count as usize).collect()))
}

fn encode(one: &mut Running, path: &std::path::Path, count: usize, batch_size: Option<usize>) -> Result<f64> {
    let request = json!({"op": "encode", "path": path, "n": count, "batch_size": batch_size});
    let answer = one.worker.ask(&request)?;
    answer["seconds"].as_f64().with_context(|| format!("{} gives no time", one.contestant.name))
}

/// The best batch size of those that the workload names, found once and kept for later runs.
fn batch_size(
    places: &Places,
    options: &Options,
    model: &Model,
    workload: &Workload,
    one: &mut Running,
) -> Result<Option<usize>> {
    if one.contestant.batches_itself() || workload.one_by_one() {
        return Ok(None);
    }
    // Libraries that only look tables up have no padding to save.
    if model.table {
        return Ok(Some(1024));
    }
    if options.quick {
        return Ok(Some(32));
    }
    let kept_in = places.folder.join("batch-sizes.json");
    let kept = fs::read_to_string(&kept_in).ok().and_then(|text| serde_json::from_str(&text).ok());
    let mut kept: Map<String, Value> = kept.unwrap_or_default();
    let key = format!("{} {} {} {}", model.short, workload.name, one.contestant.name, options.threads);
    if !options.sweep
        && let Some(size) = kept.get(&key).and_then(|found| found["best"].as_u64())
    {
        return Ok(Some(size as usize));
    }
    let path = places.texts.join(workload.file(model));
    let count = workload.count(model, false).div_ceil(workload.sweep_share);
    let mut rates = Vec::new();
    for &size in workload.batch_sizes {
        encode(one, &path, count.min(2 * size), Some(size))?;
        rates.push((size, count as f64 / encode(one, &path, count, Some(size))?));
    }
    let best = rates.iter().copied().max_by(|a, b| a.1.total_cmp(&b.1)).context("no batch size to try")?.0;
    eprintln!("{key}: {rates:.1?} texts/s, so {best}");
    let tried: Map<String, Value> = rates.iter().map(|(size, rate)| (size.to_string(), json!(rate))).collect();
    kept.insert(key, json!({"best": best, "texts_per_second": tried}));
    fs::write(&kept_in, format!("{:#}\n", Value::Object(kept)))
        .with_context(|| format!("cannot write {}", kept_in.display()))?;
    Ok(Some(best))
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().map(|values| values.iter().filter_map(Value::as_f64).collect()).unwrap_or_default()
}
