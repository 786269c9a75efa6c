//! `cargo xtask fixtures`: makes the tiny models and goldens again with the original library.

use crate::process;
use anyhow::Result;
use std::path::PathBuf;
use std::process::Command;

const FOLDER: &str = ".venv-oracle";

/// Runs fixtures/generate.py with its arguments, in a Python environment that is made on the first run.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let root = st_testing::repository();
    let python: PathBuf = root.join(FOLDER).join(if cfg!(windows) { "Scripts/python.exe" } else { "bin/python" });
    if !python.is_file() {
        process::run(Command::new("python3").args(["-m", "venv", FOLDER]).current_dir(&root))?;
        let requirements = root.join("fixtures").join("requirements.txt");
        process::run(Command::new(&python).args(["-m", "pip", "install", "-r"]).arg(requirements))?;
    }
    process::run(Command::new(&python).arg("fixtures/generate.py").args(arguments).current_dir(&root))
}
