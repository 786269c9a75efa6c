//! The `sentence-transformers` command.

mod commands;
mod failure;
mod input;
mod interrupt;
mod output;
mod render;

use std::process::ExitCode;

use clap::Parser;
use log::LevelFilter;

use commands::{Command, Surroundings};

/// Sentence embeddings on the command line: encode texts, compare them, search among them, train models
#[derive(Debug, Parser)]
#[command(
    name = "sentence-transformers",
    version,
    after_help = "Exit codes:
    0  done
    1  failed; stderr says why, and what to do about it
    2  the command line is wrong
    3  went to the end, but rows of the input were damaged (stderr names them)
  130  interrupted by Ctrl-C

The default model is sentence-transformers/all-MiniLM-L6-v2. HF_HOME, HF_HUB_OFFLINE and HF_TOKEN are heeded."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// No progress bars and no summaries; warnings and errors are still said
    #[arg(short, long, global = true)]
    quiet: bool,
    /// Say also what is going on
    #[arg(short, long, global = true, conflicts_with = "quiet")]
    verbose: bool,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    render::Log::install(if cli.verbose { LevelFilter::Info } else { LevelFilter::Warn });
    interrupt::install();
    match cli.command.run(Surroundings { quiet: cli.quiet }) {
        Ok(exit) => exit.into(),
        Err(failure) => failure.report(),
    }
}
