"""EFQ's own integer kernels: a plan of fused layers, compiled from an artifact's graph when it is opened."""
