"""Engines on a GPU, timed by its own clock."""
