"""Enrolled people: their embeddings, the model these are of, and the search among them."""
