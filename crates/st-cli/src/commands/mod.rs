//! The commands, each in its file.

mod card;
mod cluster;
mod corpus;
mod download;
mod encode;
mod evaluate;
mod info;
mod mine;
mod model;
mod negatives;
mod push;
mod quantize;
mod save;
mod search;
mod similarity;
mod tasks;
mod train;

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
    /// Find the pairs of similar texts in a file
    Mine(mine::Arguments),
    /// Find texts that are near a query but no answer to it, to train with
    MineNegatives(negatives::Arguments),
    /// Find groups of similar texts in a file
    Cluster(cluster::Arguments),
    /// Store float embeddings as bytes or bits
    Quantize(quantize::Arguments),
    /// Train a model on texts that belong together
    Train(train::Arguments),
    /// Measure a model on labelled data
    Evaluate(evaluate::Arguments),
    /// Say what a model is
    Info(info::Arguments),
    /// Show or write a model's card
    Card(card::Arguments),
    /// Fetch a model from the Hub into its cache
    Download(download::Arguments),
    /// Save a model into a folder
    Save(save::Arguments),
    /// Publish a model on the Hub
    Push(push::Arguments),
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
            Self::Mine(arguments) => mine::run(arguments, surroundings),
            Self::MineNegatives(arguments) => negatives::run(arguments, surroundings),
            Self::Cluster(arguments) => cluster::run(arguments, surroundings),
            Self::Quantize(arguments) => quantize::run(arguments, surroundings),
            Self::Train(arguments) => train::run(arguments, surroundings),
            Self::Evaluate(arguments) => evaluate::run(arguments, surroundings),
            Self::Info(arguments) => info::run(arguments, surroundings),
            Self::Card(arguments) => card::run(arguments, surroundings),
            Self::Download(arguments) => download::run(arguments, surroundings),
            Self::Save(arguments) => save::run(arguments, surroundings),
            Self::Push(arguments) => push::run(arguments, surroundings),
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
