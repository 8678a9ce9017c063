"""TensorRT and TensorRT-RTX: find the package, build engines, keep them, run them. Imports neither until it is used."""
