//! `cargo xtask bench`: our engine against the original and its other engines, on one machine, in one run.
//!
//! Every contestant is a process of its own that answers requests, so that they can take turns: round by round each does
//! the same texts with the same threads on the same cores. Ratios are taken within a round. How to read the result is in
//! `benchmarks/README.md`.

mod agreement;
mod bars;
mod contestants;
mod limits;
mod options;
mod places;
mod plot;
mod report;
mod results;
mod rounds;
mod setup;
mod worker;
mod workloads;

use anyhow::Result;
use options::Options;
use results::Results;

/// Prepares what is missing, runs, and writes the results.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let Some(options) = Options::parse(arguments)? else {
        print!("{}", options::usage());
        return Ok(());
    };
    let places = setup::prepare(&options)?;
    if options.prepare_only {
        println!("prepared in {}", places.folder.display());
        return Ok(());
    }
    let mut results = Results::of_this_machine(&options)?;
    for model in &options.models {
        results.models.push(rounds::run(&places, &options, model)?);
    }
    report::write(&places, &options, &results)
}
