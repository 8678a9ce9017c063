"""What opens a compared network, in plain values: in this process, or in one of its own for memory and start-up."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any, Literal, Self

from efq.benchmarks.peers.peer import Normalization, Peer
from efq.runtime.errors import UsageError

Kind = Literal["artifact", "engine", "onnxruntime", "openvino", "torch"]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class PeerSpec:
    """A network and the runtime to open it in.

    path: an artifact's folder, an ONNX or OpenVINO file, or the checkpoint of `backbone`. precision: of what is float
    ("float32", "bfloat16", None: the runtime's choice). backend: of an artifact. mean, std: what a float network's
    pixels are normalized by.
    """

    name: str
    kind: Kind
    path: str
    precision: str | None = None
    backend: str = "onnxruntime"
    backbone: str | None = None
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    def to_json(self) -> str:
        """One JSON object, for a command line."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Parse `to_json`'s text."""
        values: dict[str, Any] = json.loads(text)
        return cls(**values | {"mean": tuple(values["mean"]), "std": tuple(values["std"])})

    @property
    def normalization(self) -> Normalization:
        """Of a float network."""
        return Normalization(mean=self.mean, std=self.std)


def open_peer(spec: PeerSpec, threads: int) -> Peer:
    """Open the network on `threads` threads; imports its runtime only. Raises what opening it raises."""
    path = Path(spec.path)
    match spec.kind:
        case "artifact":
            from efq.benchmarks.peers.artifact import ArtifactPeer

            return ArtifactPeer(spec.name, path, threads=threads, backend=spec.backend)
        case "onnxruntime":
            from efq.benchmarks.peers.onnxruntime_float import OnnxRuntimePeer

            return OnnxRuntimePeer(spec.name, path, spec.normalization, threads=threads)
        case "openvino":
            from efq.benchmarks.peers.openvino_nncf import OpenVinoPeer

            hint = {"float32": "f32", "bfloat16": "bf16", None: None}[spec.precision]
            return OpenVinoPeer(spec.name, path, spec.normalization, threads=threads, precision=hint)
        case "torch":
            from efq.benchmarks.peers.torch_compile import TorchCompilePeer

            return TorchCompilePeer(spec, threads=threads)
        case "engine":
            message = f"{spec.name} is an engine: expected it open already, by efq-bench --target"
            raise UsageError(message)
