//! The results as Markdown, JSON and a plot.

use super::contestants::CONTESTANTS;
use super::options::Options;
use super::places::Places;
use super::results::{Agreement, ModelResults, Results, Timed, WorkloadResults, quantile};
use super::workloads::WORKLOADS;
use super::{bars, plot};
use anyhow::{Context, Result};
use std::fmt::Write;
use std::fs;

/// Writes a `.json`, a `.md` and a `.svg` of the run's name: into benchmarks/results, or, of a quick run, where the benchmark
/// keeps its things.
pub(crate) fn write(places: &Places, options: &Options, results: &Results) -> Result<()> {
    let folder = if options.quick {
        places.folder.join("quick")
    } else {
        st_testing::repository().join("benchmarks").join("results")
    };
    fs::create_dir_all(&folder)?;
    let name = &options.name;
    let text = markdown(results, name);
    let files = [("json", format!("{:#}\n", results.to_json())), ("md", text), ("svg", plot::draw(results))];
    for (kind, content) in files {
        let path = folder.join(format!("{name}.{kind}"));
        fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))?;
    }
    println!("\n{}\nwritten to {}", bars::table(results), folder.display());
    Ok(())
}

fn markdown(results: &Results, name: &str) -> String {
    let machine = &results.machine;
    let mut text = format!(
        "# Benchmark\n\nMade by `cargo xtask bench` on {} UTC: {}, {} cores, {:.0} GiB, {}; {} threads pinned to cores {}; \
         commit {}. [README.md](../README.md) says how it is measured.\n\n![speed as a multiple of the original's]({name}.svg)\n",
        results.date,
        machine.processor,
        machine.cores,
        machine.memory_gib,
        machine.kernel,
        machine.threads,
        machine.pinned_to,
        machine.commit,
    );
    let _ = writeln!(text, "\n## What was to be reached\n\n{}", bars::table(results));
    for model in &results.models {
        let _ = writeln!(text, "## {}\n", model.name);
        for result in &model.workloads {
            text.push_str(&workload(model.name, result));
        }
        text.push_str(&starts(model));
        text.push_str(&agreements(model));
    }
    text.push_str("## Who took part\n\n");
    for one in CONTESTANTS.iter().filter(|one| results.models.iter().any(|model| model.starts.contains_key(one.name))) {
        let _ = writeln!(text, "- {}: {}", one.name, one.about);
    }
    text
}

/// One workload of one model.
pub(crate) fn workload(model: &str, results: &WorkloadResults) -> String {
    let about = WORKLOADS.iter().find(|workload| workload.name == results.name).map_or("", |workload| workload.about);
    let mut text = format!(
        "### {model}, {}: {about} ({} texts, {:.1} tokens each)\n\n",
        results.name,
        results.texts,
        results.tokens as f64 / results.texts.max(1) as f64,
    );
    if !results.limits.is_empty() {
        let shown = results.limits.iter().map(|(name, rates)| format!("{name} {:.0}", quantile(rates, 0.5) / 1e9));
        let _ = writeln!(
            text,
            "The machine in this run, billions of operations per second: {}.\n",
            shown.collect::<Vec<_>>().join(", ")
        );
    }
    let one_by_one = results.contestants.iter().any(|timed| !timed.calls.is_empty());
    let latency = if one_by_one { " p50 ms | p90 ms |" } else { " batch |" };
    let _ =
        writeln!(text, "| |{latency} texts/s | useful tokens/s | × torch | spread | share of peak | peak memory MiB |");
    let _ = writeln!(
        text,
        "| ---{} | --- | --- | --- | --- | --- | --- |",
        if one_by_one { " | --- | ---" } else { " | ---" }
    );
    for timed in &results.contestants {
        text.push_str(&line(results, timed));
    }
    text.push('\n');
    text
}

fn line(results: &WorkloadResults, timed: &Timed) -> String {
    let first = match (timed.latency(0.5), timed.latency(0.9)) {
        (Some(half), Some(most)) => format!("{half:.2} | {most:.2}"),
        _ => timed.batch_size.map_or("own".to_owned(), |size| size.to_string()),
    };
    let (ratio, spread) = match results.find("torch") {
        Some(torch) => {
            let ratios = timed.ratios(torch);
            let between = format!("{:.2}–{:.2}", quantile(&ratios, 0.0), quantile(&ratios, 1.0));
            (format!("{:.2}", quantile(&ratios, 0.5)), between)
        }
        None => ("–".to_owned(), "–".to_owned()),
    };
    let share = results.share(timed).map_or("–".to_owned(), |share| format!("{:.0} %", 100.0 * share));
    let memory = timed.memory.map_or("–".to_owned(), |memory| format!("{memory:.0}"));
    let seconds = timed.median();
    let (texts, tokens) = (results.texts as f64 / seconds, results.tokens as f64 / seconds);
    format!("| {} | {first} | {texts:.1} | {tokens:.0} | {ratio} | {spread} | {share} | {memory} |\n", timed.name)
}

fn starts(model: &ModelResults) -> String {
    let mut text = String::from(
        "### Cold start: process start to first embedding, files in the page cache\n\n| | version | ms |\n| --- | --- | --- |\n",
    );
    for (name, start) in &model.starts {
        let _ = writeln!(text, "| {name} | {} | {:.0} |", start.version, 1e3 * quantile(&start.seconds, 0.5));
    }
    text.push('\n');
    text
}

fn agreements(model: &ModelResults) -> String {
    if model.agreement.is_empty() {
        return String::new();
    }
    let mut text = String::from(
        "### Agreement with the original (torch, f32), vectors of unit length\n\n\
         | | texts | largest difference | smallest cosine | mean cosine | STS Spearman × 100 | nDCG@10 × 100 |\n\
         | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    for (name, one) in &model.agreement {
        let _ = writeln!(text, "| {name} | {} |", agreement(one));
    }
    text.push('\n');
    text
}

fn agreement(one: &Agreement) -> String {
    let retrieval = one.retrieval.map_or("–".to_owned(), |ndcg| format!("{ndcg:.2}"));
    format!(
        "{} | {:.1e} | {:.4} | {:.4} | {:.2} | {retrieval}",
        one.texts, one.largest_difference, one.smallest_cosine, one.mean_cosine, one.sts
    )
}

/// A line on the screen while the rest still runs.
pub(crate) fn print_agreement(name: &str, one: &Agreement) {
    println!("agreement of {name}: texts, largest difference, smallest and mean cosine, STS, nDCG: {}", agreement(one));
}

#[cfg(test)]
mod tests {
    use super::super::contestants::Multiplies;
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn a_workload_by_hand() {
        let timed = |name, seconds: &[f64]| Timed {
            name,
            multiplies: Multiplies::F32,
            batch_size: Some(32),
            seconds: seconds.to_vec(),
            calls: Vec::new(),
            memory: Some(100.4),
        };
        let results = WorkloadResults {
            name: "short",
            texts: 10,
            tokens: 120,
            operations: 3e9,
            limits: BTreeMap::from([("fma".to_owned(), vec![4e9, 4e9, 4e9])]),
            contestants: vec![timed("torch", &[4.0, 4.0, 4.0]), timed("ours", &[1.0, 2.0, 1.0])],
        };
        let text = workload("m", &results);
        assert!(text.contains("10 texts, 12.0 tokens each"), "{text}");
        assert!(text.contains("| torch | 32 | 2.5 | 30 | 1.00 | 1.00–1.00 | 19 % | 100 |"), "{text}");
        assert!(text.contains("| ours | 32 | 10.0 | 120 | 4.00 | 2.00–4.00 | 75 % | 100 |"), "{text}");
    }
}
