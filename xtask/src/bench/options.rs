//! What `cargo xtask bench` can be told.

use super::contestants::{CONTESTANTS, Contestant};
use super::workloads::{MODELS, Model, WORKLOADS, Workload};
use anyhow::{Context, Result, bail};
use std::path::PathBuf;

/// The parsed command line.
#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) models: Vec<&'static Model>,
    pub(crate) workloads: Vec<&'static Workload>,
    pub(crate) contestants: Vec<&'static Contestant>,
    pub(crate) rounds: usize,
    pub(crate) threads: usize,
    /// As `taskset` takes them.
    pub(crate) cores: String,
    pub(crate) quick: bool,
    /// Decide batch sizes anew instead of taking those of an earlier run.
    pub(crate) sweep: bool,
    pub(crate) agreement: bool,
    pub(crate) prepare_only: bool,
    /// A retrieval collection in BEIR form.
    pub(crate) retrieval: Option<PathBuf>,
    /// Where everything is kept between runs.
    pub(crate) folder: PathBuf,
    /// Of the files in benchmarks/results.
    pub(crate) name: String,
}

impl Options {
    /// `None` when help is asked for.
    pub(crate) fn parse(arguments: &[String]) -> Result<Option<Self>> {
        let models = st_testing::models_folder();
        let mut options = Self {
            models: MODELS.iter().collect(),
            workloads: WORKLOADS.iter().collect(),
            contestants: CONTESTANTS.iter().collect(),
            rounds: 0,
            threads: 2,
            cores: String::new(),
            quick: false,
            sweep: false,
            agreement: true,
            prepare_only: false,
            retrieval: None,
            folder: models.parent().unwrap_or(&models).join("bench"),
            name: "latest".to_owned(),
        };
        let mut words = arguments.iter();
        while let Some(word) = words.next() {
            let mut value = || words.next().with_context(|| format!("{word} wants a value"));
            match word.as_str() {
                "--model" => options.models = chosen(MODELS, |model| model.short, value()?)?,
                "--workload" => options.workloads = chosen(WORKLOADS, |workload| workload.name, value()?)?,
                "--contestants" => options.contestants = chosen(CONTESTANTS, |one| one.name, value()?)?,
                "--rounds" => options.rounds = value()?.parse().context("--rounds wants a number")?,
                "--threads" => options.threads = value()?.parse().context("--threads wants a number")?,
                "--cores" => options.cores = value()?.clone(),
                "--retrieval" => options.retrieval = Some(PathBuf::from(value()?)),
                "--folder" => options.folder = PathBuf::from(value()?),
                "--name" => options.name.clone_from(value()?),
                "--quick" => options.quick = true,
                "--sweep" => options.sweep = true,
                "--no-agreement" => options.agreement = false,
                "--prepare-only" => options.prepare_only = true,
                "-h" | "--help" => return Ok(None),
                _ => bail!("there is no option {word}\n\n{}", usage()),
            }
        }
        if options.threads == 0 {
            bail!("--threads wants at least 1");
        }
        if options.rounds == 0 {
            options.rounds = if options.quick { 1 } else { 5 };
        }
        if options.cores.is_empty() {
            options.cores = format!("0-{}", options.threads - 1);
        }
        Ok(Some(options))
    }
}

/// Rows of a table by their names, in the table's order.
fn chosen<T>(table: &'static [T], name: impl Fn(&T) -> &'static str, wanted: &str) -> Result<Vec<&'static T>> {
    let wanted: Vec<&str> = wanted.split(',').collect();
    if let Some(unknown) = wanted.iter().find(|wanted| table.iter().all(|row| name(row) != **wanted)) {
        let known: Vec<&str> = table.iter().map(name).collect();
        bail!("{unknown} is none of {}", known.join(", "));
    }
    Ok(table.iter().filter(|row| wanted.contains(&name(row))).collect())
}

pub(crate) fn usage() -> String {
    let names = |names: Vec<&'static str>| names.join(",");
    format!(
        "Usage: cargo xtask bench [OPTIONS]\n\n\
         \x20 --model NAMES        of {}\n\
         \x20 --workload NAMES     of {}\n\
         \x20 --contestants NAMES  of {}\n\
         \x20 --rounds N           (5; with --quick 1)\n\
         \x20 --threads N          (2)\n\
         \x20 --cores LIST         which cores, as taskset takes them (the first ones)\n\
         \x20 --quick              few texts, nothing published: only to see that all works\n\
         \x20 --sweep              find each contestant's best batch size anew\n\
         \x20 --no-agreement       leave out the comparison of the vectors\n\
         \x20 --retrieval FOLDER   a collection in BEIR form, such as Cranfield, for nDCG@10\n\
         \x20 --prepare-only       install, export and build, then stop\n\
         \x20 --name NAME          of the files in benchmarks/results (latest)\n\
         \x20 --folder FOLDER      where all that is kept\n",
        names(MODELS.iter().map(|model| model.short).collect()),
        names(WORKLOADS.iter().map(|workload| workload.name).collect()),
        names(CONTESTANTS.iter().map(|one| one.name).collect()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Option<Options>> {
        Options::parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn names_choose_rows_and_unknown_ones_are_errors() {
        let options = parse("--model minilm --workload single,short --threads 1 --quick").unwrap().unwrap();
        assert_eq!(options.models.len(), 1);
        assert_eq!(options.workloads.iter().map(|workload| workload.name).collect::<Vec<_>>(), ["short", "single"]);
        assert_eq!((options.cores.as_str(), options.rounds), ("0-0", 1));
        assert!(parse("--model bert").unwrap_err().to_string().contains("minilm"));
        assert!(parse("--speed").unwrap_err().to_string().contains("--quick"));
        assert!(parse("--rounds").unwrap_err().to_string().contains("value"));
        assert!(parse("--threads 0").is_err());
        assert!(parse("--help").unwrap().is_none());
    }
}
