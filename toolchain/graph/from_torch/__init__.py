"""From a torch network to a graph of the operations EFQ knows."""

from efq.toolchain.graph.from_torch.trace import trace

__all__ = ["trace"]
