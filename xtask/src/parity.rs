//! The parity table, `docs/parity.md`: every test that it names exists.

use anyhow::{Context, Result, bail};
use std::path::Path;

/// Checks the table of the repository.
pub(crate) fn check(repository: &Path) -> Result<()> {
    let path = repository.join("docs/parity.md");
    let table = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let missing = missing(&table, |file| std::fs::read_to_string(repository.join("crates").join(file)).ok());
    if !missing.is_empty() {
        bail!("docs/parity.md names tests that do not exist:\n{}", missing.join("\n"));
    }
    Ok(())
}

/// The tests named as `file.rs#function` that are not there.
fn missing(table: &str, read: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let mut missing = Vec::new();
    for (number, line) in table.lines().enumerate().filter(|(_, line)| line.starts_with('|')) {
        for word in line.split('`').skip(1).step_by(2) {
            let Some((file, function)) = word.split_once(".rs#") else { continue };
            let file = format!("{file}.rs");
            if !read(&file).is_some_and(|source| source.contains(&format!("fn {function}("))) {
                missing.push(format!("line {}: {word}", number + 1));
            }
        }
    }
    missing
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_names_tests_that_exist() {
        check(&st_testing::repository()).unwrap();
    }

    #[test]
    fn what_is_not_there_is_named_with_its_line() {
        let table = "text `a/b.rs#not_in_a_row`\n| x | `a/b.rs#found`, `a/b.rs#lost` |\n| y | `c.rs#gone` |\n";
        let read = |file: &str| (file == "a/b.rs").then(|| "fn found() {}".to_owned());
        assert_eq!(missing(table, read), ["line 2: a/b.rs#lost", "line 3: c.rs#gone"]);
    }
}
