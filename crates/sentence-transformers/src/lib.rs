//! Sentence Transformers in Rust: load, encode, compare.
