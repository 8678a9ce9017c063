"""What stands ready for a machine with a GPU: `python -m efq.benchmarks.gpu.NAME` (docs/gpu.md)."""
