"""The machine this runs on: CPU, GPUs, versions, and what each target needs of it."""
