//! The `sentence-transformers` command.
fn main() {}
