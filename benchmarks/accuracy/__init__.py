"""Accuracy of the compared networks on faces, and how far they agree."""
