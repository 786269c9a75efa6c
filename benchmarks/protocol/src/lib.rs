//! The protocol of the benchmark's contestants: one process each, one JSON object per line in both directions.
//!
//! A contestant first says that it is ready, with how long its start took. Then it answers requests until it is told to
//! quit: `encode` times one call over the texts of a file (reading the file and writing the vectors are not in the time),
//! `single` times one call per text, `tokens` counts what the model reads of each text.
//!
//! ```
//! use bench_protocol::{Contestant, Failure, Vectors};
//!
//! #[derive(Debug)]
//! struct Lengths;
//!
//! impl Contestant for Lengths {
//!     fn encode(&mut self, texts: &[String], _batch_size: Option<usize>) -> Result<Vectors, Failure> {
//!         Ok(Vectors { values: texts.iter().map(|text| text.len() as f32).collect(), dimension: 1 })
//!     }
//! }
//! assert_eq!(Lengths.encode(&["four".to_owned()], None)?.values, [4.0]);
//! # Ok::<(), Failure>(())
//! ```

mod npy;
mod serve;

pub use npy::write as write_npy;
pub use serve::{Ready, serve};

/// Whatever went wrong in a contestant; its text goes to the harness.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Vectors of equal length, one after the other.
///
/// ```
/// let vectors = bench_protocol::Vectors { values: vec![1.0, 0.0, 0.0, 1.0], dimension: 2 };
/// assert_eq!(vectors.values.len() / vectors.dimension, 2);
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Vectors {
    /// All components.
    pub values: Vec<f32>,
    /// Components per vector.
    pub dimension: usize,
}

/// What takes part in the benchmark.
///
/// The crate's documentation has an example.
pub trait Contestant {
    /// Embeds texts. `batch_size` is what the sweep found best; a contestant that batches by itself does without.
    ///
    /// # Errors
    /// Whatever the library says.
    fn encode(&mut self, texts: &[String], batch_size: Option<usize>) -> Result<Vectors, Failure>;

    /// How many tokens the model reads of each text, special ones and no padding, or `None` if it cannot tell.
    ///
    /// # Errors
    /// Whatever the library says.
    fn tokens(&mut self, _texts: &[String]) -> Result<Option<Vec<usize>>, Failure> {
        Ok(None)
    }

    /// Rates of its own under their names, such as floating-point operations per second; most have none.
    ///
    /// # Errors
    /// Whatever goes wrong.
    fn rates(&mut self) -> Result<Vec<(String, f64)>, Failure> {
        Ok(Vec::new())
    }
}
