"""One module a runtime: each turns a model file into a function from images to embeddings."""
