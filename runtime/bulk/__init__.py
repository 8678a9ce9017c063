"""Embeddings of millions of images: in shards that are kept, and on several machines."""
