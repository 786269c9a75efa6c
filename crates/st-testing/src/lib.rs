//! Golden reader, tiny models and a local Hub for tests.
