"""Faces: image files, landmarks and alignment."""
