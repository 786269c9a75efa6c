//! `card`: the model card, shown or written.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use sentence_transformers::SentenceTransformer;

use super::Surroundings;
use super::model::ModelArguments;
use crate::failure::{Exit, Result};
use crate::output::Target;
use crate::render::print;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  sentence-transformers card --model sentence-transformers/all-MiniLM-L6-v2
  sentence-transformers card --model my-model --new --model-id me/my-model --language en --license apache-2.0 \\
    --output my-model/README.md")]
pub(crate) struct Arguments {
    #[command(flatten)]
    content: CardArguments,
    /// File to write the card into [default: standard output]
    #[arg(short, long, value_name = "FILE|-")]
    output: Option<PathBuf>,
    #[command(flatten)]
    model: ModelArguments,
}

/// What goes into a card.
#[derive(Debug, Args)]
pub(super) struct CardArguments {
    /// Make a new card instead of the one that the model came with
    #[arg(long)]
    new: bool,
    /// What the usage example calls the model: its name on the Hub
    #[arg(long, value_name = "NAME")]
    model_id: Option<String>,
    /// Title of a new card
    #[arg(long, value_name = "TEXT", requires = "new")]
    model_name: Option<String>,
    /// Language of a new card, by its code
    #[arg(long, value_name = "CODE", requires = "new")]
    language: Vec<String>,
    /// Licence of a new card, by its identifier
    #[arg(long, value_name = "IDENTIFIER", requires = "new")]
    license: Option<String>,
    /// Tag that a new card has besides the usual ones
    #[arg(long, value_name = "TAG", requires = "new")]
    tag: Vec<String>,
    /// Model that a new card names as the one this was made from
    #[arg(long, value_name = "NAME", requires = "new")]
    base_model: Option<String>,
}

impl CardArguments {
    /// Puts everything into the model's card data; gives the name for the usage example.
    fn apply(&self, model: &mut SentenceTransformer) -> Option<&str> {
        if self.new {
            model.set_card(None);
        }
        let data = model.card_data_mut();
        if let Some(name) = &self.model_name {
            data.model_name = Some(name.clone());
        }
        if !self.language.is_empty() {
            data.set_language(&self.language);
        }
        if let Some(license) = &self.license {
            data.set_license(license);
        }
        data.add_tags(self.tag.iter().map(String::as_str));
        if let Some(base) = &self.base_model {
            data.base_model = Some(base.clone());
        }
        self.model_id.as_deref()
    }
}

pub(super) fn run(arguments: &Arguments, surroundings: Surroundings) -> Result<Exit> {
    let mut model = arguments.model.load(surroundings)?;
    let id = arguments.content.apply(&mut model);
    let card = model.model_card(id)?;
    match arguments.output.as_deref().filter(|path| path.as_os_str() != "-") {
        None => print(&card)?,
        Some(path) => {
            let mut target = Target::file(path, true)?;
            target.write_all(card.as_bytes()).map_err(|error| target.failed(&error))?;
            target.commit()?;
        }
    }
    Ok(Exit::Done)
}
