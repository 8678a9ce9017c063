"""What of a network runs in integer kernels."""
