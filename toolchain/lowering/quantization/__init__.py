"""Quantizers: where they stand, how many bits they have, the ranges they start from."""
