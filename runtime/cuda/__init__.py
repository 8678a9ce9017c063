"""One small seam to CUDA over cuda-python, pycuda or torch."""
