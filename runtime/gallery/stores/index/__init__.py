"""Embeddings as bytes in memory, and the search among them that misses nobody."""
