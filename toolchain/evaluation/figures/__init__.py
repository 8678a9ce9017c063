"""Figures of embeddings on labelled images: rates at thresholds, their intervals, accuracies."""
