"""What opens a compared network, in plain values: in this process, or in one of its own for memory and start-up."""

from __future__ import annotations

import dataclasses
import json
from typing import Any, Self

from efq.runtime.faces.normalization import Normalization


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class PeerSpec:
    """A network and the tool that opens it.

    kind: the tool's name. path: an artifact's folder, an ONNX or OpenVINO file, or the checkpoint of `backbone`,
    trained on `teacher_input`. precision: of what is float ("float32", "bfloat16", None: the runtime's choice).
    backend: of an artifact. mean, std: what a float network's pixels are normalized by.
    """

    name: str
    kind: str
    path: str
    precision: str | None = None
    backend: str = "onnxruntime"
    backbone: str | None = None
    teacher_input: str | None = None
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
