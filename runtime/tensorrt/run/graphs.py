"""Whether CUDA graphs are used: asked for, made by the runtime itself, captured here, or refused for a reason."""

from __future__ import annotations

import logging
import threading


class GraphPolicy:
    """Shared by all execution contexts of a model. A refusal is logged once; it changes launches, not the device."""

    def __init__(self, *, wanted: bool, made_by_runtime: bool, refusal: str | None) -> None:
        """`made_by_runtime`: TensorRT-RTX captures on its own; `refusal`: why nothing can be captured here, or None."""
        self._lock = threading.Lock()
        self._wanted = wanted
        self._made_by_runtime = made_by_runtime
        self.refusal: str | None = None
        if wanted and not made_by_runtime and refusal is not None:
            self.refuse(refusal)

    @property
    def captures(self) -> bool:
        """Whether the execution contexts are to capture their launches."""
        return self._wanted and not self._made_by_runtime and self.refusal is None

    @property
    def in_use(self) -> bool:
        """Whether batches run as CUDA graphs."""
        return self._wanted and self.refusal is None

    def refuse(self, reason: str) -> None:
        """Launch kernel by kernel from now on."""
        with self._lock:
            if self.refusal is not None:
                return
            self.refusal = reason
        logging.getLogger(__name__).warning("no CUDA graphs, kernels are launched one by one: %s", reason)
