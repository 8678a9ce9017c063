"""A float-input ONNX file in ONNX Runtime on the CPU: the float reference, and the base of `quantize_static`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from efq.benchmarks.peers.peer import Preprocess, embed_in_batches
from efq.runtime.backends.onnxruntime import WAITING_OPTION
from efq.runtime.backends.onnxruntime_module import import_onnxruntime


class OnnxRuntimePeer:
    """An ONNX file with one float32 input (N, 3, H, W) and one output (N, d), on `threads` threads.

    All graph optimizations are on, as by default. Worker threads wait in a loop after a call for as long as those of an
    artifact: longer, they would take processor time from the network that is timed next.
    """

    def __init__(self, name: str, path: Path, preprocess: Preprocess, *, threads: int) -> None:
        onnxruntime = import_onnxruntime()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        options.add_session_config_entry(*WAITING_OPTION)
        self.name = name
        self.file_bytes = path.stat().st_size
        self.prepare = preprocess
        self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self._input = self._session.get_inputs()[0].name

    def run(self, prepared: NDArray[np.float32]) -> NDArray[np.float32]:
        """One inference: float32 (N, 3, H, W) -> float32 (N, d)."""
        outputs: list[NDArray[np.float32]] = self._session.run(None, {self._input: prepared})
        return outputs[0]

    def embed(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Embeddings of uint8 images (N, H, W, 3) RGB: float32 (N, d), unit length."""
        return embed_in_batches(self, images)

    def close(self) -> None:
        """Nothing was started."""
