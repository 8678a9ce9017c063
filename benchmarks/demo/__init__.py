"""Faces that EFQ draws itself, a small teacher trained on them, and the page that shows the whole chain."""
