//! Model ids, paths and revisions to local files: the Hugging Face Hub client and cache.
