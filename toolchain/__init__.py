"""The toolchain: float teachers, lowering, quantizers, losses, distillation and evaluation (needs torch)."""
