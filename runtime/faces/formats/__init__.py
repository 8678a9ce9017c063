"""Formats of image files: their headers, and whether they are whole."""
