"""Faces drawn by a renderer, for when there are no real ones."""
