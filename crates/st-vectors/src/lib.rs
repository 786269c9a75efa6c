//! Embeddings, similarity, quantisation, semantic search, mining and clustering.
