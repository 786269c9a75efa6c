//! `cargo xtask test`: every test of the workspace, with the real models at hand.

use crate::{models, process};
use anyhow::{Result, bail};
use std::process::Command;
use std::time::Instant;

const USAGE: &str = "usage: cargo xtask test [--without-models]

Fetches the real models (about 610 MB, once) and runs unit, golden, command-line and real-model tests, then the examples
in the documentation. --without-models runs what needs none; it is refused where the variable CI is set.";

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let in_ci = std::env::var_os("CI").is_some_and(|value| !value.is_empty());
    let with_models = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => true,
        ["--without-models"] if in_ci => bail!("--without-models is refused where CI is set"),
        ["--without-models"] => false,
        _ => bail!("{USAGE}"),
    };
    let start = Instant::now();
    let folder = st_testing::models_folder();
    if with_models {
        for model in models::MODELS {
            models::ensure(model, &folder)?;
        }
    }
    let prepare = |command: &mut Command| {
        if with_models {
            command.env(st_testing::MODELS_VARIABLE, &folder).env(st_testing::REQUIRE_VARIABLE, "1");
        } else {
            command.env_remove(st_testing::REQUIRE_VARIABLE);
        }
    };

    let nextest = process::answers("cargo", &["nextest", "--version"]);
    let mut tests = process::cargo();
    if nextest {
        tests.args(["nextest", "run", "--workspace", "--no-fail-fast"]);
    } else {
        tests.args(["test", "--workspace", "--lib", "--bins", "--tests", "--no-fail-fast"]);
    }
    // The library for approximate search is written in C++.
    let features = if process::answers("c++", &["--version"]) { "st-vectors/approximate" } else { "" };
    tests.args(["--features", features]);
    prepare(&mut tests);
    let tests = process::run(&mut tests);
    let mut examples = process::cargo();
    examples.args(["test", "--workspace", "--doc", "--no-fail-fast", "--features", features]);
    prepare(&mut examples);
    let examples = process::run(&mut examples);
    tests.and(examples)?;
    println!(
        "cargo xtask test: every test passed in {} s ({}; {})",
        start.elapsed().as_secs(),
        if nextest { "cargo nextest and documentation examples" } else { "cargo test and documentation examples" },
        if with_models {
            format!("real models in {}", folder.display())
        } else {
            "real-model tests were not required".to_owned()
        }
    );
    Ok(())
}
