//! The project's own commands: `cargo xtask COMMAND`. `cargo xtask help` lists them.

mod bench;
mod check;
mod demo;
mod fixtures;
mod layering;
mod models;
mod parity;
mod process;
mod run_tests;

use anyhow::{Result, bail};
use std::process::ExitCode;

/// One command of the table below.
struct Command {
    name: &'static str,
    about: &'static str,
    run: fn(&[String]) -> Result<()>,
}

/// Every command, in the order in which the help shows them.
const COMMANDS: &[Command] = &[
    Command { name: "demo", about: "Load a real model and embed, compare and search texts with it", run: demo::run },
    Command { name: "test", about: "Fetch the models, then run every test", run: run_tests::run },
    Command { name: "check", about: "Formatting, lints, documentation and layering", run: check::run },
    Command { name: "bench", about: "Speed and agreement beside the original and its other engines", run: bench::run },
    Command { name: "models", about: "Fetch the real models [minilm] [mpnet] [sre]", run: models::run },
    Command { name: "fixtures", about: "Make fixtures/ again with the original library", run: fixtures::run },
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match dispatch(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cargo xtask {}: {error:#}", arguments.first().map_or("", String::as_str));
            ExitCode::FAILURE
        }
    }
}

fn dispatch(arguments: &[String]) -> Result<()> {
    let Some((name, rest)) = arguments.split_first() else {
        print!("{}", help());
        return Ok(());
    };
    if matches!(name.as_str(), "help" | "-h" | "--help") {
        print!("{}", help());
        return Ok(());
    }
    match COMMANDS.iter().find(|command| command.name == name) {
        Some(command) => (command.run)(rest),
        None => bail!("there is no such command\n\n{}", help()),
    }
}

fn help() -> String {
    let mut text = String::from("Usage: cargo xtask COMMAND\n\n");
    for command in COMMANDS {
        text.push_str(&format!("  {:<9} {}\n", command.name, command.about));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_command_is_an_error_that_lists_the_known_ones() {
        let message = dispatch(&["nope".to_owned()]).unwrap_err().to_string();
        assert!(message.contains("demo") && message.contains("check"), "{message}");
    }

    #[test]
    fn names_are_unique() {
        for (index, command) in COMMANDS.iter().enumerate() {
            assert!(COMMANDS[..index].iter().all(|other| other.name != command.name));
        }
    }
}
