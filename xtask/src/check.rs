//! `cargo xtask check`: everything that a change must satisfy besides its tests.

use crate::layering::{self, Severity};
use crate::process;
use anyhow::{Result, bail};

const USAGE: &str =
    "usage: cargo xtask check [fmt] [clippy] [docs] [layering] [parity] [deny] [typos]    (no name: all of them)";

/// One part of the check.
struct Part {
    name: &'static str,
    run: fn() -> Result<()>,
}

/// The parts, quick ones first.
const PARTS: &[Part] = &[
    Part { name: "fmt", run: formatting },
    Part { name: "layering", run: invariants },
    Part { name: "parity", run: parity },
    Part { name: "typos", run: typos },
    Part { name: "deny", run: deny },
    Part { name: "clippy", run: clippy },
    Part { name: "docs", run: docs },
];

/// Runs the named parts, or all of them; every part runs, also after a failure.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    if let Some(unknown) = arguments.iter().find(|name| PARTS.iter().all(|part| part.name != name.as_str())) {
        bail!("there is no part {unknown}\n{USAGE}");
    }
    let mut failed = Vec::new();
    for part in PARTS {
        let wanted = arguments.is_empty() || arguments.iter().any(|name| name == part.name);
        if wanted && let Err(error) = (part.run)() {
            eprintln!("{}: {error:#}", part.name);
            failed.push(part.name);
        }
    }
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    println!("cargo xtask check: all is well");
    Ok(())
}

fn formatting() -> Result<()> {
    process::run(process::cargo().args(["fmt", "--all", "--check"]))
}

fn clippy() -> Result<()> {
    process::run(process::cargo().args(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))
}

fn docs() -> Result<()> {
    let mut command = process::cargo();
    command.args(["doc", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings");
    process::run(&mut command)
}

fn invariants() -> Result<()> {
    let mut errors = 0;
    for (rule, finding) in layering::check(&st_testing::repository())? {
        let kind = match rule.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        errors += usize::from(rule.severity == Severity::Error);
        eprintln!("{kind}: {finding} [{}]", rule.name);
    }
    if errors > 0 {
        bail!("{errors} invariants are broken");
    }
    Ok(())
}

fn parity() -> Result<()> {
    crate::parity::check(&st_testing::repository())
}

fn deny() -> Result<()> {
    if !process::answers("cargo", &["deny", "--version"]) {
        eprintln!("deny: passed over, cargo-deny is not installed");
        return Ok(());
    }
    process::run(process::cargo().args(["deny", "check"]))
}

fn typos() -> Result<()> {
    if !process::answers("typos", &["--version"]) {
        eprintln!("typos: passed over, typos is not installed");
        return Ok(());
    }
    process::run(std::process::Command::new("typos").current_dir(st_testing::repository()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_workspace_keeps_its_invariants() {
        let found = layering::check(&st_testing::repository()).unwrap();
        let errors: Vec<String> = found
            .iter()
            .filter(|(rule, _)| rule.severity == Severity::Error)
            .map(|(rule, finding)| format!("{finding} [{}]", rule.name))
            .collect();
        assert!(errors.is_empty(), "{}", errors.join("\n"));
    }

    #[test]
    fn an_unknown_part_is_refused() {
        assert!(run(&["nope".to_owned()]).unwrap_err().to_string().contains("layering"));
    }
}
