//! The commands, each in its file.

mod encode;
mod info;
mod model;
mod search;
mod similarity;

use clap::{Subcommand, ValueEnum};

use crate::failure::{Exit, Result};

/// Every command.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Turn texts into embeddings
    Encode(encode::Arguments),
    /// Compare texts with one another
    Similarity(similarity::Arguments),
    /// Find the texts of a file that fit a query best
    Search(search::Arguments),
    /// Say what a model is
    Info(info::Arguments),
}

/// What a command may know besides its own arguments.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Surroundings {
    /// No progress and no summaries on stderr.
    pub(crate) quiet: bool,
}

impl Command {
    pub(crate) fn run(&self, surroundings: Surroundings) -> Result<Exit> {
        match self {
            Self::Encode(arguments) => encode::run(arguments, surroundings),
            Self::Similarity(arguments) => similarity::run(arguments, surroundings),
            Self::Search(arguments) => search::run(arguments, surroundings),
            Self::Info(arguments) => info::run(arguments, surroundings),
        }
    }
}

/// How results are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum View {
    /// For people
    Table,
    /// For programs
    Json,
}
