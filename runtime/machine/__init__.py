"""The machine this runs on: its CPU and GPUs, and the versions of what is installed."""
