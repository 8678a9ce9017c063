"""Pairs lists in the formats they are published in, one file a format behind `registry.open_pairs`."""
