"""torch.compile, in a process of its own that times itself."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from efq.benchmarks.peers.openvino import float_precisions, load_openvino
from efq.benchmarks.peers.peer import Peer, embed_in_batches
from efq.benchmarks.peers.spec import PeerSpec
from efq.benchmarks.peers.tool import Candidate, teacher_spec
from efq.runtime.cleanup import running
from efq.runtime.errors import EfqError, MissingDependencyError

if TYPE_CHECKING:
    from efq.benchmarks.peers.float_teacher import FloatTeacher


class TorchCompileTool:
    """The float teacher in float32, and in bfloat16 where OpenVINO says that the CPU multiplies it."""

    name = "torch_compile"

    def require(self) -> None:
        """Raise MissingDependencyError unless torch and openvino are installed."""
        if importlib.util.find_spec("torch") is None:
            message = "this comparison needs torch; install it with: pip install 'efq[train]'"
            raise MissingDependencyError(message)
        load_openvino()

    def candidates(self, teacher: FloatTeacher, calibration: NDArray[np.uint8], folder: Path) -> Iterator[Candidate]:
        """Compiled from the checkpoint when opened: nothing is calibrated, nothing is written."""
        for precision in float_precisions():
            name = f"torch.compile {precision}"
            yield Candidate(
                spec=teacher_spec(teacher, name, self.name, teacher.checkpoint, precision=precision),
                opener=self,
                description=f"float teacher in torch.compile, {precision}, weights frozen, channels last",
                is_float=True,
            )

    def open(self, spec: PeerSpec, threads: int) -> Peer:
        """Start a process, so that torch's threads take no time from the network that is timed next."""
        return TorchCompilePeer(spec, threads=threads)

    def run_here(self, spec: PeerSpec, images: NDArray[np.uint8]) -> None:
        """Compile in this process instead, and run once."""
        from efq.benchmarks.peers.compiled_network import CompiledNetwork

        network = CompiledNetwork(spec, threads=1)
        network.run(spec.normalization(images))


class TorchCompilePeer:
    """The checkpoint `spec` names, compiled by torch.compile on `threads` threads.

    `timed_run` gives the network's own time, measured in its process: passing the arrays is left out.
    """

    def __init__(self, spec: PeerSpec, *, threads: int) -> None:
        self.name = spec.name
        self.file_bytes = Path(spec.path).stat().st_size
        self.prepare = spec.normalization
        command = [sys.executable, "-m", "efq.benchmarks.peers.torch_worker", spec.to_json(), str(threads)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        self._open = contextlib.ExitStack()
        self._open.enter_context(running(self._process))

    def run(self, prepared: NDArray[np.float32]) -> NDArray[np.float32]:
        """One inference: float32 (N, 3, H, W) -> float32 (N, d). Raises EfqError with what torch said."""
        return self._exchange(prepared)[0]

    def timed_run(self, prepared: NDArray[np.float32]) -> float:
        """One inference; returns how long it took, in seconds."""
        return self._exchange(prepared)[1]

    def embed(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Embeddings of uint8 images (N, H, W, 3) RGB: float32 (N, d), unit length; one at a time, as compiled."""
        return embed_in_batches(self, images, batch=1)

    def close(self) -> None:
        """End the process."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        self._open.close()

    def _exchange(self, prepared: NDArray[np.float32]) -> tuple[NDArray[np.float32], float]:
        requests, replies = self._pipes()
        try:
            requests.write(json.dumps({"shape": prepared.shape}).encode() + b"\n")
            requests.write(np.ascontiguousarray(prepared, np.float32).tobytes())
            requests.flush()
        except BrokenPipeError:
            pass  # the reply says why
        line = replies.readline()
        reply: dict[str, Any] = (
            json.loads(line) if line else {"error": f"its process ended with {self._process.wait()}"}
        )
        if "error" in reply:
            message = f"{self.name}: {reply['error']}"
            raise EfqError(message)
        data = replies.read(4 * int(np.prod(reply["shape"])))
        return np.frombuffer(data, np.float32).reshape(reply["shape"]), reply["seconds"]

    def _pipes(self) -> tuple[IO[bytes], IO[bytes]]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        return self._process.stdin, self._process.stdout


TOOL = TorchCompileTool()
