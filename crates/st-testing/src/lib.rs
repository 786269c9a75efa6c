//! Support for the tests of this workspace: golden files, tiny models, where the real models lie, and a local Hub.
//!
//! Nothing here is part of the library. A damaged or missing fixture ends the test that asked for it with a panic that
//! names the file; a missing *real* model passes the test over, except where `CI` or `ST_REQUIRE_MODELS` is set.
//!
//! ```
//! let golden = st_testing::ModelGolden::load("tiny-bert");
//! let folder = st_testing::tiny_model(&golden.model);
//! assert!(folder.join("modules.json").is_file());
//! ```

pub mod golden;
mod hub;
mod locate;
mod numbers;
mod pictures;
mod real;

pub use golden::ModelGolden;
pub use hub::{Fault, Host, LocalHub, Request};
pub use locate::{MODELS_VARIABLE, REQUIRE_VARIABLE, fixture_path, models_folder, real_model, repository, tiny_model};
pub use numbers::{Numbers, assert_close, largest_difference};
pub use pictures::picture;
pub use real::{RealGolden, StsPair, real_texts, sts_test};
