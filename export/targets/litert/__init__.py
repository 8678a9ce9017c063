"""LiteRT on ARM CPUs and phones."""
