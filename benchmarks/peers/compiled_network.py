"""A float network compiled by torch.compile for the CPU, the way PyTorch recommends for inference.

https://docs.pytorch.org/tutorials/intermediate/inductor_debug_cpu.html and the Inductor's CPU notes: channels-last
memory, frozen weights (BatchNorm folded, weights packed), autocast for bfloat16.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from efq.benchmarks.peers.spec import PeerSpec
from efq.toolchain.teachers import open_teacher


class CompiledNetwork:
    """The teacher that `spec` names, on `threads` threads; compiled for each batch size when it first comes."""

    def __init__(self, spec: PeerSpec, *, threads: int) -> None:
        import torch._dynamo
        import torch._inductor.config as inductor

        torch.set_num_threads(threads)
        inductor.freezing = True
        torch._dynamo.config.recompile_limit = 64  # one a batch size
        network: Any = open_teacher(Path(spec.path), spec.backbone, spec.teacher_input).network
        network.to(memory_format=torch.channels_last)
        self._network: Any = torch.compile(network, dynamic=False)
        self._bfloat16 = spec.precision == "bfloat16"

    def run(self, prepared: NDArray[np.float32]) -> NDArray[np.float32]:
        """float32 (N, 3, H, W) -> float32 (N, d)."""
        images = torch.from_numpy(prepared).contiguous(memory_format=torch.channels_last)
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=self._bfloat16):
            embeddings: torch.Tensor = self._network(images)
        return np.asarray(embeddings.float().numpy())
